"""A timer beside each stream: sends a heartbeat when the stream is quiet, and notices a client that stops reading."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Protocol

from antiphon.domain import limits

#: Looks at the stream between two heartbeats. A heartbeat may be late by the time between two looks.
_LOOKS = 3


class Stream(Protocol):
    """A stream that is being sent."""

    @property
    def pieces(self) -> int:
        """How many pieces have been sent."""

    def stalls(self) -> bool:
        """Whether the client has read nothing for too long."""


class Heartbeat:
    """Looks at a stream at regular intervals, with one timer."""

    __slots__ = ("_beat", "_beating", "_quiet", "_seen", "_stream", "_timer", "on_stall")

    def __init__(self, stream: Stream, beat: Callable[[], Coroutine[None, None, None]]) -> None:
        """`beat`: sends a heartbeat. Called each time that nothing has been sent for `STREAM_HEARTBEAT` seconds."""
        self._stream = stream
        self._beat = beat
        self._beating: asyncio.Task[None] | None = None
        self._seen = stream.pieces
        self._quiet = 0
        #: Called when the client has stopped reading; None: nothing is done about it.
        self.on_stall: Callable[[], None] | None = None
        self._arm()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(limits.STREAM_HEARTBEAT / _LOOKS, self._look)

    def _look(self) -> None:
        if self.on_stall is not None and self._stream.stalls():
            self.on_stall()
            return
        pieces = self._stream.pieces
        self._quiet = self._quiet + 1 if pieces == self._seen else 0
        self._seen = pieces
        if self._quiet >= _LOOKS and (self._beating is None or self._beating.done()):
            self._quiet = 0
            self._beating = asyncio.get_running_loop().create_task(self._beat())
        self._arm()

    async def wait_for_beat(self) -> None:
        """Wait until no heartbeat is being sent, so that two pieces are never sent at once."""
        if self._beating is not None:
            await self._beating

    async def stop(self) -> None:
        """Stop the timer, and a heartbeat that is being sent."""
        self._timer.cancel()
        if self._beating is not None:
            self._beating.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await self._beating
