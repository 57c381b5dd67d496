"""What a server does again and again, whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError


async def run_forever(step: Callable[[], Coroutine[Any, Any, None]], log: Any) -> None:
    """Do something until cancelled; a fault of the database must not be the end of it."""
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
    """Steps that are done one after the other, from its start to its stop. A step waits for its time by itself."""

    def __init__(self, log: Any, *steps: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Each of `steps` is a loop of its own. `log`: hears of those that fail."""
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
