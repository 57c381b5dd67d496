"""Idempotency keys, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from antiphon.domain import limits
from antiphon.domain.records import KeyClaim, KeyState
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, opened, run

NOW = 1_700_000_000.0
MS = int(NOW * 1000)
CLAIM = KeyClaim(ONE, b"key", b"print", "first")
OTHER = replace(CLAIM, owner="second")


async def claim(store: SqlStore, wanted: KeyClaim, *, at: float = 0.0) -> KeyState | None:
    return await store.claim_key(wanted, now=NOW + at, until=MS + int(at * 1000) + 10_000)


def test_a_key_is_one_requests_until_its_claim_ends(url: str) -> None:
    async def test(store: SqlStore) -> None:
        assert await claim(store, CLAIM) is None
        assert await claim(store, OTHER) == KeyState(b"print", None, None, None)
        assert await claim(store, replace(CLAIM, project_id=TWO)) is None
        await store.renew_key(CLAIM, MS + 20_000)
        assert await claim(store, OTHER, at=15) is not None
        # Whoever dies leaves it to the same request, and to no other.
        assert await claim(store, replace(OTHER, fingerprint=b"other"), at=21) == KeyState(b"print", None, None, None)
        assert await claim(store, OTHER, at=21) is None
        await store.settle_key(CLAIM, 200, "t", b"too late", None)
        await store.release_key(CLAIM)
        assert await claim(store, CLAIM, at=22) == KeyState(b"print", None, None, None)

    run(url, test)


def test_an_answer_is_kept_for_a_day(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await claim(store, CLAIM)
        await store.settle_key(CLAIM, 200, "application/json", b"\x00{}", "resp_1")
        kept = KeyState(b"print", 200, "application/json", b"\x00{}")
        assert await claim(store, OTHER, at=1) == kept
        await store.release_key(CLAIM)
        await store.settle_key(CLAIM, 500, "x", b"", None)
        assert await claim(store, OTHER, at=limits.IDEMPOTENCY_TTL - 1) == kept
        assert await claim(store, replace(OTHER, fingerprint=b"other"), at=limits.IDEMPOTENCY_TTL + 1) is None
        state = await claim(store, CLAIM, at=limits.IDEMPOTENCY_TTL + 2)
        assert state == KeyState(b"other", None, None, None)

    run(url, test)


def test_a_key_given_back_is_free(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await claim(store, CLAIM)
        await store.release_key(OTHER)
        assert await claim(store, OTHER) is not None
        await store.release_key(CLAIM)
        assert await claim(store, OTHER) is None

    run(url, test)


def test_answers_that_show_a_deleted_object_are_deleted(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for key, shown in ((b"a", "resp_1"), (b"b", "resp_2"), (b"c", "x\x00y")):
            await claim(store, replace(CLAIM, key=key))
            await store.settle_key(replace(CLAIM, key=key), 200, "t", b"body", shown)
        await store.forget_answers(TWO, "resp_1")
        await store.forget_answers(ONE, "resp_2")
        await store.forget_answers(ONE, "x\x00y")
        assert await claim(store, replace(OTHER, key=b"a")) == KeyState(b"print", 200, "t", b"body")
        assert await claim(store, replace(OTHER, key=b"b")) == KeyState(b"print", 200, "t", None)

    run(url, test)


def test_sweeping(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for number in range(5):
            await claim(store, replace(CLAIM, key=b"%d" % number), at=number)
        assert await store.sweep_keys(before=int(NOW) + 4, limit=3) == 3
        assert await store.sweep_keys(before=int(NOW) + 4, limit=3) == 1
        assert await claim(store, replace(OTHER, key=b"4"), at=5) is not None
        assert await claim(store, replace(OTHER, key=b"0"), at=5) is None

    run(url, test)


def test_of_many_claims_at_once_on_two_servers_one_wins(url: str) -> None:
    async def test(store: SqlStore) -> None:
        async with opened(url) as second:
            claims = [
                claim(server, replace(CLAIM, owner=f"{place} {number}"))
                for place, server in enumerate((store, second))
                for number in range(20)
            ]
            states = await asyncio.gather(*claims)
        assert states.count(None) == 1

    run(url, test)
