"""The contract of responses that are being made, their event logs and retention, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import Conflict, LeaseLost, RateLimited, StoreFailed
from antiphon.domain.jobs import RESPONSE, NewJob
from antiphon.domain.records import EventBatch, StoredItem, StoredResponse
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, chain, item, response, run, writer_held

Items = Sequence[StoredItem]


async def put(
    store: SqlStore, name: str, *, at: int = 1_700_000_000, events: EventBatch | None = None, items: Items = ()
) -> None:
    """A background response that nobody makes yet, and its job."""
    await store.put_response(background(name, at=at), items, events, job=NewJob(ONE, RESPONSE, b"{}", id=name))


def background(name: str, *, at: int = 1_700_000_000, status: str = "queued") -> StoredResponse:
    return replace(response(name, at=at, status=status), background=True)


async def take(store: SqlStore, owner: str = "a", *, limit: int = 10) -> list[StoredResponse]:
    """What the worker `owner`, which is there, takes of what is free."""
    await store.beat(owner)
    jobs = await store.claim_jobs(owner, await store.free_jobs(RESPONSE, each=limit, limit=limit))
    found = [await store.get_response(*job.name) for job in jobs]
    return [each for each in found if each is not None]


async def taken(store: SqlStore, owner: str = "a", *, limit: int = 10) -> list[str]:
    return [found.id for found in await take(store, owner, limit=limit)]


async def dies(store: SqlStore, worker: str) -> None:
    """A worker is not there any more, and somebody has noticed."""
    assert await store.remove_worker(worker, (await store.workers())[worker])


def test_a_claim_of_the_job_makes_the_response_its_holders(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "resp_1")
        assert await taken(store, "a") == ["resp_1"]
        found = await store.get_response(ONE, "resp_1")
        assert found is not None
        assert (found.owner, found.background) == ("a", True)
        await dies(store, "a")
        [found] = await take(store, "b")
        assert found.owner == "b"
        with pytest.raises(LeaseLost):
            await store.advance_response(replace(found, owner="a", status="completed"))

    run(url, test)


def test_the_end_of_a_response_is_the_end_of_its_job(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for name in ("resp_1", "resp_2", "resp_3"):
            await put(store, name)
        first, second, third = await take(store, "a")
        await store.advance_response(replace(first, status="completed"))
        assert await store.get_job(ONE, "resp_1") is None
        await store.advance_response(replace(second, status="failed"), dead="It cannot be read.")
        dead = await store.get_job(ONE, "resp_2")
        assert dead is not None
        assert (dead.state, dead.holder, dead.error, dead.payload) == ("dead", None, "It cannot be read.", b"{}")
        assert await store.held_jobs("a") == [(ONE, "resp_3")]
        await store.delete_response(ONE, "resp_2")
        await store.delete_response(ONE, third.id)
        assert await store.list_jobs(limit=9) == []

    run(url, test)


def test_a_response_whose_job_has_no_room_is_not_stored(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_JOBS_OF_PROJECT", 2)

    async def test(store: SqlStore) -> None:
        async with writer_held(store):
            puts = [asyncio.create_task(put(store, f"resp_{number}", items=[item("msg_1")])) for number in range(4)]
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
        assert [type(each) for each in outcomes] == [type(None), type(None), RateLimited, RateLimited]
        assert await store.get_response(ONE, "resp_2") is None
        await store.put_response(replace(response("resp_9"), status="in_progress"))
        await store.delete_response(ONE, "resp_0")
        await put(store, "resp_4")

    run(url, test)


async def interrupted(store: SqlStore, worker: str) -> list[str]:
    """The foreground responses that a worker takes over."""
    await store.beat(worker)
    found = await store.interrupted_responses(limit=9)
    return [each.id for each in found if await store.adopt_response(each, worker)]


def test_foreground_responses_of_a_worker_that_is_gone_are_free_too(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.beat("alive")
        await store.put_response(response("resp_1", status="in_progress", owner="dead"))
        await store.put_response(response("resp_2", status="in_progress", owner="alive"))
        assert await interrupted(store, "b") == ["resp_1"]
        # It is b's by now, and nobody else's.
        assert await interrupted(store, "c") == []
        assert await store.held_responses("b") == [(ONE, "resp_1")]
        assert await store.held_responses("alive") == [(ONE, "resp_2")]
        await dies(store, "b")
        [found] = await store.interrupted_responses(limit=9)
        assert await interrupted(store, "c") == ["resp_1"]
        await store.beat("b")
        assert not await store.adopt_response(found, "b")

    run(url, test)


def test_only_the_owner_advances_and_the_end_gives_everything_up(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "resp_1", items=[item("msg_1")])
        [mine] = await take(store, "a", limit=1)
        await store.advance_response(replace(mine, status="in_progress", body=b"1"), [item("msg_2", 0, "output")])
        with pytest.raises(LeaseLost):
            await store.advance_response(replace(mine, owner="b", body=b"2"), [item("msg_3", 1, "output")])
        await store.advance_response(replace(mine, status="completed", body=b"3"))
        found = await store.get_response(ONE, "resp_1")
        assert found is not None
        assert (found.status, found.body) == ("completed", b"3")
        assert found.owner is None
        assert await store.get_job(ONE, "resp_1") is None
        with pytest.raises(LeaseLost):
            await store.advance_response(replace(mine, status="failed", body=b"4"))
        [(_, items)] = await chain(store, ONE, "resp_1", limit=1)
        assert [entry.id for entry in items] == ["msg_1", "msg_2"]

    run(url, test)


def test_a_response_that_was_deleted_does_not_come_back(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "resp_1")
        [mine] = await take(store, "a", limit=1)
        assert await store.delete_response(ONE, "resp_1")
        with pytest.raises(LeaseLost):
            await store.advance_response(replace(mine, status="completed"), events=EventBatch(0, 1, b"x"))
        assert await store.get_response(ONE, "resp_1") is None
        assert await store.events(ONE, "resp_1", after=-1, limit=10) is None

    run(url, test)


def test_one_lost_lease_harms_nobody_else_in_its_group(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for name in ("resp_1", "resp_2", "resp_3"):
            await put(store, name)
        first, second, third = await take(store, "a", limit=3)
        changes = [
            store.advance_response(replace(first, status="completed")),
            store.advance_response(replace(second, owner="b", status="completed")),
            store.advance_response(replace(third, status="completed")),
        ]
        outcomes = await asyncio.gather(*changes, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), LeaseLost, type(None)]

    run(url, test)


def test_a_worker_that_leaves_frees_all_that_it_makes(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "resp_1")
        assert await taken(store, "a") == ["resp_1"]
        await store.put_response(response("resp_2", status="in_progress", owner="a"))
        await store.leave("a")
        assert await taken(store, "b") + await interrupted(store, "b") == ["resp_1", "resp_2"]

    run(url, test)


def test_an_event_log_is_read_from_any_point(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "resp_1", events=EventBatch(0, 2, b"ab"))
        [mine] = await take(store, "a", limit=1)
        working = replace(mine, status="in_progress")
        await store.advance_response(working, events=EventBatch(2, 1, b"c", b"progress"))
        await store.advance_response(working, events=EventBatch(3, 3, b"def"))
        page = await store.events(ONE, "resp_1", after=-1, limit=2)
        assert page is not None
        assert page.batches == [EventBatch(0, 2, b"ab"), EventBatch(2, 1, b"c", b"progress")]
        assert (page.start, page.ended) == (0, False)
        page = await store.events(ONE, "resp_1", after=3, limit=2)
        assert page is not None
        assert page.batches == [EventBatch(3, 3, b"def")]
        assert not page.ended
        await store.advance_response(replace(mine, status="completed"), events=EventBatch(6, 1, b"g"))
        page = await store.events(ONE, "resp_1", after=5, limit=2)
        assert page is not None
        assert [batch.payload for batch in page.batches] == [b"g"]
        assert page.ended
        assert await store.events(TWO, "resp_1", after=-1, limit=2) is None
        newest = await store.newest_events([(ONE, "resp_1"), (TWO, "resp_1"), (ONE, "resp_9")])
        assert newest == {(ONE, "resp_1"): 6}

    run(url, test)


def test_the_same_events_twice_are_refused(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "resp_1", events=EventBatch(0, 1, b"a"))
        [mine] = await take(store, "a", limit=1)
        with pytest.raises((Conflict, StoreFailed)):
            await store.advance_response(replace(mine, status="completed", body=b"no"), events=EventBatch(0, 1, b"b"))
        found = await store.get_response(ONE, "resp_1")
        assert found is not None
        assert found.status == "queued"

    run(url, test)


def test_a_log_that_is_trimmed_says_where_it_begins(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "resp_1", events=EventBatch(0, 2, b"ab"))
        [mine] = await take(store, "a", limit=1)
        for first in (2, 4, 6):
            await store.advance_response(replace(mine, status="in_progress"), events=EventBatch(first, 2, b"xy"))
        await store.trim_events(ONE, "resp_1", 5)
        page = await store.events(ONE, "resp_1", after=-1, limit=10)
        assert page is not None
        assert page.start == 4
        assert [batch.first for batch in page.batches] == [4, 6]

    run(url, test)


def test_what_has_expired_is_deleted_and_old_logs_are_forgotten(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(replace(response("resp_1"), expires_at=100), [item("msg_1")])
        await store.put_response(replace(response("resp_2"), expires_at=101))
        await store.put_response(response("resp_3"))
        await store.put_response(background("resp_4", at=10, status="completed"), events=EventBatch(0, 1, b"old"))
        await put(store, "resp_5", at=10, events=EventBatch(0, 1, b"running"))
        await store.put_response(background("resp_6", at=60, status="completed"), events=EventBatch(0, 1, b"new"))
        assert await store.sweep(now=101, logs_before=50, limit=10) == 1
        assert await store.get_response(ONE, "resp_1") is None
        assert await store.get_items(ONE, ["msg_1"]) == {}
        assert await store.get_response(ONE, "resp_2") is not None
        assert await store.get_response(ONE, "resp_3") is not None
        left = [await store.events(ONE, name, after=-1, limit=1) for name in ("resp_4", "resp_5", "resp_6")]
        assert [page.batches[0].payload if page and page.batches else b"" for page in left] == [b"", b"running", b"new"]

    run(url, test)


def test_a_sweep_goes_in_steps(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for number in range(5):
            await store.put_response(replace(response(f"resp_{number}"), expires_at=1))
        assert [await store.sweep(now=2, logs_before=0, limit=3) for _ in range(3)] == [3, 2, 0]

    run(url, test)
