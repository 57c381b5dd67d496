"""The clock that all servers of a database share."""

from __future__ import annotations

import asyncio
from typing import Any

from antiphon.run.clock import DatabaseClock


class OwnClock:
    """A server's own clock, set by the test."""

    wall = 5_000.0
    measured = 10.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.measured


class Store:
    """A database whose clock shows `time` (milliseconds), and which takes two seconds to say so."""

    def __init__(self, own: OwnClock) -> None:
        self._own = own
        self.time = 1_000_000

    async def job_time(self) -> int:
        self._own.measured += 2
        return self.time


def test_it_is_the_databases_once_that_was_asked_and_goes_on_by_itself() -> None:
    own = OwnClock()
    store: Any = Store(own)
    clock = DatabaseClock(store, own)
    assert clock.now() == 5_000.0, "nobody was asked yet"
    asyncio.run(clock.sweep())
    assert clock.now() == 1_001.0, "it has gone on since the database looked"
    own.wall += 86_400
    assert clock.now() == 1_001.0, "whoever sets our own clock changes nothing"
    own.measured += 7
    assert (clock.now(), clock.monotonic()) == (1_008.0, own.measured)
    store.time = 2_000_000
    asyncio.run(clock.sweep())
    assert clock.now() == 2_001.0
