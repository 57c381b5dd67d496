"""Periodic work: what a server does every so often, declared once and seen to by one registry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from antiphon.domain import limits
from antiphon.domain.chance import random
from antiphon.domain.errors import AntiphonError
from antiphon.ports import Clock
from antiphon.telemetry.logs import logger

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Sweep:
    """`run` is called at the start and then every so many seconds, a little earlier each time by chance."""

    name: str
    every: float
    run: Callable[[], Awaitable[None]]


class Sweeps:
    """Sees to sweeps, each in a task of its own, so that none waits for a slow one. Safe to stop twice."""

    def __init__(self, sweeps: Iterable[Sweep], clock: Clock) -> None:
        self._clock = clock
        self._sweeps = tuple(sweeps)
        self._tasks: list[asyncio.Task[None]] = []
        self._last: dict[str, float] = {}

    async def start(self) -> None:
        """Begin, in the running loop."""
        self._tasks = [asyncio.create_task(self._repeat(sweep), name=f"sweep {sweep.name}") for sweep in self._sweeps]

    async def stop(self) -> None:
        """End, in the middle of a sweep if need be."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def last_runs(self) -> list[tuple[tuple[str], float]]:
        """For each sweep's name, when it last came to its end without an error (Unix seconds; 0: never)."""
        return [((sweep.name,), self._last.get(sweep.name, 0.0)) for sweep in self._sweeps]

    async def _repeat(self, sweep: Sweep) -> None:
        while True:
            # One that has failed need not wait for long.
            pause = sweep.every if await self._once(sweep) else min(sweep.every, limits.SWEEP_TICK)
            await asyncio.sleep(pause * (1 - limits.SWEEP_JITTER * random()))

    async def _once(self, sweep: Sweep) -> bool:
        try:
            await sweep.run()
        except AntiphonError as error:
            _log.warning("a sweep was held up", sweep=sweep.name, reason=str(error))
            return False
        except Exception as error:
            _log.error("a sweep has failed", sweep=sweep.name, exc_info=error)
            return False
        self._last[sweep.name] = self._clock.now()
        return True
