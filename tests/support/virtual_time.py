"""An event loop in which time is only counted: it passes when nothing else is to be done, and then at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _Selector:
    """Never waits: where nothing is ready, time jumps to the next timer."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._real = selectors.DefaultSelector()
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def select(self, timeout: float | None = None) -> Any:
        events = self._real.select(0)
        if not events and timeout:
            self._loop.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is a number."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        super().__init__(_Selector(self))  # type: ignore[arg-type]  # it has all that a selector needs

    def time(self) -> float:
        return self.now


class VirtualClock:
    """`ports.Clock` over a virtual loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.now

    def monotonic(self) -> float:
        return self._loop.now


def play(main: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    """Run `main` in a virtual loop to its end, and whatever it leaves behind."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(main(loop))
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
