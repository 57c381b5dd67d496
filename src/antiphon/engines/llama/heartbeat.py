"""Whether a child is alive: it answers, and what it works on comes along.

Only time in which our own process ran is counted. After a pause of everything (a laptop's sleep, a stopped virtual
machine) all clocks have jumped and no answer is late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from antiphon.domain import limits

#: A sign of life is asked for this often, and waited for this long.
_EVERY, _PATIENCE = 1.0, 2.0


class Heartbeat:
    """Asks one child for signs of life.

    `ask`: whether it answers within so many seconds. `working`: whether anything is asked of the model. `heard`: a
    number that changes with everything that comes from the model.
    """

    def __init__(
        self,
        ask: Callable[[float], Awaitable[bool]],
        working: Callable[[], bool],
        heard: Callable[[], int],
        *,
        every: float = _EVERY,
        patience: float = _PATIENCE,
    ) -> None:
        self._ask = ask
        self._working = working
        self._heard = heard
        self._every = every
        self._patience = patience
        self._answers = asyncio.Event()
        self._answers.set()
        self._silent = asyncio.Event()

    @property
    def silent(self) -> bool:
        """Whether it has not answered for a while. It may do so again, or be replaced."""
        return self._silent.is_set()

    async def until_silent(self) -> None:
        """Wait until it has not answered for a while."""
        await self._silent.wait()

    async def until_answers(self) -> None:
        """Wait until it answers again, or is replaced."""
        await self._answers.wait()

    def stop_waiting(self) -> None:
        """The child is gone: end all waits for it."""
        self._answers.set()

    async def watch(self) -> str:
        """Watch until the child must be replaced; returns why."""
        loop = asyncio.get_running_loop()
        silence = idle = 0.0
        before = self._heard()
        while silence < limits.ENGINE_HANG_TIMEOUT and idle < limits.ENGINE_TOKEN_TIMEOUT:
            began = loop.time()
            answered = await self._ask(self._patience)
            await asyncio.sleep(self._every)
            # What is beyond is a pause of our own.
            passed = min(loop.time() - began, 2 * (self._patience + self._every))
            silence = 0.0 if answered else silence + passed
            now = self._heard()
            idle = idle + passed if self._working() and now == before else 0.0
            before = now
            self._tell(silent=silence >= limits.ENGINE_SILENCE)
        if silence >= limits.ENGINE_HANG_TIMEOUT:
            return f"it has not answered for {silence:.0f} s"
        return f"it has made nothing for {idle:.0f} s"

    def _tell(self, *, silent: bool) -> None:
        if silent:
            self._silent.set()
            self._answers.clear()
        else:
            self._silent.clear()
            self._answers.set()
