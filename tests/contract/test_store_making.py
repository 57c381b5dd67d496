"""The contract of who makes what, cancels, event logs and retention, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from antiphon.domain.errors import Conflict, LeaseLost, StoreFailed
from antiphon.domain.records import EventBatch, StoredResponse
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, chain, item, opened, response, run

NOW = 1_700_000_000_000


def job(name: str, *, at: int = 1_700_000_000, project: str = ONE, status: str = "queued") -> StoredResponse:
    """A background response that nobody makes yet."""
    return replace(response(name, at=at, project=project, status=status), background=True, request=b'{"body":{}}')


async def take(
    store: SqlStore, owner: str = "a", *, now: int = NOW, limit: int = 10, each: int = 10, cancelled: bool = False
) -> list[StoredResponse]:
    """What the worker `owner`, which is there, takes of what is free."""
    await store.beat(owner)
    free = await store.free_responses(now=now, each=each, limit=limit, cancelled=cancelled)
    return await store.take_responses(owner, free)


async def taken(store: SqlStore, owner: str = "a", **options: int) -> list[str]:
    return [found.id for found in await take(store, owner, **options)]  # type: ignore[arg-type]


async def dies(store: SqlStore, worker: str) -> None:
    """A worker is not there any more, and somebody has noticed."""
    assert await store.strike_worker(worker, (await store.workers())[worker])


def test_the_oldest_jobs_are_claimed_first_and_by_one_worker_only(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for name, at in (("resp_2", 20), ("resp_1", 10), ("resp_3", 30)):
            await store.put_response(job(name, at=at))
        await store.put_response(job("resp_0", at=1, status="completed"))
        assert await taken(store, "a", limit=2) == ["resp_1", "resp_2"]
        assert await taken(store, "b") == ["resp_3"]
        assert await taken(store, "c") == []
        found = await store.get_response(ONE, "resp_1")
        assert found is not None
        assert (found.owner, found.background, found.request) == ("a", True, b'{"body":{}}')

    run(url, test)


def test_those_that_are_to_end_can_be_claimed_alone(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for number in range(4):
            await store.put_response(job(f"resp_{number}"))
        assert await take(store, "a", limit=9, cancelled=True) == []
        for name in ("resp_1", "resp_3"):
            await store.request_cancel(ONE, name)
        [found] = await take(store, "a", limit=1, cancelled=True)
        assert (found.id, found.cancel_requested) == ("resp_1", True)
        assert await taken(store, "b") == ["resp_0", "resp_2", "resp_3"]
        assert await take(store, "c", limit=9, cancelled=True) == []

    run(url, test)


def test_two_workers_that_claim_at_once_share_nothing(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for number in range(40):
            await store.put_response(job(f"resp_{number:02}"))
        async with opened(url) as other:
            both = await asyncio.gather(
                *(taken(each, name, limit=25, each=25) for each, name in ((store, "a"), (other, "b")))
            )
        assert sorted(both[0] + both[1]) == sorted(set(both[0] + both[1]))
        assert len(await taken(store, "c", limit=50, each=50)) == 40 - len(both[0]) - len(both[1])

    run(url, test)


def test_what_a_worker_makes_is_its_own_until_it_is_struck_off(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(job("resp_1"))
        await store.put_response(job("resp_2"))
        assert len(await taken(store, "a")) == 2
        # However much time passes, by whatever clock; and for itself, too.
        assert await taken(store, "b", now=2**62) == []
        assert await taken(store, "a", now=2**62) == []
        assert await store.held_responses("a") == [(ONE, "resp_1"), (ONE, "resp_2")]
        await dies(store, "a")
        assert await taken(store, "b", limit=1) == ["resp_1"]
        # It was only asleep: what nobody has taken is still its own.
        assert await store.beat("a") is False
        assert await store.held_responses("a") == [(ONE, "resp_2")]
        assert await taken(store, "c") == []

    run(url, test)


def test_a_worker_that_counts_is_not_struck_off(url: str) -> None:
    async def test(store: SqlStore) -> None:
        assert [await store.beat("a"), await store.beat("a"), await store.beat("b")] == [False, True, False]
        seen = await store.workers()
        assert seen == {"a": 1, "b": 0}
        await store.beat("a")
        assert await store.strike_worker("a", seen["a"]) is False
        assert await store.strike_worker("b", seen["b"]) is True
        assert await store.strike_worker("b", seen["b"]) is False
        await store.beat("c")
        await store.strike_others("a")
        assert await store.workers() == {"a": 2}
        await store.leave("a")
        assert await store.workers() == {}

    run(url, test)


def test_only_what_is_as_it_was_seen_is_taken(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(job("resp_1"))
        await taken(store, "a")
        await dies(store, "a")
        seen = await store.free_responses(now=NOW, each=9, limit=9)
        assert seen == [(ONE, "resp_1", "a")]
        assert await taken(store, "b") == ["resp_1"]
        await dies(store, "b")
        await store.beat("c")
        # It is free again, but is another's who has died.
        assert await store.take_responses("c", seen) == []

    run(url, test)


def test_each_project_has_its_turn(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for number in range(9):
            await store.put_response(job(f"resp_{number}", at=number))
        for number in (8, 9):
            await store.put_response(job(f"resp_{number}", at=100 + number, project=TWO))
        free = await store.free_responses(now=NOW, each=3, limit=9)
        assert [each.id for each in free] == ["resp_0", "resp_8", "resp_1", "resp_9", "resp_2"]
        assert len(await store.free_responses(now=NOW, each=3, limit=4)) == 4

    run(url, test)


def test_what_was_put_off_waits_for_its_time(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(job("resp_1"))
        [mine] = await take(store, "a")
        await store.put_off_response(replace(mine, owner="b"), NOW)
        assert await store.held_responses("a") == [(ONE, "resp_1")]
        await store.put_off_response(replace(mine, waited=5000), NOW + 5000, b"{}")
        assert await taken(store, "a", now=NOW + 4999) == []
        # A time further ahead than any pause is long comes from a clock that was wrong.
        assert len(await store.free_responses(now=NOW - 2 * 86_400_000, each=1, limit=1)) == 1
        [found] = await take(store, "b", now=NOW + 5000)
        assert (found.owner, found.waited, found.request) == ("b", 5000, b"{}")
        await store.put_off_response(replace(found, waited=6000), NOW + 6000)
        await store.request_cancel(ONE, "resp_1")
        # To end it, nobody waits.
        [found] = await take(store, "b", cancelled=True)
        assert (found.waited, found.request) == (6000, b"{}")

    run(url, test)


def test_foreground_responses_of_a_worker_that_is_gone_are_free_too(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.beat("alive")
        await store.put_response(response("resp_1", status="in_progress", owner="dead"))
        await store.put_response(response("resp_2", status="in_progress", owner="alive"))
        assert await taken(store, "b") == ["resp_1"]

    run(url, test)


def test_only_the_owner_advances_and_the_end_gives_everything_up(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(job("resp_1"), [item("msg_1")])
        [mine] = await take(store, "a", limit=1)
        await store.advance_response(replace(mine, status="in_progress", body=b"1"), [item("msg_2", 0, "output")])
        with pytest.raises(LeaseLost):
            await store.advance_response(replace(mine, owner="b", body=b"2"), [item("msg_3", 1, "output")])
        await store.advance_response(replace(mine, status="completed", body=b"3"))
        found = await store.get_response(ONE, "resp_1")
        assert found is not None
        assert (found.status, found.body) == ("completed", b"3")
        assert (found.owner, found.request) == (None, None)
        with pytest.raises(LeaseLost):
            await store.advance_response(replace(mine, status="failed", body=b"4"))
        [(_, items)] = await chain(store, ONE, "resp_1", limit=1)
        assert [entry.id for entry in items] == ["msg_1", "msg_2"]

    run(url, test)


def test_a_response_that_was_deleted_does_not_come_back(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(job("resp_1"))
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
            await store.put_response(job(name))
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
        await store.put_response(job("resp_1"))
        assert await taken(store, "a") == ["resp_1"]
        await store.put_response(response("resp_2", status="in_progress", owner="a"))
        await store.leave("a")
        assert await taken(store, "b") == ["resp_1", "resp_2"]

    run(url, test)


def test_a_cancel_reaches_whoever_makes_it(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for name in ("resp_1", "resp_2"):
            await store.put_response(job(name))
        await store.put_response(job("resp_3", status="completed"))
        await store.request_cancel(ONE, "resp_2")
        await store.request_cancel(ONE, "resp_3")
        await store.request_cancel(TWO, "resp_1")
        found = {each.id: each for each in await take(store, "a", limit=9)}
        assert not found["resp_1"].cancel_requested
        assert found["resp_2"].cancel_requested
        assert await store.cancelled_responses("a") == [(ONE, "resp_2")]
        await store.request_cancel(ONE, "resp_1")
        assert sorted(await store.cancelled_responses("a")) == [(ONE, "resp_1"), (ONE, "resp_2")]
        assert await store.cancelled_responses("b") == []

    run(url, test)


def test_an_event_log_is_read_from_any_point(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(job("resp_1"), events=EventBatch(0, 2, b"ab"))
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
        await store.put_response(job("resp_1"), events=EventBatch(0, 1, b"a"))
        [mine] = await take(store, "a", limit=1)
        with pytest.raises((Conflict, StoreFailed)):
            await store.advance_response(replace(mine, status="completed", body=b"no"), events=EventBatch(0, 1, b"b"))
        found = await store.get_response(ONE, "resp_1")
        assert found is not None
        assert found.status == "queued"

    run(url, test)


def test_a_log_that_is_trimmed_says_where_it_begins(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(job("resp_1"), events=EventBatch(0, 2, b"ab"))
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
        await store.put_response(job("resp_4", at=10, status="completed"), events=EventBatch(0, 1, b"old"))
        await store.put_response(job("resp_5", at=10), events=EventBatch(0, 1, b"running"))
        await store.put_response(job("resp_6", at=60, status="completed"), events=EventBatch(0, 1, b"new"))
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
