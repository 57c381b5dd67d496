"""Who gets in, and for how long after being thrown out."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from antiphon.domain import keys, limits
from antiphon.domain.errors import Unauthenticated
from antiphon.domain.tenancy import Caller, Key, Project
from antiphon.policy.authenticate import Authenticator

SECRET = b"s" * 32
GOOD = "sk-antiphon-good"
KEY = Key("key_1", "proj_1", "test", keys.digest(SECRET, GOOD), "…good", created_at=0)

PROJECT = Project("proj_1", "test", 0)


class Store:
    """The one call that authentication makes."""

    def __init__(self) -> None:
        self.keys = {KEY.digest: KEY}
        self.looked_up = 0
        self.broken = False

    async def find_caller(self, digest: bytes) -> Caller | None:
        self.looked_up += 1
        if self.broken:
            raise OSError("the disk is gone")
        key = self.keys.get(digest)
        return None if key is None else Caller(key, PROJECT)


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def door() -> tuple[Authenticator, Store, Clock]:
    store, clock = Store(), Clock()
    fake: Any = store
    return Authenticator(fake, SECRET, clock), store, clock


def enter(authenticate: Authenticator, header: str | None) -> Key:
    return asyncio.run(authenticate(header)).key


def test_a_valid_key_opens() -> None:
    authenticate, _, _ = door()
    assert enter(authenticate, f"Bearer {GOOD}") is KEY
    assert enter(authenticate, f"bearer  {GOOD} ") is KEY


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        ("Basic abc", "invalid_authorization"),
        ("Bearer", "invalid_authorization"),
        (GOOD, "invalid_authorization"),
        ("Bearer sk-antiphon-bad", "invalid_api_key"),
        ("Bearer \udcff", "invalid_api_key"),
        ("Bearer sk-antiphon-\x00", "invalid_api_key"),
        ("Bearer sk-antiphon-' OR '1'='1", "invalid_api_key"),
        ("Bearer " + "A" * 65_536, "invalid_api_key"),
    ],
)
def test_anything_else_does_not(header: str | None, code: str) -> None:
    authenticate, _, _ = door()
    with pytest.raises(Unauthenticated) as caught:
        enter(authenticate, header)
    assert caught.value.code == code
    assert GOOD not in caught.value.message


def test_a_found_key_is_remembered_for_a_while_only() -> None:
    authenticate, store, clock = door()
    for _ in range(3):
        enter(authenticate, f"Bearer {GOOD}")
    assert store.looked_up == 1
    store.keys[KEY.digest] = replace(KEY, revoked_at=1000)
    clock.time += limits.KEY_CACHE_TTL
    with pytest.raises(Unauthenticated):
        enter(authenticate, f"Bearer {GOOD}")


def test_an_expired_key_is_refused_at_once() -> None:
    authenticate, store, clock = door()
    store.keys[KEY.digest] = replace(KEY, expires_at=1001)
    enter(authenticate, f"Bearer {GOOD}")
    clock.time = 1001.0
    with pytest.raises(Unauthenticated):
        enter(authenticate, f"Bearer {GOOD}")


def test_unknown_keys_are_not_remembered() -> None:
    authenticate, store, _ = door()
    with pytest.raises(Unauthenticated):
        enter(authenticate, "Bearer sk-antiphon-new")
    digest = keys.digest(SECRET, "sk-antiphon-new")
    store.keys[digest] = replace(KEY, digest=digest)
    assert enter(authenticate, "Bearer sk-antiphon-new").id == "key_1"


def test_any_fault_while_authenticating_is_a_401() -> None:
    authenticate, store, _ = door()
    store.broken = True
    with pytest.raises(Unauthenticated) as caught:
        enter(authenticate, f"Bearer {GOOD}")
    assert "disk" not in caught.value.message


def test_unknown_revoked_and_expired_keys_take_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many hashes and look-ups for each, the first time and every other: so none takes longer than the others."""
    hashed: list[str] = []
    digest = keys.digest

    def counting(secret: bytes, key: str) -> bytes:
        hashed.append(key)
        return digest(secret, key)

    monkeypatch.setattr(keys, "digest", counting)
    authenticate, store, _ = door()
    for name, changes in (("revoked", {"revoked_at": 5}), ("expired", {"expires_at": 5})):
        store.keys[digest(SECRET, name)] = replace(KEY, digest=digest(SECRET, name), **changes)
    messages = set()
    for name in ("unknown", "revoked", "expired", "unknown", "revoked", "expired"):
        before = store.looked_up, len(hashed)
        with pytest.raises(Unauthenticated) as caught:
            enter(authenticate, f"Bearer {name}")
        assert (store.looked_up, len(hashed)) == (before[0] + 1, before[1] + 1), name
        messages.add((caught.value.message, caught.value.code))
    assert len(messages) == 1, "nor does what is said tell them apart"


def test_what_a_key_may_do_is_compiled_once_while_it_is_remembered() -> None:
    authenticate, store, clock = door()
    store.keys[KEY.digest] = replace(KEY, scopes=("chat:write",))
    first = asyncio.run(authenticate(f"Bearer {GOOD}"))
    assert first.permits.scope("chat:write")
    assert not first.permits.scope("chat:read")
    assert asyncio.run(authenticate(f"Bearer {GOOD}")) is first
    store.keys[KEY.digest] = KEY
    clock.time += limits.KEY_CACHE_TTL
    assert asyncio.run(authenticate(f"Bearer {GOOD}")).permits.scope("chat:read")


def test_the_use_of_a_key_is_noted_and_that_of_a_wrong_one_is_not() -> None:
    store, clock = Store(), Clock()
    fake: Any = store
    uses: dict[str, float] = {}
    authenticate = Authenticator(fake, SECRET, clock, uses)
    enter(authenticate, f"Bearer {GOOD}")
    clock.time += 1
    enter(authenticate, f"Bearer {GOOD}")
    with pytest.raises(Unauthenticated):
        enter(authenticate, "Bearer sk-antiphon-wrong")
    assert uses == {"key_1": 1001.0}
