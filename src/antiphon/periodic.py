"""Loops that go on whatever goes wrong in one round of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError


async def run_forever(step: Callable[[], Coroutine[Any, Any, None]], log: Any) -> None:
    """Repeat `step` until cancelled. Errors are logged; after one, there is a pause of `limits.CLAIM_TICK` seconds."""
    while True:
        try:
            await step()
        except AntiphonError as error:
            log.warning("background work was held up", reason=str(error))
            await asyncio.sleep(limits.CLAIM_TICK)
        except Exception as error:
            log.exception("background work failed", error=type(error).__name__)
            await asyncio.sleep(limits.CLAIM_TICK)


class PeriodicTask:
    """Loops that run from `start` to `stop`, each in a task of its own. A step sleeps by itself, where it has to."""

    def __init__(self, log: Any, *steps: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """`steps`: each is repeated without end. `log`: where errors go."""
        self._log = log
        self._steps = steps
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin, in the running loop."""
        self._tasks = [asyncio.create_task(run_forever(step, self._log)) for step in self._steps]

    async def stop(self) -> None:
        """End, in the middle of a step if need be. Safe to call twice, and if it was never started."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
