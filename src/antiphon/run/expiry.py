"""Forgets what has expired."""

from __future__ import annotations

from antiphon.domain import limits
from antiphon.jobs.steady import SteadyTime
from antiphon.ports import Clock, Store


class Expiry:
    """Deletes responses, event logs and cached answers whose time is over, a few at a time."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._time = SteadyTime(clock)

    async def sweep(self) -> None:
        """Delete what has expired by now."""
        now = int(self._time.now())
        deleted = limits.SWEEP_STEP
        while deleted == limits.SWEEP_STEP:
            deleted = await self._store.sweep(now=now, logs_before=now - limits.LOG_TTL, limit=limits.SWEEP_STEP)
        while await self._store.sweep_cached(now=now, limit=limits.SWEEP_STEP) == limits.SWEEP_STEP:
            pass
