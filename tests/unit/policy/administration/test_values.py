"""What may be a name, an email, a role, a life and a scope."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.policy.administration.values import checked_email, checked_name, checked_role, checked_scopes, expiry


def test_names_lose_the_space_around_them() -> None:
    assert checked_name("  Anna Ä 🦜 ") == "Anna Ä 🦜"
    assert checked_name("x" * limits.MAX_NAME)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00", "\ud800", "a\u202eb", "x" * (limits.MAX_NAME + 1), None])
def test_what_is_no_name(name: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        checked_name(name, "label")
    assert refused.value.param == "label"


@given(st.text())
def test_a_name_can_always_be_stored(text: str) -> None:
    try:
        name = checked_name(text)
    except InvalidRequest:
        return
    assert 0 < len(name.encode()) <= limits.MAX_ID
    assert "\x00" not in name


def test_emails_are_in_small_letters() -> None:
    assert checked_email("Anna.B+c@Example.COM") == "anna.b+c@example.com"
    assert checked_email("owner@localhost") == "owner@localhost"


@pytest.mark.parametrize(
    "email",
    [None, "", "anna", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n", "<a@b>", "a@b, c@d", "a\x00@b", "é" * 250 + "@b.cd"],
)
def test_what_is_no_email(email: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        checked_email(email)
    assert refused.value.param == "email"


def test_roles() -> None:
    assert checked_role("owner", ("owner", "reader")) == "owner"
    with pytest.raises(InvalidRequest, match="Supported values are: 'owner' and 'reader'"):
        checked_role("root", ("owner", "reader"))


def test_a_life_is_counted_from_now_on() -> None:
    assert expiry(None, 100.7) is None
    assert expiry(60, 100.7) == 160
    for life in (0, -1, limits.MAX_KEY_LIFE + 1):
        with pytest.raises(InvalidRequest):
            expiry(life, 100.7)


def test_scopes_by_either_name() -> None:
    assert checked_scopes([]) is None
    assert checked_scopes(["chat:write"]) == ("chat:write",)
    assert checked_scopes(["api.responses.write", "api.model.read"]) == ("responses:write", "models:read")
    assert checked_scopes(["api.model.request"]) == ("chat:write", "responses:write")
    everything = checked_scopes(["api.all.read"])
    assert everything is not None
    assert {"chat:read", "models:read"} <= set(everything)
    assert all(scope.endswith(":read") for scope in everything)
    for scope in ("api.files.read", "api.all.write", "everything"):
        with pytest.raises(InvalidRequest) as refused:
            checked_scopes([scope])
        assert refused.value.param == "scopes"
