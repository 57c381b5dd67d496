"""The real time."""

from __future__ import annotations

import time

from antiphon.ports import Clock, JobStore


class SystemClock:
    """The machine's clock (see `ports.Clock`)."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return time.monotonic()


class DatabaseClock:
    """`ports.Clock` for what all servers of a database must agree on, such as when a budget's day begins.

    Its wall clock is the database's. It is not asked for each call: between two sweeps, time goes on from there by this
    server's monotonic clock. Until the first sweep, it is this server's own wall clock. After a machine has slept, it
    is behind by that long until the next sweep.
    """

    def __init__(self, store: JobStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        #: How far the database's clock is ahead of our monotonic one (seconds). None: it was never asked.
        self._ahead: float | None = None

    def now(self) -> float:
        """Unix seconds."""
        return self._clock.now() if self._ahead is None else self._clock.monotonic() + self._ahead

    def monotonic(self) -> float:
        """Seconds that never go backwards, for measuring."""
        return self._clock.monotonic()

    async def sweep(self) -> None:
        """Ask the database what time it is."""
        before = self._clock.monotonic()
        found = await self._store.job_time() / 1000
        self._ahead = found - (before + self._clock.monotonic()) / 2
