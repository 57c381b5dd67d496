"""Answers that may be given again, and uses of what is shut down, on both databases."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.domain import limits
from antiphon.domain.caching import OFF, CachedAnswer, CacheState
from antiphon.domain.errors import AntiphonError
from antiphon.domain.retirement import Use
from antiphon.stores.query import DatabaseSession
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, opened, run

NOW = 1_700_000_000
DAY = 24 * 3600


def answer(key: bytes, body: bytes = b"x" * 10, *, project: str = ONE, at: int = NOW, ttl: int = 60) -> CachedAnswer:
    return CachedAnswer(project, key, at, at + ttl, "openai", "gpt-4o", body)


async def states(store: SqlStore) -> dict[str, CacheState]:
    return {state.project_id: state for state in await store.cache_states()}


def test_an_answer_comes_back_as_it_was_until_it_expires(url: str) -> None:
    async def test(store: SqlStore) -> None:
        kept = answer(b"\x00\xff" * 16, b"\x00body")
        await store.put_cached(kept)
        assert await store.get_cached(ONE, kept.key, now=NOW) == kept
        assert await store.get_cached(ONE, kept.key, now=NOW + 59) == kept
        assert await store.get_cached(ONE, kept.key, now=NOW + 60) is None
        assert await store.get_cached(TWO, kept.key, now=NOW) is None
        assert await store.get_cached(ONE, b"other", now=NOW) is None
        newer = answer(kept.key, b"longer body", at=NOW + 5)
        await store.put_cached(newer)
        assert await store.get_cached(ONE, kept.key, now=NOW + 61) == newer
        assert await states(store) == {ONE: CacheState(ONE, None, 1, len(newer.body))}

    run(url, test)


def test_expired_answers_are_swept(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for number in range(5):
            await store.put_cached(answer(b"%d" % number, ttl=10 + number))
        await store.put_cached(answer(b"two", project=TWO, ttl=5))
        assert await store.sweep_cached(now=NOW + 12, limit=2) == 2
        assert await store.sweep_cached(now=NOW + 12, limit=10) == 2
        assert await store.sweep_cached(now=NOW + 12, limit=10) == 0
        assert await states(store) == {ONE: CacheState(ONE, None, 2, 20), TWO: CacheState(TWO, None, 0, 0)}

    run(url, test)


def test_a_project_has_its_own_room_and_the_oldest_go_first(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CACHE_PROJECT_BYTES", 100)

    async def test(store: SqlStore) -> None:
        await store.put_cached(answer(b"two", project=TWO))
        for number in range(10):
            await store.put_cached(answer(b"%d" % number, at=NOW + number))
        assert (await states(store))[ONE].bytes == 100
        await store.put_cached(answer(b"big", b"x" * 25, at=NOW + 10))
        found = [number for number in range(10) if await store.get_cached(ONE, b"%d" % number, now=NOW)]
        assert found[-1] == 9
        assert found == list(range(10 - len(found), 10)), "not the oldest were forgotten"
        now = await states(store)
        assert now[ONE].bytes == 25 + 10 * len(found) <= 125
        assert now[TWO].answers == 1

    run(url, test)


def test_many_large_answers_stay_within_the_projects_room(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CACHE_PROJECT_BYTES", 1_000)

    async def test(store: SqlStore) -> None:
        for number in range(60):
            await store.put_cached(answer(b"%d" % number, b"x" * (number * 7 % 400 + 1), at=NOW + number))
            assert (await states(store))[ONE].bytes <= 1_000

    run(url, test)


def test_all_projects_share_the_whole_room(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CACHE_TOTAL_BYTES", 100)

    async def test(store: SqlStore) -> None:
        for number in range(6):
            await store.put_cached(answer(b"%d" % number, at=NOW + number))
        for number in range(6):
            await store.put_cached(answer(b"%d" % number, project=TWO, at=NOW + 100 + number))
        now = await states(store)
        assert now[ONE].bytes + now[TWO].bytes <= 100
        assert now[TWO].answers == 6
        assert await store.get_cached(ONE, b"0", now=NOW) is None
        assert await store.get_cached(ONE, b"5", now=NOW) is not None

    run(url, test)


def test_clearing_is_one_projects_own(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_cached(answer(b"a"))
        await store.put_cached(answer(b"b"))
        await store.put_cached(answer(b"a", project=TWO))
        await store.set_cache_ttl(ONE, 77)
        assert await store.clear_cached(ONE) == 2
        assert await store.clear_cached(ONE) == 0
        assert await store.clear_cached("proj_\x00none") == 0
        assert await states(store) == {ONE: CacheState(ONE, 77, 0, 0), TWO: CacheState(TWO, None, 1, 10)}

    run(url, test)


def test_a_projects_rule(url: str) -> None:
    async def test(store: SqlStore) -> None:
        assert await store.cache_ttl(ONE) is None
        await store.set_cache_ttl(ONE, 600)
        await store.put_cached(answer(b"a"))
        assert await store.cache_ttl(ONE) == 600
        assert await store.cache_ttl(TWO) is None
        await store.set_cache_ttl(ONE, OFF)
        assert await store.cache_ttl(ONE) == OFF
        assert await states(store) == {ONE: CacheState(ONE, OFF, 0, 0)}, "what is forbidden is forgotten"
        await store.put_cached(answer(b"b"))
        assert await store.get_cached(ONE, b"b", now=NOW) is None, "asked for before it was forbidden"
        await store.set_cache_ttl(ONE, None)
        assert await store.cache_ttl(ONE) is None

    run(url, test)


def _delete_projects(session: DatabaseSession, batch: list[str]) -> list[None]:
    for project_id in batch:
        session._cursor.execute(f"DELETE FROM projects WHERE id = '{project_id}'", {})
    return [None] * len(batch)


def test_what_is_cached_goes_with_its_project(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_cached(answer(b"a"))
        await store.note_use(Use(ONE, "key_a", "model:gpt-4o", NOW // DAY * DAY, 1))
        await store._database.write(_delete_projects, ONE, key="delete")
        assert await store.get_cached(ONE, b"a", now=NOW) is None
        assert await states(store) == {}
        assert await store.list_uses() == []
        with pytest.raises(AntiphonError):
            await store.put_cached(answer(b"a"))
        with pytest.raises(AntiphonError):
            await store.note_use(Use(ONE, "key_a", "model:gpt-4o", NOW, 1))

    run(url, test)


def test_two_servers_share_what_is_kept(url: str) -> None:
    async def test(store: SqlStore) -> None:
        async with opened(url) as other:
            writes = [
                server.put_cached(answer(b"%d" % number, project=project))
                for number in range(20)
                for project in (ONE, TWO)
                for server in (store, other)
            ]
            await asyncio.gather(*writes)
            assert await other.get_cached(ONE, b"3", now=NOW) == answer(b"3")
        assert await states(store) == {ONE: CacheState(ONE, None, 20, 200), TWO: CacheState(TWO, None, 20, 200)}

    run(url, test)


def test_uses_add_up(url: str) -> None:
    async def test(store: SqlStore) -> None:
        first, later = NOW // DAY * DAY, NOW // DAY * DAY + DAY
        await store.note_use(Use(ONE, "key_a", "model:gpt-4o", later, 3))
        await store.note_use(Use(ONE, "key_a", "model:gpt-4o", first, 2))
        await store.note_use(Use(ONE, "key_a", "endpoint:/v1/evals", first, 1))
        await store.note_use(Use(TWO, "key_b", "model:gpt-4o", first, 1))
        assert await store.list_uses() == [
            Use(ONE, "key_a", "model:gpt-4o", later, 5),
            Use(ONE, "key_a", "endpoint:/v1/evals", first, 1),
            Use(TWO, "key_b", "model:gpt-4o", first, 1),
        ]

    run(url, test)
