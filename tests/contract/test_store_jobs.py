"""The contract of jobs and of the workers that hold them, on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import Conflict, InvalidRequest, LeaseLost, RateLimited
from antiphon.domain.jobs import End, FreeJob, Job, JobCount, NewJob, PutBack
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, opened, run, writer_held

KINDS = ["k", "other"]


async def put(store: SqlStore, *names: str, project: str = ONE, kind: str = "k", **options: Any) -> None:
    for name in names:
        await store.enqueue_job(NewJob(project, kind, b'"%s"' % name.encode(), id=name, **options))


async def free(store: SqlStore, *, each: int = 10, limit: int = 10) -> list[FreeJob]:
    """What can be claimed, of both kinds."""
    return [job for kind in KINDS for job in await store.free_jobs(kind, each=each, limit=limit)]


async def claim(store: SqlStore, worker: str = "a", *, limit: int = 10, each: int = 10) -> list[Job]:
    """What the worker, which is there, claims of what is free."""
    await store.beat(worker)
    return await store.claim_jobs(worker, (await free(store, each=each, limit=limit))[:limit])


async def claimed(store: SqlStore, worker: str = "a", **options: Any) -> list[str]:
    return [job.id for job in await claim(store, worker, **options)]


async def dies(store: SqlStore, worker: str) -> None:
    """A worker is not there any more, and somebody has noticed."""
    assert await store.remove_worker(worker, (await store.workers())[worker])


async def job(store: SqlStore, name: str) -> Job:
    found = await store.get_job(ONE, name)
    assert found is not None
    return found


def test_the_oldest_jobs_are_claimed_first_and_by_one_worker_only(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "job_3", "job_1", "job_2")
        assert await claimed(store, "a", limit=2) == ["job_3", "job_1"]
        assert await claimed(store, "b") == ["job_2"]
        assert await claimed(store, "c") == []
        found = await job(store, "job_1")
        assert (found.holder, found.state, found.attempts, found.payload) == ("a", "running", 1, b'"job_1"')
        assert await store.get_job(TWO, "job_1") is None

    run(url, test)


def test_those_with_the_highest_priority_go_first(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "low", priority=-5)
        await put(store, "plain", "plain_2")
        await put(store, "high", priority=5)
        assert await claimed(store) == ["high", "plain", "plain_2", "low"]

    run(url, test)


def test_only_jobs_of_known_kinds_are_seen(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "job_1", kind="of a newer version")
        await put(store, "job_2", kind="other")
        assert await claimed(store) == ["job_2"]
        assert [each.id for each in await store.free_jobs("of a newer version", each=9, limit=9)] == ["job_1"]

    run(url, test)


def test_those_that_are_to_end_can_be_claimed_alone(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, *(f"job_{number}" for number in range(4)))
        assert await store.free_cancelled_jobs("k", limit=9) == []
        for name in ("job_1", "job_3"):
            assert await store.cancel_job(ONE, name)
        assert not await store.cancel_job(TWO, "job_1")
        [found] = await store.claim_jobs("a", await store.free_cancelled_jobs("k", limit=1))
        assert (found.id, found.cancel_requested) == ("job_1", True)
        await store.beat("a")
        assert await store.free_cancelled_jobs("other", limit=9) == []
        # They wait for nobody.
        assert await claimed(store, "b") == ["job_3", "job_0", "job_2"]
        assert await store.free_cancelled_jobs("k", limit=9) == []
        await dies(store, "a")
        assert [each.id for each in await store.free_cancelled_jobs("k", limit=9)] == ["job_1"]

    run(url, test)


def test_two_workers_that_claim_at_once_share_nothing(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, *(f"job_{number:02}" for number in range(40)))
        async with opened(url) as other:
            both = await asyncio.gather(
                *(claimed(each, name, limit=25, each=25) for each, name in ((store, "a"), (other, "b")))
            )
        assert sorted(both[0] + both[1]) == sorted(set(both[0] + both[1]))
        assert len(await claimed(store, "c", limit=50, each=50)) == 40 - len(both[0]) - len(both[1])

    run(url, test)


def test_what_a_worker_holds_is_its_own_until_it_is_struck_off(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "job_1", "job_2")
        assert len(await claimed(store, "a")) == 2
        assert await claimed(store, "b") == []
        assert await claimed(store, "a") == []
        assert await store.held_jobs("a") == [(ONE, "job_1"), (ONE, "job_2")]
        await dies(store, "a")
        assert await claimed(store, "b", limit=1) == ["job_1"]
        # It was only asleep: what nobody has taken is still its own.
        assert await store.beat("a") is False
        assert await store.held_jobs("a") == [(ONE, "job_2")]
        assert await claimed(store, "c") == []
        assert [(await job(store, name)).losses for name in ("job_1", "job_2")] == [1, 0]

    run(url, test)


def test_a_worker_that_counts_is_not_struck_off(url: str) -> None:
    async def test(store: SqlStore) -> None:
        assert [await store.beat("a"), await store.beat("a"), await store.beat("b")] == [False, True, False]
        seen = await store.workers()
        assert seen == {"a": 1, "b": 0}
        await store.beat("a")
        assert await store.remove_worker("a", seen["a"]) is False
        assert await store.remove_worker("b", seen["b"]) is True
        assert await store.remove_worker("b", seen["b"]) is False
        await store.beat("c")
        await store.remove_other_workers("a")
        assert await store.workers() == {"a": 2}
        await store.leave("a")
        assert await store.workers() == {}

    run(url, test)


def test_only_what_is_as_it_was_seen_is_claimed(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "job_1")
        await claimed(store, "a")
        await dies(store, "a")
        seen = await free(store)
        assert [each.name for each in seen] == [(ONE, "job_1")]
        assert await claimed(store, "b") == ["job_1"]
        await dies(store, "b")
        await store.beat("c")
        # It is free again, but not as it was seen.
        assert await store.claim_jobs("c", seen) == []

    run(url, test)


def test_each_project_has_its_turn(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, *(f"job_{number}" for number in range(8)))
        await put(store, "theirs_1", "theirs_2", project=TWO)
        seen = await free(store, each=3)
        assert [each.id for each in seen] == ["job_0", "theirs_1", "job_1", "theirs_2", "job_2"]
        assert len(await free(store, each=3, limit=4)) == 4

    run(url, test)


def test_what_has_killed_servers_hides_nobody(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "killer_1", "killer_2")
        for number in range(limits.SUSPECT_LOSSES):
            assert await claimed(store, f"w{number}") == ["killer_1", "killer_2"]
            await dies(store, f"w{number}")
        await put(store, "innocent")
        assert [each.id for each in await free(store)] == ["killer_1", "killer_2", "innocent"]
        for mine in await claim(store):
            await store.put_back_job(mine, PutBack())
        seen = await free(store, each=1)
        assert [(each.id, each.losses) for each in seen] == [
            ("innocent", 0),
            ("killer_1", limits.SUSPECT_LOSSES),
            ("killer_2", limits.SUSPECT_LOSSES),
        ]

    run(url, test)


def test_what_was_put_back_waits_for_its_time_by_the_databases_clock(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "job_1", "job_2")
        first, second = await claim(store)
        began = await store.job_time()
        await store.put_back_job(first, PutBack(3600, waits=True, payload=b"{}"))
        found = await job(store, "job_1")
        assert (found.state, found.holder, found.waited, found.failures) == ("queued", None, 3_600_000, 0)
        assert found.payload == b"{}"
        assert 3_600_000 <= found.run_at - began < 3_660_000
        await store.put_back_job(second, PutBack(0.0, error="broken\x00" + "x" * 10_000))
        [again] = await claim(store)
        assert (again.id, again.failures, again.attempts, again.waited) == ("job_2", 1, 2, 0)
        assert again.error == "broken" + "x" * (limits.MAX_JOB_ERROR - 6)
        # To end it, nobody waits.
        assert await store.cancel_job(ONE, "job_1")
        assert await claimed(store) == ["job_1"]

    run(url, test)


def test_a_time_further_ahead_than_the_pause_is_a_clocks_that_was_set_back(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "job_1", delay=3600)
        assert await claimed(store) == []
        await store._database.write(_set_back, None, key="spoil")
        assert await claimed(store) == ["job_1"]

    run(url, test)


def _set_back(session: Any, batch: list[None]) -> list[None]:
    session._cursor.execute("UPDATE jobs SET run_at = run_at + 172800000", {})
    return [None] * len(batch)


def test_a_claim_that_is_over_changes_nothing(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "job_1", "job_2")
        old, other = await claim(store, "a")
        await dies(store, "a")
        [new, _] = await claim(store, "b")
        await dies(store, "b")
        await store.beat("a")
        # Even if it is the same worker's once more.
        [newest, _] = await claim(store, "a")
        assert (newest.holder, newest.attempts) == (old.holder, old.attempts + 2)
        for stale in (old, new):
            for change in (
                store.note_progress(stale, b"1"),
                store.put_back_job(stale, PutBack()),
                store.end_job(stale, End("done")),
            ):
                with pytest.raises(LeaseLost):
                    await change
        await store.note_progress(newest, b"half")
        # One that is late harms nobody else in its group.
        async with writer_held(store):
            ends = [asyncio.create_task(store.end_job(each, End("done", b"x"))) for each in (old, newest, other)]
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*ends, return_exceptions=True)
        assert [type(each) for each in outcomes] == [LeaseLost, type(None), LeaseLost]
        found = await job(store, "job_1")
        assert (found.state, found.progress, found.result, found.payload) == ("done", b"half", b"x", b"")
        with pytest.raises(LeaseLost):
            await store.end_job(newest, End("done"))
        assert await claimed(store, "c") == []

    run(url, test)


def test_a_dead_job_can_be_read_and_asked_to_run_again(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "job_1", dedupe_key="once")
        [mine] = await claim(store)
        await store.put_back_job(mine, PutBack(error="no"))
        [mine] = await claim(store)
        await store.end_job(mine, End("dead", error="no again"))
        [dead] = await store.list_jobs(state="dead", limit=9)
        assert (dead.id, dead.error, dead.failures, dead.holder) == ("job_1", "no again", 1, None)
        assert dead.finished_at is not None
        assert (await job(store, "job_1")).payload == b'"job_1"'
        assert not await store.cancel_job(ONE, "job_1")
        assert not await store.retry_job(TWO, "job_1")
        # While another one with its key is under way, there cannot be two.
        await put(store, "job_2", dedupe_key="once")
        with pytest.raises(Conflict):
            await store.retry_job(ONE, "job_1")
        [second] = await claim(store)
        await store.end_job(second, End("done"))
        assert not await store.retry_job(ONE, "job_2")
        assert await store.retry_job(ONE, "job_1")
        assert not await store.retry_job(ONE, "job_1")
        [again] = await claim(store)
        assert (again.id, again.failures, again.losses, again.error, again.finished_at) == ("job_1", 0, 0, None, None)

    run(url, test)


def test_the_same_is_not_done_twice(url: str) -> None:
    async def test(store: SqlStore) -> None:
        async with opened(url) as other:
            new = [NewJob(ONE, "k", b"", dedupe_key="once") for _ in range(8)]
            names = await asyncio.gather(*(each.enqueue_job(one) for one in new for each in (store, other)))
            assert len(set(names)) == 1
        await put(store, "of another kind", kind="other", dedupe_key="once")
        await put(store, "of another project", project=TWO, dedupe_key="once")
        for mine in await claim(store):
            await store.end_job(mine, End("cancelled"))
        assert await store.enqueue_job(NewJob(ONE, "k", b"", id="new", dedupe_key="once")) == "new"

    run(url, test)


def test_a_cancel_reaches_the_holder(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "job_1", "job_2")
        await store.cancel_job(ONE, "job_2")
        found = {each.id: each for each in await claim(store)}
        assert not found["job_1"].cancel_requested
        assert found["job_2"].cancel_requested
        assert await store.cancelled_jobs("a") == [(ONE, "job_2")]
        await store.cancel_job(ONE, "job_1")
        assert sorted(await store.cancelled_jobs("a")) == [(ONE, "job_1"), (ONE, "job_2")]
        assert await store.cancelled_jobs("b") == []

    run(url, test)


def test_a_project_has_a_bounded_number_of_jobs_that_wait(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_JOBS_OF_PROJECT", 2)

    async def test(store: SqlStore) -> None:
        await put(store, "job_1", "job_2")
        with pytest.raises(RateLimited):
            await put(store, "job_3")
        await put(store, "theirs", project=TWO)
        [first, *_] = await claim(store)
        await store.end_job(first, End("dead"))
        await put(store, "job_3", "job_4")
        with pytest.raises(RateLimited):
            await store.retry_job(ONE, "job_1")

    run(url, test)


def test_what_is_too_large_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_JOB_PAYLOAD", "MAX_JOB_RESULT", "MAX_JOB_PROGRESS"):
        monkeypatch.setattr(limits, name, 10)

    async def test(store: SqlStore) -> None:
        for wrong in (
            {"payload": b"x" * 11},
            {"kind": "k" * (limits.MAX_JOB_KIND + 1)},
            {"dedupe_key": "k" * (limits.MAX_JOB_KEY + 1)},
            {"dedupe_key": "\x00"},
            {"delay": limits.MAX_JOB_DELAY + 1},
            {"delay": -1.0},
            {"id": "\ud800"},
        ):
            values: dict[str, Any] = {"payload": b"x" * 10, "kind": "k", "id": "job_1", **wrong}
            with pytest.raises(InvalidRequest):
                await store.enqueue_job(NewJob(ONE, **values))
        await store.enqueue_job(NewJob(ONE, "k", b"x" * 10))
        [mine] = await claim(store)
        with pytest.raises(InvalidRequest):
            await store.note_progress(mine, b"x" * 11)
        with pytest.raises(InvalidRequest):
            await store.end_job(mine, End("done", b"x" * 11))
        await store.put_back_job(mine, PutBack(10.0**12))
        found = await store.get_job(*mine.name)
        assert found is not None
        assert found.run_at - await store.job_time() <= limits.MAX_JOB_DELAY * 1000

    run(url, test)


def test_jobs_are_counted_and_those_that_ended_are_forgotten(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "job_1", "job_2", "job_3", "job_4", "job_5")
        await put(store, "job_6", kind="other")
        mine = {each.id: each for each in await claim(store, each=4)}
        assert len(mine) == 5
        await store.end_job(mine["job_1"], End("done", b"r"))
        await store.end_job(mine["job_2"], End("dead", error="e"))
        await store.end_job(mine["job_3"], End("cancelled"))
        assert sorted(await store.count_jobs()) == [
            JobCount("k", "dead", 1),
            JobCount("k", "queued", 1),
            JobCount("k", "running", 1),
            JobCount("other", "running", 1),
        ]
        now = await store.job_time()
        assert await store.sweep_jobs(ended_before=now - 60_000, dead_before=now - 60_000, limit=9) == 0
        assert await store.sweep_jobs(ended_before=now + 60_000, dead_before=now - 60_000, limit=1) == 1
        assert await store.sweep_jobs(ended_before=now + 60_000, dead_before=now - 60_000, limit=9) == 1
        assert [each.id for each in await store.list_jobs(project_id=ONE, kind="k", limit=9)] == [
            "job_5",
            "job_4",
            "job_2",
        ]
        assert await store.sweep_jobs(ended_before=now, dead_before=now + 60_000, limit=9) == 1

    run(url, test)


def test_a_project_that_is_deleted_takes_its_jobs_with_it(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await put(store, "job_1")
        await store._database.write(_delete_projects, None, key="spoil")
        assert await store.list_jobs(limit=9) == []

    run(url, test)


def _delete_projects(session: Any, batch: list[None]) -> list[None]:
    session._cursor.execute("DELETE FROM projects", {})
    return [None] * len(batch)
