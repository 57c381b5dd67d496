"""How long a refusal takes tells nothing of how near a key was, or what became of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from statistics import median
from typing import Any

import pytest

from antiphon.domain import keys
from antiphon.domain.errors import Unauthenticated
from antiphon.domain.tenancy import Caller, Key, Project
from antiphon.policy.authenticate import Authenticator

SERVER = b"s" * 32
GOOD, REVOKED, EXPIRED = (f"sk-antiphon-{letter * 43}" for letter in "GRE")
#: Wrong keys, by how they are wrong.
WRONG = {
    "nothing in common": "sk-antiphon-" + "x" * 43,
    "its last character": GOOD[:-1] + "x",
    "its first character": GOOD.replace("G", "x", 1),
    "revoked": REVOKED,
    "expired": EXPIRED,
}


class Clock:
    def now(self) -> float:
        return 1000.0

    def monotonic(self) -> float:
        return time.monotonic()


class Store:
    """Knows three keys by their digests, and notes what it is asked."""

    def __init__(self) -> None:
        made = {secret: Key(secret[-3:], "p", "k", keys.digest(SERVER, secret), "…", 0) for secret in (GOOD, REVOKED)}
        made[REVOKED] = replace(made[REVOKED], revoked_at=1)
        made[EXPIRED] = replace(made[GOOD], digest=keys.digest(SERVER, EXPIRED), expires_at=1)
        self.keys = {key.digest: Caller(key, Project("p", "p", 0)) for key in made.values()}
        self.asked: list[bytes] = []

    async def find_caller(self, digest: bytes) -> Caller | None:
        self.asked.append(digest)
        return self.keys.get(digest)


def refuse(authenticate: Authenticator, secret: str) -> str:
    """The message of the refusal. It is the coroutine itself that is timed, without a loop around it."""
    step: Any = authenticate(f"Bearer {secret}")
    with pytest.raises(Unauthenticated) as refused:
        step.send(None)
    return refused.value.message


def test_all_wrong_keys_take_the_same_way() -> None:
    store = Store()
    fake: Any = store
    authenticate = Authenticator(fake, SERVER, Clock())
    assert asyncio.run(authenticate(f"Bearer {GOOD}")).key.id == GOOD[-3:]
    messages = set()
    for secret in WRONG.values():
        for _ in range(3):
            before = len(store.asked)
            messages.add(refuse(authenticate, secret))
            assert len(store.asked) == before + 1, "one look, each time: nothing of a wrong key is remembered"
    assert len(messages) == 1
    assert all(len(digest) == 32 for digest in store.asked), "only digests are looked for, never a secret"


def test_the_time_it_takes_does_not_tell_them_apart() -> None:
    fake: Any = Store()
    authenticate = Authenticator(fake, SERVER, Clock())
    took: dict[str, list[int]] = {name: [] for name in WRONG}
    for _ in range(1500):
        for name, secret in WRONG.items():  # in turns, so that a busy machine disturbs all alike
            began = time.perf_counter_ns()
            step: Any = authenticate(f"Bearer {secret}")
            try:
                step.send(None)
            except Unauthenticated:
                took[name].append(time.perf_counter_ns() - began)
    medians = {name: median(times) for name, times in took.items()}
    # A comparison that stops at the first difference would show in the keys that differ early and late.
    assert medians["its last character"] == pytest.approx(medians["its first character"], rel=0.25)
    assert medians["its last character"] == pytest.approx(medians["nothing in common"], rel=0.25)
    # What a revoked key costs beyond that is far below what can be measured through a socket (20 microseconds).
    assert max(medians.values()) - min(medians.values()) < 20_000
