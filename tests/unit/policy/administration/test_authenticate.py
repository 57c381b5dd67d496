"""Who gets into the administration."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from antiphon.domain import keys, limits
from antiphon.domain.errors import Unauthenticated
from antiphon.domain.organisation import Administrator, User
from antiphon.domain.tenancy import AdminKey
from antiphon.policy.administration.authenticate import AdminAuthenticator

SECRET = b"s" * 32
GOOD = keys.ADMIN_PREFIX + "good"
USER = User("user_1", "Anna", "anna@example.com", "owner", 0)
KEY = AdminKey("key_1", "test", keys.digest(SECRET, GOOD), "…good", "owner", 0, user_id=USER.id)


class Store:
    """The two calls that authentication makes."""

    def __init__(self, found: Administrator | None) -> None:
        self.found = found
        self.used: list[tuple[str, int]] = []
        self.broken = False

    async def find_administrator(self, digest: bytes) -> Administrator | None:
        if self.broken:
            raise OSError("the disk is gone")
        return self.found if self.found is not None and digest == self.found.key.digest else None

    async def admin_key_used(self, key_id: str, at: int) -> None:
        self.used.append((key_id, at))


class Clock:
    time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def enter(store: Store, header: str | None = f"Bearer {GOOD}") -> Administrator:
    fake: Any = store
    return asyncio.run(AdminAuthenticator(fake, SECRET, Clock())(header))


def test_a_valid_key_opens_and_its_use_is_noted_now_and_then() -> None:
    store = Store(Administrator(KEY, USER, {}))
    assert enter(store).user == USER
    assert store.used == [("key_1", 1000)]
    recent = replace(KEY, last_used_at=int(1000 - limits.ADMIN_USE_TICK + 1))
    store = Store(Administrator(recent, USER, {}))
    enter(store)
    assert store.used == []


@pytest.mark.parametrize(
    "who",
    [
        None,
        Administrator(replace(KEY, revoked_at=5), USER, {}),
        Administrator(replace(KEY, expires_at=1000), USER, {}),
        Administrator(KEY, None, {}),
    ],
    ids=["unknown", "revoked", "expired", "its user is gone"],
)
def test_others_do_not(who: Administrator | None) -> None:
    store = Store(who)
    with pytest.raises(Unauthenticated) as refused:
        enter(store)
    assert refused.value.code == "invalid_api_key"
    assert store.used == []


@pytest.mark.parametrize(
    "header", [None, "", "Basic x", "Bearer", "Bearer \x00", "Bearer sk-antiphon-a", "Bearer \ud800"]
)
def test_headers_without_an_admin_key(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        enter(Store(Administrator(KEY, USER, {})), header)


def test_a_store_that_fails_opens_nothing() -> None:
    store = Store(Administrator(KEY, USER, {}))
    store.broken = True
    with pytest.raises(Unauthenticated, match="could not be checked"):
        enter(store)


def test_what_an_administrator_is() -> None:
    reader = replace(USER, role="reader")
    looks = replace(KEY, role="reader")
    assert Administrator(KEY, USER, {}).owns_organisation
    assert Administrator(KEY, USER, {}).owns("proj_any")
    assert not Administrator(looks, USER, {"proj_1": "owner"}).owns("proj_1")
    assert not Administrator(KEY, reader, {}).owns_organisation
    assert Administrator(KEY, reader, {"proj_1": "owner"}).owns("proj_1")
    assert not Administrator(KEY, reader, {"proj_1": "member"}).owns("proj_1")
    assert not Administrator(KEY, reader, {"proj_1": "owner"}).owns("proj_2")
    actor = Administrator(KEY, USER, {}).acting("192.0.2.1")
    assert (actor.key_id, actor.user_id, actor.email, actor.address) == (
        "key_1",
        "user_1",
        "anna@example.com",
        "192.0.2.1",
    )
