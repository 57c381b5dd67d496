"""Which servers are there: heard by one's own clock, whatever time it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from antiphon.domain import limits
from antiphon.jobs.presence import Presence

DAY = 24 * 3600.0


class FakeClock:
    """Goes on when it is told to; can be set."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.wall = 1_700_000_000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall += seconds


class FakeStore:
    """The table of workers."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.beats = 0

    async def beat(self, worker: str) -> bool:
        self.beats += 1
        known = worker in self.rows
        self.rows[worker] = self.rows[worker] + 1 if known else 0
        return known

    async def workers(self) -> dict[str, int]:
        return dict(self.rows)

    async def remove_worker(self, worker: str, beat: int) -> bool:
        return self.rows.get(worker) == beat and self.rows.pop(worker) is not None

    async def remove_other_workers(self, worker: str) -> None:
        self.rows = {worker: self.rows[worker]}

    async def leave(self, worker: str) -> None:
        self.rows.pop(worker, None)


def run(test: Callable[[FakeStore, FakeClock, Presence], Awaitable[None]], *, alone: bool = False) -> None:
    async def main() -> None:
        store: Any = FakeStore()
        clock = FakeClock()
        presence = Presence(store, "me", clock, alone=alone)
        await test(store, clock, presence)

    asyncio.run(main())


async def listens(clock: FakeClock, presence: Presence, seconds: float) -> None:
    """As a worker does, for so long."""
    for _ in range(round(seconds / limits.LEASE_RENEWAL)):
        clock.pass_by(limits.LEASE_RENEWAL)
        await presence.beat_and_listen()


def test_a_server_that_counts_no_more_is_struck_off_in_ten_seconds() -> None:
    async def test(store: FakeStore, clock: FakeClock, presence: Presence) -> None:
        await presence.enter()
        await store.beat("dead")
        await listens(clock, presence, limits.LEASE)
        assert "dead" in store.rows
        await listens(clock, presence, limits.LEASE_RENEWAL)
        assert store.rows.keys() == {"me"}

    run(test)


def test_a_server_that_counts_is_left_alone_whatever_the_clocks_say() -> None:
    async def test(store: FakeStore, clock: FakeClock, presence: Presence) -> None:
        await presence.enter()
        for jump in (0.0, 2 * DAY, -4 * DAY, 2 * DAY, 0.0):
            clock.wall += jump
            for _ in range(10):
                await store.beat("alive")
                await listens(clock, presence, limits.LEASE_RENEWAL)
        assert store.rows.keys() == {"me", "alive"}

    run(test)


def test_whoever_stood_still_judges_nobody() -> None:
    async def test(store: FakeStore, clock: FakeClock, presence: Presence) -> None:
        await presence.enter()
        await store.beat("asleep, too")
        await listens(clock, presence, limits.LEASE_RENEWAL)
        clock.pass_by(20)  # the machine of both was paused
        await presence.beat_and_listen()
        assert "asleep, too" in store.rows
        await store.beat("asleep, too")
        await listens(clock, presence, limits.LEASE)
        assert "asleep, too" in store.rows
        await listens(clock, presence, limits.LEASE)
        assert "asleep, too" not in store.rows

    run(test)


def test_one_that_was_struck_off_comes_back_before_it_takes_on_anything() -> None:
    async def test(store: FakeStore, clock: FakeClock, presence: Presence) -> None:
        await presence.enter()
        beats = store.beats
        await presence.confirm()
        assert store.beats == beats
        for sleep in (lambda: clock.pass_by(20), lambda: setattr(clock, "wall", clock.wall + 20)):
            sleep()
            store.rows.clear()
            await presence.confirm()
            assert store.rows == {"me": 0}

    run(test)


def test_whoever_is_alone_says_nothing_and_takes_over_at_once() -> None:
    async def test(store: FakeStore, clock: FakeClock, presence: Presence) -> None:
        await store.beat("crashed")
        await presence.enter()
        assert store.rows == {"me": 0}
        await listens(clock, presence, 60)
        await presence.confirm()
        assert store.rows == {"me": 0}
        await presence.leave()
        assert store.rows == {}

    run(test, alone=True)
