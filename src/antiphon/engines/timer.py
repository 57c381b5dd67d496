"""One timer for the many short waits of a stream.

Setting a timer of the event loop for each piece of an answer, and cancelling it, costs more than the piece. Here the
loop's timer stays as it is when a wait ends in time: when it fires, it looks whether a wait is late, and is set again
for the one that goes on.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


def _nothing() -> None:
    pass


class WaitTimer:
    """Calls `expire` when a wait has gone on for too long. A wait costs no timer of its own, but for the first."""

    __slots__ = ("_at", "_expire", "_loop", "_timer", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._until = math.inf
        self._at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, until: float) -> None:
        """A wait begins, which must end by `until` (the loop's time)."""
        self._until = until
        if until < self._at:
            if self._timer is not None:
                self._timer.cancel()
            self._at = until
            self._timer = self._loop.call_at(until, self._fire)

    def rest(self) -> None:
        """The wait has ended in time."""
        self._until = math.inf

    def close(self) -> None:
        """End it, with its timer."""
        self._until = self._at = math.inf
        self._expire = _nothing  # it refers to the owner of this timer
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer, self._at = None, math.inf
        if self._until == math.inf:
            return
        # Timers may come a little early.
        if self._loop.time() < self._until - 0.001:
            self.wait(self._until)
        else:
            self._until = math.inf
            self._expire()
