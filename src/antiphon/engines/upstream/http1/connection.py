"""One connection to an upstream: requests go out one after the other, and each waits for its answer.

The states of a connection, by what is set:

    idle         no `_waiter`, no `_response`: it lies in its pool. Bytes that come now were not asked for, and end it
    asked        `_waiter`: a request was written, and its head has not come. The waiter gets the `Response`
    answering    `_response`: the head has come, the body comes. The response has its pieces, or what broke it
    closed       `closed`: nothing comes any more

    idle ──ask──▶ asked ──head──▶ answering ──end of the message──▶ idle, if the server keeps the connection
                    │                 │
                    └── deadline, no HTTP, connection lost ──▶ closed; waiter or reader get a `TransportError`

llhttp parses what comes, and calls the methods `on_…`; RFC 9112 says where a message ends. Three things are bounded
here that it does not bound: the bytes of heads, the bytes of a body's chunk sizes and extensions, and how much of a
body is read ahead of its reader (the socket is paused, and TCP holds the server back).

A connection that was used before may be closed by its server just when the next request is written. It then ends at
once, with no byte of an answer (`ConnectionLost.stale`), and the pool may send the request again on another one.
"""

from __future__ import annotations

import asyncio
import select
import time
from typing import Protocol, cast

import httptools

from antiphon.domain import limits
from antiphon.engines.upstream.http1.errors import ConnectionLost, ProtocolError, Timeout, TransportError
from antiphon.engines.upstream.http1.response import Headers, Response


class ConnectionOwner(Protocol):
    """What a connection tells the pool that it belongs to."""

    def give_back(self, connection: HttpConnection) -> None:
        """This connection may be used again."""

    def lost(self, connection: HttpConnection) -> None:
        """This connection is closed."""


class HttpConnection(asyncio.Protocol):
    """One connection, with one request at a time. The parser calls the methods whose names begin with `on_`."""

    def __init__(self, pool: ConnectionOwner) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[Response] | None = None
        self._response: Response | None = None
        self._headers = Headers()
        #: Further headers of names that were there already.
        self._more: dict[str, list[str]] = {}
        self._in_head = True
        #: Bytes of heads (also of answers that only announce the real one), and of the transfer coding of the body.
        self._head_bytes = 0
        self._coding_bytes = 0
        self._sent_at = 0.0
        self._touched = False
        self._used = False
        self.idle_since = 0.0
        self.closed = False

    async def ask(self, request: bytes, until: float) -> Response:
        """Send a request (head and body), and give its answer when its headers have come, by `until` (loop's time).

        Raises `ConnectionLost`, `ProtocolError` or `Timeout`.
        """
        waiter: asyncio.Future[Response] = self._loop.create_future()
        self._waiter = waiter
        self._touched = False
        self._head_bytes = 0
        self._sent_at = self._loop.time()
        self._transport.write(request)
        timer = self._loop.call_at(until, self._late)
        try:
            return await waiter
        except BaseException:
            self.abort()
            raise
        finally:
            timer.cancel()

    def _late(self) -> None:
        self._fail(Timeout(connecting=False))

    def has_ended(self) -> bool:
        """Whether an idle connection holds bytes, or its end, that the event loop has not read yet.

        That is so where the loop, or the whole process, has stood still meanwhile. It is not asked of a connection that
        was used a moment ago: the look costs a system call.
        """
        if time.monotonic() - self.idle_since < limits.UPSTREAM_IDLE_LOOK:
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def resume(self) -> None:
        """Read on: what had come was taken."""
        if not self.closed:
            self._transport.resume_reading()

    def abort(self) -> None:
        """End the connection now, with whatever is under way on it."""
        self.closed = True
        self._response = None
        self._transport.abort()

    # --- what the transport tells -------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._waiter is None and self._response is None:
            # Nothing was asked: the connection cannot be trusted any more.
            self.abort()
            return
        if self._response is None:
            self._head_bytes += len(data)
        else:
            self._coding_bytes += len(data)
        self._touched = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(ProtocolError())
            return
        if self._response is not None:
            if self._coding_bytes > limits.MAX_HEADERS:
                self._fail(ProtocolError())
            else:
                self._response.wake()
        elif self._waiter is not None and self._head_bytes > limits.MAX_HEADERS:
            self._fail(ProtocolError())

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed. An answer without a length of its own ends with it (RFC 9112, section 6.3)."""
        self.closed = True
        self._pool.lost(self)
        if self._response is not None:
            response, self._response = self._response, None
            names = response.headers
            delimited = "content-length" in names or "chunked" in names.get("transfer-encoding", "").lower()  # type: ignore[union-attr]
            response.end(None if exc is None and not delimited else ConnectionLost())
        else:
            at_once = self._loop.time() - self._sent_at <= limits.UPSTREAM_STALE_WITHIN
            self._fail(ConnectionLost(stale=self._used and not self._touched and at_once))

    def _fail(self, error: TransportError) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        response, self._response = self._response, None
        if response is not None:
            response.end(error)
        self.abort()

    # --- what the parser tells ----------------------------------------------------------------------------------------
    def on_message_begin(self) -> None:
        """An answer begins. An answer to no request ends the connection."""
        self._in_head = True
        if self._waiter is None and self._response is None:
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. What comes behind a chunked body is not one, and is passed over."""
        if not self._in_head:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in self._headers:
            self._more.setdefault(key, []).append(text)
        else:
            self._headers[key] = text

    def on_headers_complete(self) -> None:
        """The head is whole. Raising here ends the connection."""
        headers, self._headers = self._headers, Headers()
        self._in_head = False
        if self._more:
            # Several headers of one name are one list (RFC 9110, section 5.2).
            headers.update({key: ", ".join([headers[key], *texts]) for key, texts in self._more.items()})
            self._more = {}
        status: int = self._parser.get_status_code()
        if 100 <= status < 200:
            return  # the answer itself follows
        if self._waiter is None or self._waiter.done():
            self.abort()  # a second answer, or one that is not waited for any more
            return
        if headers.get("transfer-encoding", "chunked").lower() != "chunked":  # type: ignore[union-attr]
            raise ProtocolError
        self._coding_bytes = 0
        self._response = Response(status, headers, self)
        # By the time that it is taken, the connection may be another request's.
        waiter, self._waiter = self._waiter, None
        waiter.set_result(self._response)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._coding_bytes = max(0, self._coding_bytes - limits.CHUNK_CODING * len(body))
        if self._response is not None and self._response.add(body):
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The answer is whole: the next request may use the connection."""
        response, self._response = self._response, None
        if response is None:
            return
        self._used = True
        keep = self._parser.should_keep_alive() and not self.closed
        response.end()
        if keep:
            self._transport.resume_reading()
            self._pool.give_back(self)
        else:
            self.closed = True
            self._transport.close()
