"""An upstream's answer as it comes in: whole, or as batches of events. Every wait has a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, Overloaded
from antiphon.domain.routing import Deadlines
from antiphon.engines.timer import WaitTimer
from antiphon.engines.upstream import errors, http1
from antiphon.wire.sse import Event, EventTooLarge, SSEParser

_MARK = b"\xef\xbb\xbf"
#: With what a whole body of JSON begins, and the lines of a stream of events.
_WHOLE = (b"{", b"[")
_EVENTS = (b":", b"d", b"e", b"i", b"r")
#: Bytes that are read to see what an answer is.
_OPENING = 4_096


class BodyMemory:
    """The memory that whole bodies of all answers together may take (bytes)."""

    def __init__(self, most: int = limits.UPSTREAM_BODIES) -> None:
        self._left = most

    def take(self, size: int) -> None:
        """Take `size` bytes of it. Raises `Overloaded` if there are not as many left."""
        if size > self._left:
            raise Overloaded("The answers of upstreams that are being read take too much memory.")
        self._left -= size

    def give_back(self, size: int) -> None:
        """Give `size` bytes back."""
        self._left += size


class Reply:
    """One answer with a status of 2xx. It must be closed (more than once does no harm), or read whole.

    `status`, `headers`: as they came. `streamed`: whether it is a stream of events, as its headers say; or as it is,
    once `detect_kind` has looked: a server may answer with a whole body where it was asked for a stream, or call either
    something else, or nothing.
    """

    def __init__(
        self,
        response: http1.Response,
        *,
        began: float,
        deadlines: Deadlines,
        loop: asyncio.AbstractEventLoop,
        released: Callable[[Reply], None],
        asked: bool,
        bodies: BodyMemory,
    ) -> None:
        """`asked`: whether a stream was asked for. `bodies`: shared by all."""
        self.status = response.status
        self.headers = response.headers
        kind = response.content_type
        self.streamed = kind == "text/event-stream"
        self._sure = not self.streamed and not asked and (kind == "application/json" or kind.endswith("+json"))
        self._asked = asked
        self._bodies = bodies
        self._response = response
        self._loop = loop
        self._released = released
        self._between = deadlines.between
        self._first: float | None = began + deadlines.first
        self._end = began + deadlines.total(streamed=self.streamed)
        self._parser = SSEParser(max_event=limits.MAX_UPSTREAM_EVENT)
        self._timer = WaitTimer(loop, self._expire)
        self._late: str | None = None
        self._closed = False
        #: What was read to see what it is.
        self._held = b""
        self._size = 0

    # --- a stream -----------------------------------------------------------------------------------------------------
    def events(self) -> Reply:
        """The stream: batches of events, each as many as came at once and at least one.

        Iterating raises `DeadlineExceeded` or `UpstreamFailed`; it ends where the upstream ends the stream.
        """
        return self

    def __aiter__(self) -> Reply:
        return self

    async def __anext__(self) -> list[Event]:
        first = self._first
        until = self._loop.time() + self._between if first is None else first
        self._timer.wait(min(until, self._end))
        while True:
            data = await self._read()
            if not data:
                self.close()
                raise StopAsyncIteration
            self._size += len(data)
            if self._size > limits.MAX_UPSTREAM_STREAM:
                self.close()
                raise errors.invalid("a stream that is too long")
            try:
                events = self._parser.feed(data)
            except EventTooLarge:
                self.close()
                raise errors.invalid("an event that is too large") from None
            if events:
                self._first = None
                self._timer.rest()
                return events

    def hurry(self) -> None:
        """The answer has ended: what may still come must come soon."""
        self._between = min(self._between, limits.UPSTREAM_AFTER)

    def done(self) -> None:
        """All that matters of the stream has come. Its connection is kept for the next request if it ends soon."""
        if self._closed:
            return
        if self._response.is_eof():
            self.close()
        else:
            self._timer.wait(self._loop.time() + limits.UPSTREAM_LINGER)
            self._response.on_eof(self.close)

    # --- a whole body -------------------------------------------------------------------------------------------------
    async def body(self) -> bytes:
        """The whole body. Raises `DeadlineExceeded`, or `UpstreamFailed` if it breaks off or is too large.

        A whole answer begins to come when all of it was made: only the deadline for the whole counts.
        """
        if not self._response.is_whole:
            self._timer.wait(self._end)
        body: bytes | bytearray = b""
        taken = 0
        try:
            while data := await self._read():
                if len(body) + len(data) > limits.MAX_UPSTREAM_BODY:
                    raise errors.invalid("a body that is too large")
                self._bodies.take(len(data))
                taken += len(data)
                # Not kept as pieces: they may be tiny, and each would cost more than what is in it.
                if not body:
                    body = data
                elif isinstance(body, bytearray):
                    body += data
                else:
                    body = bytearray(body + data)
        finally:
            self._bodies.give_back(taken)
            self.close()
        return bytes(body)

    # --- both ---------------------------------------------------------------------------------------------------------
    async def detect_kind(self) -> None:
        """See what it is, where its headers do not tell for sure. Raises `UpstreamFailed` for a page of HTML."""
        if self._sure:
            return
        first = self._first
        self._timer.wait(min(first, self._end) if first is not None and (self._asked or self.streamed) else self._end)
        held = b""
        while len(held) < _OPENING and (data := await self._read()):
            held += data
            if start := held.removeprefix(_MARK).lstrip()[:1]:
                self.streamed = start not in _WHOLE if self.streamed else start in _EVENTS
                if start == b"<":
                    self.close()
                    raise errors.invalid("a page where JSON should be")
                break
        self._held = held
        if not self.streamed:
            self._timer.wait(self._end)

    async def _read(self) -> bytes:
        if self._held:
            held, self._held = self._held, b""
            return held
        if self._closed:
            raise self._fault()
        try:
            return await self._response.readany()
        except http1.TransportError:
            self.close()
            raise self._fault() from None
        except BaseException:  # a cancel
            self.close()
            raise

    def _fault(self) -> AntiphonError:
        return errors.broken() if self._late is None else errors.late(self._late)

    def _expire(self) -> None:
        if self._loop.time() >= self._end - 0.001:
            self._late = "the whole answer"
        else:
            self._late = "its next piece" if self._first is None else "the beginning of its answer"
        # Wakes up the reader; closing alone does not.
        self._response.set_exception(http1.ConnectionLost())
        self.close()

    def abort(self) -> None:
        """End it now: reading it raises `UpstreamFailed`."""
        self._response.set_exception(http1.ConnectionLost())
        self.close()

    def close(self) -> None:
        """End it: a stream that has not ended by itself is cut off, which ends the generation."""
        if self._closed:
            return
        self._closed = True
        self._timer.close()
        # Does nothing to a connection whose answer has ended: that one is back in the pool already.
        self._response.close()
        self._released(self)
