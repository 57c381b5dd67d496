"""The runner of jobs on both databases, with kinds that are scripts: whatever happens, each job ends once, and well."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from antiphon.domain import limits
from antiphon.domain.errors import Overloaded, RateLimited, StoreFailed, StoreUnavailable
from antiphon.domain.jobs import Job, NewJob
from antiphon.jobs.kinds import SETTLED, GiveUp, JobContext, JobKind, Outcome, Reschedule
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, opened, run
from support.runner import ended, running, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on how long anybody waits."""
    for name, seconds in (("CLAIM_TICK", 0.02), ("CANCEL_TICK", 0.02), ("JOB_PAUSE", 0.02), ("LEASE", 0.3)):
        monkeypatch.setattr(limits, name, seconds)
    monkeypatch.setattr(limits, "LEASE_RENEWAL", 0.1)


class Steps(msgspec.Struct):
    """What a job of the scripted kind is to do: so many steps; at some of them it breaks, once each."""

    count: int
    breaks: list[int] = []


class Scripted:
    """A second kind: it notes each step that it has made, and goes on from there."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.kind = JobKind("steps", payload=Steps, run=self.run)

    async def run(self, context: JobContext[Steps]) -> bytes:
        done = int(context.job.progress or b"0")
        for step in range(done, context.payload.count):
            if step in context.payload.breaks[context.job.failures :]:
                raise RateLimited("not now", retry_after=0)
            self.made.append(step)
            await context.note(b"%d" % (step + 1))
        return b"made %d" % context.payload.count


def kind(work: Any, name: str = "k", **options: Any) -> JobKind[Any]:
    """A kind that does `work(context)`."""
    return JobKind(name, payload=dict, run=work, **options)


async def put(store: SqlStore, name: str, project: str = ONE, of: str = "k", **options: Any) -> None:
    await store.enqueue_job(NewJob(project, of, options.pop("payload", b"{}"), id=name, **options))


def test_a_job_goes_on_from_its_last_step_after_each_failure(url: str) -> None:
    async def test(store: SqlStore) -> None:
        scripted = Scripted()
        await store.enqueue_job(scripted.kind.new(ONE, Steps(6, breaks=[2, 4]), id="job_1"))
        async with running(store, scripted.kind):
            job = await ended(store, "job_1")
        assert scripted.made == [0, 1, 2, 3, 4, 5]
        assert (job.state, job.result, job.progress, job.failures, job.attempts) == ("done", b"made 6", b"6", 2, 3)
        assert job.error is None

    run(url, test)


def test_what_fails_each_time_is_dead_and_can_be_asked_to_run_again(url: str) -> None:
    async def test(store: SqlStore) -> None:
        broken, told = True, []

        async def work(context: JobContext[Any]) -> bytes:
            if broken:
                raise LookupError("a secret")
            return b"well"

        async def on_dead(job: Job, error: Exception) -> None:
            told.append((job.id, type(error)))
            raise ArithmeticError  # what looks after the end may be broken, too

        await put(store, "job_1")
        async with running(store, kind(work, on_dead=on_dead)):
            job = await ended(store, "job_1")
            assert (job.state, job.attempts, job.error) == ("dead", limits.MAX_JOB_TRIES, "LookupError")
            assert told == [("job_1", LookupError)]
            broken = False
            assert await store.retry_job(ONE, "job_1")
            assert (await ended(store, "job_1")).result == b"well"

    run(url, test)


@pytest.mark.parametrize("fault", [StoreFailed, StoreUnavailable])
def test_what_a_dead_job_is_about_is_ended_however_often_that_takes(url: str, fault: type[StoreFailed]) -> None:
    """Otherwise a response would stay unfinished for ever, and its conversation locked."""

    async def test(store: SqlStore) -> None:
        faults, settled = [fault("not now"), fault("not yet")], []

        async def work(context: JobContext[Any]) -> None:
            raise GiveUp("It is no use.")

        async def on_dead(job: Job, error: Exception) -> None:
            if faults:
                raise faults.pop()
            settled.append(job.id)

        await put(store, "job_1")
        async with running(store, kind(work, on_dead=on_dead)):
            assert (await ended(store, "job_1")).error == "It is no use."
        assert settled == ["job_1"]

    run(url, test)


def test_what_a_job_is_about_is_ended_when_the_database_is_there_again(url: str) -> None:
    async def test(store: SqlStore) -> None:
        tries: Counter[str] = Counter()

        async def work(context: JobContext[Any]) -> None:
            raise GiveUp("no")

        async def is_away(job: Job, *_: Any) -> None:
            tries[job.id] += 1
            if tries[job.id] < 3:
                raise (StoreUnavailable("it is away") if tries[job.id] == 1 else Overloaded("it cannot keep up"))

        await put(store, "job_1")
        await put(store, "job_2")
        await store.cancel_job(ONE, "job_2")
        async with running(store, kind(work, on_dead=is_away, on_cancelled=is_away)):
            assert [(await ended(store, name)).state for name in ("job_1", "job_2")] == ["dead", "cancelled"]
        assert tries == {"job_1": 3, "job_2": 3}

    run(url, test)


@pytest.mark.parametrize("payload", [b"", b"{broken", b"[1]", b"\xff\x00", b"[" * 100_000])
def test_what_cannot_be_read_is_dead_at_once_and_holds_up_nobody(url: str, payload: bytes) -> None:
    async def test(store: SqlStore) -> None:
        async def work(context: JobContext[Any]) -> None: ...

        await put(store, "poison", payload=payload)
        await put(store, "fine")
        async with running(store, kind(work, max_running=1)):
            assert (await ended(store, "fine")).state == "done"
            poison = await ended(store, "poison")
        assert (poison.state, poison.attempts, poison.payload) == ("dead", 1, payload)
        assert poison.error == "What is stored of this job cannot be read."

    run(url, test)


def test_a_kind_can_give_a_job_up_and_end_what_it_is_about_itself(url: str) -> None:
    async def test(store: SqlStore) -> None:
        async def gives_up(context: JobContext[Any]) -> None:
            raise GiveUp("There is no such file.")

        async def settles(context: JobContext[Any]) -> Outcome:
            # As a kind does whose store ends the job together with its rows.
            await store._database.write(_delete, context.job.id, key="end")
            return SETTLED

        await put(store, "job_1")
        await put(store, "job_2", of="settles")
        async with running(store, kind(gives_up), kind(settles, "settles")):
            job = await ended(store, "job_1")
            assert (job.state, job.attempts, job.error) == ("dead", 1, "There is no such file.")

            async def is_gone() -> bool:
                return await store.get_job(ONE, "job_2") is None

            await until(is_gone, "it is settled")

    run(url, test)


def _delete(session: Any, batch: list[str]) -> list[None]:
    for name in batch:
        session._cursor.execute(f"DELETE FROM jobs WHERE id = '{name}'", {})
    return [None] * len(batch)


def test_what_has_to_wait_takes_no_place(url: str) -> None:
    async def test(store: SqlStore) -> None:
        seen: list[Any] = []

        async def work(context: JobContext[Any]) -> None:
            seen.append((context.job.id, context.payload))
            if not context.payload:
                raise Reschedule(3600, payload=b'{"again":1}')

        async def asks_for_time(context: JobContext[Any]) -> None:
            raise RateLimited("busy", retry_after=500)

        await put(store, "job_1")
        await put(store, "job_2", payload=b'{"a":1}')
        await put(store, "asks", of="asks")
        async with running(store, kind(work, max_running=1), kind(asks_for_time, "asks")):
            assert (await ended(store, "job_2")).state == "done"
            waits = await store.get_job(ONE, "job_1")
            assert waits is not None
            assert (waits.state, waits.payload, waits.failures) == ("queued", b'{"again":1}', 0)
            assert waits.waited == 3_600_000

            async def has_failed() -> bool:
                job = await store.get_job(ONE, "asks")
                assert job is not None
                return job.failures == 1 and job.run_at - await store.job_time() > 490_000

            await until(has_failed, "what a server asks for is obeyed")
            # Its time is the database's: there it has come.
            await store._database.write(_all_are_due, None, key="time")
            assert (await ended(store, "job_1")).state == "done"
        assert seen == [("job_1", {}), ("job_2", {"a": 1}), ("job_1", {"again": 1})]

    run(url, test)


def _all_are_due(session: Any, batch: list[None]) -> list[None]:
    session._cursor.execute("UPDATE jobs SET run_at = run_at - 3600000", {})
    return [None] * len(batch)


def test_waiting_comes_to_an_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_JOB_WAIT", 0.05)

    async def test(store: SqlStore) -> None:
        async def work(context: JobContext[Any]) -> None:
            raise Reschedule(0.03)

        await put(store, "job_1")
        async with running(store, kind(work)):
            job = await ended(store, "job_1")
        assert (job.state, job.failures) == ("dead", 0)
        assert job.waited >= 50

    run(url, test)


def test_one_project_with_a_thousand_jobs_does_not_keep_another_from_its_one(url: str) -> None:
    async def test(store: SqlStore) -> None:
        order: list[str] = []

        async def work(context: JobContext[Any]) -> None:
            order.append(context.job.project_id)

        many = (put(store, f"job_{number:04}", priority=9) for number in range(1000))
        await asyncio.gather(*many)
        await put(store, "theirs", TWO)
        async with running(store, kind(work, max_running=4, max_of_project=4)):
            await ended(store, "theirs", TWO)
        assert order.index(TWO) < 8

    run(url, test)


def test_no_more_run_than_a_kind_allows(url: str) -> None:
    async def test(store: SqlStore) -> None:
        now: Counter[str] = Counter()
        most: Counter[str] = Counter()

        async def work(context: JobContext[Any]) -> None:
            for name in ("all", context.job.project_id):
                now[name] += 1
                most[name] = max(most[name], now[name])
            await asyncio.sleep(0.02)
            now.subtract(["all", context.job.project_id])

        for number in range(12):
            await put(store, f"one_{number}")
            await put(store, f"two_{number}", TWO)
        async with running(store, kind(work, max_running=3, max_of_project=2)):
            for number in range(12):
                await ended(store, f"one_{number}")
                await ended(store, f"two_{number}", TWO)
        assert (most["all"], most[ONE], most[TWO]) == (3, 2, 2)

    run(url, test)


def test_a_cancel_ends_what_waits_and_what_runs(url: str) -> None:
    async def test(store: SqlStore) -> None:
        begun, tidied, told = asyncio.Event(), [], []

        async def work(context: JobContext[Any]) -> None:
            begun.set()
            try:
                await asyncio.sleep(3600)
            finally:
                tidied.append(context.job.id)

        async def on_cancelled(job: Job) -> None:
            told.append(job.id)

        await put(store, "runs")
        await put(store, "waits for a place")
        await put(store, "waits for its time", delay=3600)
        async with running(store, kind(work, max_running=1, on_cancelled=on_cancelled)) as runner:
            await begun.wait()
            for name in ("waits for a place", "waits for its time"):
                assert await runner.cancel(ONE, name)
                assert (await ended(store, name)).state == "cancelled"
            assert tidied == []
            # As another server asks for it.
            assert await store.cancel_job(ONE, "runs")
            assert (await ended(store, "runs")).state == "cancelled"
            assert tidied == ["runs"]
            assert sorted(told) == ["runs", "waits for a place", "waits for its time"]
            assert not await runner.cancel(ONE, "runs")

    run(url, test)


def test_two_runners_never_run_one_job_at_the_same_time(url: str) -> None:
    async def test(store: SqlStore) -> None:
        under_way: set[str] = set()
        runs: Counter[str] = Counter()
        by: set[str | None] = set()

        async def work(context: JobContext[Any]) -> None:
            assert context.job.id not in under_way
            under_way.add(context.job.id)
            runs[context.job.id] += 1
            by.add(context.job.holder)
            await asyncio.sleep(0.005)
            under_way.remove(context.job.id)

        names = [f"job_{number}" for number in range(120)]
        await asyncio.gather(*(put(store, name) for name in names))
        async with opened(url) as other:
            each = kind(work)
            async with running(store, each, worker="a"), running(other, each, worker="b"):
                for name in names:
                    assert (await ended(store, name)).state == "done"
        assert runs == Counter(names)
        assert by == {"a", "b"}

    run(url, test)


def test_a_runner_that_stood_still_cannot_end_what_was_taken_over(url: str) -> None:
    async def test(store: SqlStore) -> None:
        go_on = {name: asyncio.Event() for name in "ab"}
        begun: asyncio.Queue[str | None] = asyncio.Queue()

        async def work(context: JobContext[Any]) -> bytes:
            begun.put_nowait(context.job.holder)
            await go_on[str(context.job.holder)].wait()
            return str(context.job.holder).encode()

        await put(store, "job_1")
        async with opened(url) as other, running(store, kind(work), worker="a", alone=True):
            assert await begun.get() == "a"
            assert await store.remove_worker("a", (await store.workers())["a"])
            async with running(other, kind(work), worker="b"):
                assert await begun.get() == "b"
                go_on["a"].set()
                await asyncio.sleep(0.1)
                job = await store.get_job(ONE, "job_1")
                assert job is not None
                assert (job.state, job.holder, job.losses) == ("running", "b", 1)
                go_on["b"].set()
                assert (await ended(store, "job_1")).result == b"b"

    run(url, test)


def test_a_runner_stops_what_it_has_lost(url: str) -> None:
    async def test(store: SqlStore) -> None:
        begun, stopped = asyncio.Event(), asyncio.Event()

        async def work(context: JobContext[Any]) -> None:
            begun.set()
            try:
                await asyncio.sleep(3600)
            finally:
                stopped.set()

        await put(store, "job_1")
        async with running(store, kind(work), alone=True):
            await begun.wait()
            await store._database.write(_delete, "job_1", key="spoil")
            await asyncio.wait_for(stopped.wait(), 10)

    run(url, test)


def test_a_stopping_runner_leaves_its_jobs_and_counts_nothing(url: str) -> None:
    async def test(store: SqlStore) -> None:
        begun = asyncio.Event()
        fine = asyncio.Event()

        async def work(context: JobContext[Any]) -> bytes:
            begun.set()
            await fine.wait()
            return b"well"

        async def would_be_lost(context: JobContext[Any]) -> bytes:
            context.would_be_lost = True
            await asyncio.sleep(0.2)
            return b"whole"

        await put(store, "job_1")
        await put(store, "whole", of="whole")
        kinds = kind(work), kind(would_be_lost, "whole")
        async with running(store, *kinds) as runner:
            await begun.wait()
            await runner.stop()
            left = await store.get_job(ONE, "job_1")
            assert left is not None
            assert (left.state, left.holder, left.failures, left.losses) == ("queued", None, 0, 0)
            await runner.finished()
            assert (await ended(store, "whole")).result == b"whole"
        fine.set()
        async with running(store, *kinds):
            assert (await ended(store, "job_1")).result == b"well"

    run(url, test)


def test_what_takes_too_long_has_failed(url: str) -> None:
    async def test(store: SqlStore) -> None:
        async def hangs(context: JobContext[Any]) -> None:
            await asyncio.sleep(3600)

        async def ends_itself(context: JobContext[Any]) -> None:
            raise asyncio.CancelledError

        await put(store, "job_1", max_attempts=2)
        await put(store, "job_2", of="ends", max_attempts=2)
        async with running(store, kind(hangs, max_seconds=0.05), kind(ends_itself, "ends")):
            job = await ended(store, "job_1")
            assert (job.state, job.attempts, job.error) == ("dead", 2, "TimeoutError")
            assert (await ended(store, "job_2")).state == "dead"

    run(url, test)


def test_claims_and_ends_that_the_database_did_not_tell_of_are_noticed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(store: SqlStore) -> None:
        runs: Counter[str] = Counter()

        async def work(context: JobContext[Any]) -> bytes:
            runs[context.job.id] += 1
            return b"well"

        lost = Counter({"claim_jobs": 1, "end_job": 2})
        for name in lost:
            _loses(monkeypatch, store, name, lost)
        async with running(store, kind(work)):
            await put(store, "job_1")
            job = await ended(store, "job_1")
        assert (job.state, job.result, job.attempts, runs["job_1"]) == ("done", b"well", 1, 1)
        assert not +lost

    run(url, test)


def _loses(monkeypatch: pytest.MonkeyPatch, store: SqlStore, name: str, lost: Counter[str]) -> None:
    """The method works so many times without saying so, or says that it does not work."""
    real = getattr(store, name)

    async def work(*args: Any) -> Any:
        if lost[name] > 1:
            lost[name] -= 1
            raise StoreUnavailable("it is away")
        result = await real(*args)
        if lost[name] and result != []:
            lost[name] -= 1
            raise StoreUnavailable("it did not say whether it did it")
        return result

    monkeypatch.setattr(store, name, work)


def test_what_cannot_be_stored_is_not_tried_again_and_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_JOB_RESULT", 10)

    async def test(store: SqlStore) -> None:
        async def work(context: JobContext[Any]) -> bytes:
            return b"x" * 11

        await put(store, "job_1")
        async with running(store, kind(work)):
            job = await ended(store, "job_1")
        assert (job.state, job.attempts, job.result) == ("dead", 1, None)
        assert "cannot be stored" in str(job.error)

    run(url, test)


def test_a_host_whose_clock_jumps_costs_a_job_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's clock is its own; a file's is the host's. Neither keeps a job waiting, or gives it to another."""
    wrong = 0.0

    async def test(store: SqlStore) -> None:
        nonlocal wrong
        driver: Any = store._database._driver
        if hasattr(driver, "now_ms"):
            right = driver.now_ms
            driver.now_ms = lambda: right() + int(wrong * 1000)
        runs: Counter[str] = Counter()

        async def work(context: JobContext[Any]) -> None:
            runs[context.job.id] += 1
            if not context.job.waited:
                raise Reschedule(0.2)
            await asyncio.sleep(0.4)

        async with opened(url) as other:
            each = kind(work)
            async with running(store, each, worker="a"), running(other, each, worker="b"):
                for number, jump in enumerate((2 * 86_400.0, 0.0, -2 * 86_400.0, 0.0)):
                    wrong = jump
                    await put(store, f"job_{number}")
                    await asyncio.sleep(0.1)
                for number in range(4):
                    assert (await ended(store, f"job_{number}")).state == "done"
        assert set(runs.values()) == {2}

    run(url, test)


def test_jobs_of_a_kind_that_is_not_known_are_left_alone(url: str) -> None:
    async def test(store: SqlStore) -> None:
        async def work(context: JobContext[Any]) -> None: ...

        await put(store, "job_1", of="of a newer version")
        await put(store, "job_2")
        async with running(store, kind(work)):
            await ended(store, "job_2")
            job = await store.get_job(ONE, "job_1")
            assert job is not None
            assert job.state == "queued"

    run(url, test)
