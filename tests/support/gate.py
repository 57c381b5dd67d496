"""A place in an engine's script where it waits until the test lets it go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from time import monotonic, sleep


class ScriptGate:
    """Put `step()` into a script; `arrived` says that the engine is there, and `open()` lets it through."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self._event = _Watched(self.arrived)

    def step(self) -> asyncio.Event:
        """The script's step."""
        return self._event

    def open(self) -> None:
        """Let the engine go on."""
        assert self.arrived.wait(10), "the engine did not come to the gate"
        assert self._event.loop is not None
        self._event.loop.call_soon_threadsafe(self._event.set)


class _Watched(asyncio.Event):
    """An event that tells another thread when it is waited for."""

    def __init__(self, arrived: threading.Event) -> None:
        super().__init__()
        self._arrived = arrived
        self.loop: asyncio.AbstractEventLoop | None = None

    async def wait(self) -> bool:  # type: ignore[override]  # the base class returns Literal[True]
        self.loop = asyncio.get_running_loop()
        self._arrived.set()
        return await super().wait()


def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait for something that another thread or process does and that cannot be awaited."""
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, f"not in time: {what}"
        sleep(0.005)
