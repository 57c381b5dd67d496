"""Forgets what has expired."""

from __future__ import annotations

import asyncio

from antiphon.domain import limits
from antiphon.periodic import PeriodicTask
from antiphon.ports import Clock, Store
from antiphon.run.steady import SteadyTime
from antiphon.telemetry.logs import logger

_log = logger(__name__)


class Sweeper:
    """Deletes responses, event logs and cached answers whose time is over, a few at a time."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._time = SteadyTime(clock)
        self._habit = PeriodicTask(_log, self._sweep)

    async def start(self) -> None:
        """Begin."""
        await self._habit.start()

    async def stop(self) -> None:
        """End. Safe to call twice."""
        await self._habit.stop()

    async def _sweep(self) -> None:
        now = int(self._time.now())
        deleted = limits.SWEEP_STEP
        while deleted == limits.SWEEP_STEP:
            deleted = await self._store.sweep(now=now, logs_before=now - limits.LOG_TTL, limit=limits.SWEEP_STEP)
        while await self._store.sweep_cached(now=now, limit=limits.SWEEP_STEP) == limits.SWEEP_STEP:
            pass
        await asyncio.sleep(limits.SWEEP_TICK)
