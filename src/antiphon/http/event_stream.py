"""Sends a stream of server-sent events.

Two things go on beside every stream, by one timer (`Heartbeat`). While it has nothing to send, a comment is sent now
and then, so that neither proxies nor clients take the connection for dead. And a client that reads nothing for too long
counts as gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError
from antiphon.http.answers import EVENT_STREAM
from antiphon.http.disconnect import ClientGone
from antiphon.http.events import error_event
from antiphon.http.exchange import Exchange, Header
from antiphon.http.heartbeat import Heartbeat
from antiphon.wire import sse

#: A comment, which every reader of events passes over.
_BEAT = sse.comment(b"")
_HEADERS = [
    (b"content-type", EVENT_STREAM),
    (b"cache-control", b"no-cache"),
    # Reverse proxies that buffer would hold back events.
    (b"x-accel-buffering", b"no"),
]


async def send_events(
    exchange: Exchange,
    opening: Awaitable[AsyncGenerator[bytes, None]],
    headers: Iterable[Header] = (),
    *,
    failed: Callable[[AntiphonError], bytes] = error_event,
) -> None:
    """Send chunks of server-sent events as they come, then `[DONE]`. An empty chunk: the stream has begun.

    An error before the first chunk is raised, so that it can still be an HTTP error; but not after so long that a
    heartbeat had to be sent: then it is the stream's last event, in the form of `failed`. When the client disconnects
    or stalls, the chunks are closed.
    """
    await _EventStream(exchange, headers, failed).send(opening)


class _EventStream:
    """The stream that answers one exchange."""

    __slots__ = (
        "_begun",
        "_exchange",
        "_failed",
        "_headers",
        "_heartbeat",
        "_muted",
        "_send_message",
        "_sending_since",
        "pieces",
    )

    def __init__(self, exchange: Exchange, headers: Iterable[Header], failed: Callable[[AntiphonError], bytes]) -> None:
        """`headers`: beside those of every stream. `failed`: how an error is written as an event."""
        self._exchange = exchange
        self._send_message = exchange.send
        self._headers = [*_HEADERS, *headers]
        self._failed = failed
        #: Pieces that were sent; a heartbeat comes after a time without any.
        self.pieces = 0
        #: Whether the source has given anything: after that, an error cannot be this stream's only event any more.
        self._begun = False
        #: Whether the client reads nothing any more, while the answer is still made for its recorder.
        self._muted = False
        self._sending_since = 0.0
        self._heartbeat = Heartbeat(self, self._beat)

    async def send(self, opening: Awaitable[AsyncGenerator[bytes, None]]) -> None:
        """Send all chunks of the source that `opening` gives, then `[DONE]`. See `send_events`."""
        try:
            await self._exchange.unless_gone(self._send_all(opening), self._heartbeat)
        finally:
            await self._heartbeat.stop()

    async def _send_all(self, opening: Awaitable[AsyncGenerator[bytes, None]]) -> None:
        exchange = self._exchange
        try:
            async with aclosing(await opening) as chunks:
                async for chunk in chunks:
                    if not self._begun:
                        await self._begin()
                    if chunk:
                        await self._write(chunk)
        except AntiphonError as error:
            if self._begun or not exchange.started:
                raise
            # A heartbeat has sent the status already: the error becomes the stream's only event.
            exchange.error_code = error.code or error.type
            exchange.recorder = None
            await self._write(self._failed(error))
        if not self._begun:
            await self._begin()
        end = exchange.trailers() + sse.DONE
        if exchange.recorder is not None:
            exchange.recorder.add(end)
            await exchange.recorder.settle(200, EVENT_STREAM)
            exchange.recorder = None
        await self._write(end, last=True)

    async def _begin(self) -> None:
        self._begun = True
        self.pieces += 1
        await self._heartbeat.wait_for_beat()
        await self._send_head()

    async def _send_head(self) -> None:
        if not self._exchange.started:
            self._sending_since = time.monotonic()
            await self._exchange.start(200, self._headers)
            self._sending_since = 0.0

    async def _beat(self) -> None:
        if not self._muted and not self._sending_since:
            await self._send_head()
            await self._exchange.send_body(_BEAT, more=True)

    async def _write(self, piece: bytes, *, last: bool = False) -> None:
        if self._exchange.recorder is not None:
            self._exchange.recorder.add(piece)
            await self._send_unless_muted(piece)
            return
        if self._muted:
            raise ClientGone
        self.pieces += 1
        self._sending_since = time.monotonic()
        await self._send_message({"type": "http.response.body", "body": piece, "more_body": not last})
        self._sending_since = 0.0

    async def _send_unless_muted(self, piece: bytes) -> None:
        """Send while the client reads. After that the answer is still made, for who asks for it again."""
        self.pieces += 1
        if not self._muted:
            try:
                async with asyncio.timeout(limits.SEND_TIMEOUT):
                    await self._exchange.send_body(piece, more=True)
            except TimeoutError:
                self._muted = True

    def stalls(self) -> bool:
        """Whether the client has read nothing of what is being sent for `SEND_TIMEOUT` seconds."""
        since = self._sending_since
        return bool(since) and time.monotonic() - since > limits.SEND_TIMEOUT
