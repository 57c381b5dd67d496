"""What a key may do."""

from __future__ import annotations

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.domain.scopes import (
    ANYTHING,
    GROUPS,
    Permits,
    checked_addresses,
    checked_models,
    checked_scopes,
    group_of,
    permits,
    scope_of,
)


@pytest.mark.parametrize(
    ("path", "method", "scope"),
    [
        ("/v1/responses", "POST", "responses:write"),
        ("/v1/responses/{response_id}", "GET", "responses:read"),
        ("/v1/responses/{response_id}", "DELETE", "responses:write"),
        ("/v1/chat/completions", "POST", "chat:write"),
        ("/v1/models/{model:path}", "GET", "models:read"),
    ],
)
def test_a_scope_is_the_group_and_what_is_done(path: str, method: str, scope: str) -> None:
    assert scope_of(group_of(path), method) == scope


def test_no_restriction_is_one_and_the_same_object() -> None:
    assert permits(None, None, None) is ANYTHING
    assert ANYTHING.scope("chat:write")
    assert ANYTHING.model("anything")
    assert ANYTHING.address(None)


def test_an_empty_list_allows_nothing() -> None:
    nothing = Permits((), (), ())
    assert not nothing.scope("models:read")
    assert not nothing.model("gpt-4o")
    assert not nothing.address("127.0.0.1")


def test_scopes_allow_what_they_name() -> None:
    some = Permits(("chat:write", "models:read"))
    assert some.scope("chat:write")
    assert not some.scope("chat:read")
    assert not some.scope("responses:write")
    assert Permits(("models:read", "*")).scope("responses:write")


def test_models_are_named_or_begun() -> None:
    some = Permits(models=("gpt-4o", "local-*"))
    assert some.model("gpt-4o")
    assert some.model("local-")
    assert some.model("local-7b")
    assert not some.model("gpt-4o-mini")
    assert not some.model("a-local-7b")
    assert some.model("fast", "gpt-4o")
    assert not some.model(None)
    assert Permits(models=("*",)).model("whatever")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.1", False),
        ("2001:db8::7", True),
        ("2001:DB8:0::7", True),
        ("2001:db9::7", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("fe80::1%eth0", False),
        ("", False),
        (None, False),
        ("not an address", False),
        ("10.1.2.3.4", False),
    ],
)
def test_addresses_are_of_networks(address: str | None, allowed: bool) -> None:
    some = Permits(addresses=("10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"))
    assert some.address(address) is allowed


def test_what_people_write_is_put_in_order() -> None:
    assert checked_scopes([" chat:write", "models:read", "chat:write", ""]) == ("chat:write", "models:read")
    assert checked_models(["gpt-*", "org/model:7b"]) == ("gpt-*", "org/model:7b")
    assert checked_addresses(["10.1.2.3/8", "::1"]) == ("10.0.0.0/8", "::1/128")


@pytest.mark.parametrize("scope", ["chat", "chat:*", "chat:admin", "nothing:read", "CHAT:read", "chat:read\n x", "**"])
def test_scopes_that_nothing_asks_for_are_refused(scope: str) -> None:
    with pytest.raises(InvalidRequest, match="There is no scope") as caught:
        checked_scopes([scope])
    assert caught.value.param == "scopes"


@pytest.mark.parametrize("model", ["a*b", "**", "a\x00b", "x" * 600])
def test_names_that_no_model_can_have_are_refused(model: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_models([model])


@pytest.mark.parametrize("address", ["10.0.0.0/33", "localhost", "1.2.3", "10.0.0.0/-1", "1.2.3.4 5", "::g"])
def test_networks_that_are_none_are_refused(address: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_addresses([address])


def test_a_key_names_only_so_many() -> None:
    with pytest.raises(InvalidRequest, match="at most"):
        checked_models(f"model-{number}" for number in range(limits.MAX_KEY_ENTRIES + 1))


def test_the_groups_are_those_of_the_endpoints_that_take_a_key() -> None:
    from unittest.mock import Mock

    from antiphon.http import chat, context, conversations, models, prompts, responses

    modules = (chat, context, conversations, models, prompts, responses)
    resources = [resource for module in modules for resource in module.resources(Mock())]
    assert {group_of(resource.path) for resource in resources if resource.access == "key"} == set(GROUPS)
