"""What a server does for all jobs every so often: old ones are forgotten by a time that can be believed."""

from __future__ import annotations

import asyncio
from typing import Any

from antiphon.domain import limits
from antiphon.domain.jobs import JobCount
from antiphon.jobs.upkeep import JobUpkeep

NOW = 1_700_000_000.0


class FakeClock:
    """The server's clocks, and the database's."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.database = NOW

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return self.seconds


class FakeStore:
    """Notes what it is asked to delete."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.swept: list[tuple[int, int]] = []
        self.left = 0

    async def job_time(self) -> int:
        return int(self.clock.database * 1000)

    async def sweep_jobs(self, *, ended_before: int, dead_before: int, limit: int) -> int:
        self.swept.append((ended_before, dead_before))
        deleted = min(self.left, limit)
        self.left -= deleted
        return deleted

    async def count_jobs(self) -> list[JobCount]:
        return [JobCount("a", "queued", 3), JobCount("b", "dead", 1)]


def run(work: Any) -> FakeStore:
    clock = FakeClock()
    store: Any = FakeStore(clock)
    asyncio.run(work(store, clock, JobUpkeep(store, clock)))
    assert isinstance(store, FakeStore)
    return store


def test_old_jobs_are_forgotten_in_steps_by_the_databases_clock() -> None:
    async def work(store: FakeStore, clock: FakeClock, upkeep: JobUpkeep) -> None:
        store.left = 2 * limits.SWEEP_STEP + 1
        clock.database = NOW + 20  # it is a little ahead of the server's
        await upkeep.forget()

    store = run(work)
    at = NOW + 20
    assert store.swept == [(int((at - limits.JOB_TTL) * 1000), int((at - limits.DEAD_JOB_TTL) * 1000))] * 3


def test_a_database_whose_clock_is_set_forward_forgets_nothing_at_once() -> None:
    async def work(store: FakeStore, clock: FakeClock, upkeep: JobUpkeep) -> None:
        await upkeep.forget()
        clock.database += 90 * 24 * 3600
        await upkeep.forget()
        assert store.swept[0] == store.swept[1]
        clock.seconds += limits.CLOCK_DOUBT
        clock.database += limits.CLOCK_DOUBT
        await upkeep.forget()
        assert store.swept[2][0] == int((clock.database - limits.JOB_TTL) * 1000)

    run(work)


def test_a_kind_that_was_seen_shows_all_its_states() -> None:
    async def work(store: FakeStore, clock: FakeClock, upkeep: JobUpkeep) -> None:
        assert upkeep.counts() == []
        await upkeep.count()
        assert dict(upkeep.counts()) == {
            ("a", "queued"): 3,
            ("a", "running"): 0,
            ("a", "dead"): 0,
            ("b", "queued"): 0,
            ("b", "running"): 0,
            ("b", "dead"): 1,
        }

    run(work)
