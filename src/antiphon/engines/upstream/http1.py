"""A small HTTP/1.1 client for upstreams: pooled connections, and nothing that a gateway has no use for.

Half of a pass-through's processor time would otherwise be its client's (docs/decisions/ has the measurements). Messages
are parsed by llhttp; no redirects, proxies, cookies or compression. RFC 9112 is the protocol.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

from antiphon.domain import limits

#: This process, or the machine, can open no more files: no fault of the upstream's.
_NO_FILES = (errno.EMFILE, errno.ENFILE)


class TransportError(Exception):
    """What went wrong on the way to an upstream. Nothing of it is meant for clients: it may name addresses."""


class Unreachable(TransportError):
    """No connection could be made."""


class PoolExhausted(TransportError):
    """There are as many connections as there may be."""


class ConnectionLost(TransportError):
    """The connection ended before the answer did.

    `stale`: it was used before, and ended at once when the request was written, with no byte of an answer: its server
    was just closing it, and has most likely not taken the request.
    """

    def __init__(self, *, stale: bool = False) -> None:
        super().__init__("broken")
        self.stale = stale


class ProtocolError(TransportError):
    """What came is not HTTP."""


class Timeout(TransportError):
    """A deadline has passed: `connecting`, or for the answer to begin."""

    def __init__(self, *, connecting: bool) -> None:
        super().__init__("late")
        self.connecting = connecting


class Headers(dict[str, str]):
    """An answer's headers, by names in small letters."""

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]  # narrower
        """A header, whatever the case of its name."""
        return super().get(name.lower(), default)


class Response:
    """An answer whose headers have come. Whoever has it reads it to its end, or closes it."""

    __slots__ = ("_connection", "_ended", "_error", "_on_end", "_pieces", "_size", "_waiter", "headers", "status")

    def __init__(self, status: int, headers: Headers, connection: Connection) -> None:
        self.status = status
        self.headers = headers
        self._connection: Connection | None = connection
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: Exception | None = None
        self._on_end: Callable[[], None] | None = None

    @property
    def content_type(self) -> str:
        """The media type, in small letters and without parameters."""
        return (self.headers.get("content-type") or "").partition(";")[0].strip().lower()

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come, so that reading it does not wait."""
        return self._ended

    async def readany(self) -> bytes:
        """What has come since the last call, at least one byte; empty at the end. Raises what broke the answer."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        pieces, self._pieces = self._pieces, []
        if self._size > limits.UPSTREAM_READ_AHEAD and self._connection is not None:
            self._connection.resume()
        self._size = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def is_eof(self) -> bool:
        """Whether all of it has come, and was read."""
        return self._ended and not self._pieces

    def on_eof(self, callback: Callable[[], None]) -> None:
        """Call this when the answer ends, in whatever way; at once, if it has."""
        if self._ended or self._error is not None:
            callback()
        else:
            self._on_end = callback

    def set_exception(self, error: Exception) -> None:
        """End it with this error for whoever is reading it."""
        if not self._ended:
            self._error = self._error or error
            self._wake()

    def close(self) -> None:
        """It is wanted no more. What has not come yet is cut off with its connection."""
        self._on_end = None
        connection, self._connection = self._connection, None
        if connection is not None and not self._ended:
            self._ended = True
            connection.abort()
            self._wake()

    # --- called by its connection -------------------------------------------------------------------------------------
    def add(self, piece: bytes) -> bool:
        """A piece has come. Returns whether no more should come before this is read."""
        self._pieces.append(piece)
        self._size += len(piece)
        return self._size > limits.UPSTREAM_READ_AHEAD

    def end(self, error: Exception | None = None) -> None:
        """It is whole, or broken."""
        self._connection = None
        if error is None:
            self._ended = True
        else:
            self._error = self._error or error
        self._wake()
        if self._on_end is not None:
            callback, self._on_end = self._on_end, None
            callback()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def wake(self) -> None:
        """All pieces that came at once are added."""
        self._wake()


class Connection(asyncio.Protocol):
    """One connection, with one request at a time. The parser calls the methods whose names begin with `on_`."""

    def __init__(self, pool: Pool) -> None:
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
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._waiter is None and self._response is None:
            # Nothing was asked: whatever this is, the connection cannot be trusted any more.
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
        """An answer begins. One that nothing was asked for makes the connection useless."""
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
            self.abort()  # a second answer, or one that nobody waits for any more
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


class Pool:
    """The connections to one origin."""

    def __init__(self, host: str, port: int, *, tls: bool, keep_alive: float, budget: ConnectionBudget) -> None:
        """`keep_alive`: how long an idle connection is used again (seconds). `budget`: shared by all pools."""
        self._host = host
        self._port = port
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._keep_alive = keep_alive
        self._budget = budget
        self._idle: deque[Connection] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._open: set[Connection] = set()

    async def request(self, request: bytes, *, connect: float, until: float, again: int = 0) -> Response:
        """Send a request and give its answer when the headers have come.

        `connect`: seconds to connect, where that is needed; `until`: when the headers must be there (loop's time).
        `again`: times that it may be sent again where it met a connection that was just being closed.

        Raises a `TransportError`.
        """
        while True:
            connection = self._take() or await self._connect(connect, until)
            try:
                return await connection.ask(request, until)
            except ConnectionLost as error:
                if error.stale:
                    # The others have most likely been left as long: the next try is made on a new one.
                    self._close_idle()
                if not error.stale or not again:
                    raise
            again -= 1

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().abort()

    def _take(self) -> Connection | None:
        oldest = time.monotonic() - self._keep_alive
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                if connection.idle_since >= oldest:
                    return connection
                connection.abort()
        return None

    async def _connect(self, patience: float, until: float) -> Connection:
        loop = asyncio.get_running_loop()
        self._budget.enter()
        try:
            context = self._tls_context() if self._tls else None
            name = self._host if self._tls else None
            async with asyncio.timeout_at(min(until, loop.time() + patience)):
                _, connection = await loop.create_connection(
                    lambda: Connection(self), self._host, self._port, ssl=context, server_hostname=name
                )
        except BaseException as error:
            self._budget.leave()
            if isinstance(error, TimeoutError):
                raise Timeout(connecting=True) from None
            if isinstance(error, OSError) and error.errno in _NO_FILES:
                raise PoolExhausted from None
            if isinstance(error, OSError | ssl.SSLError | UnicodeError):
                raise Unreachable from None
            raise
        self._open.add(connection)
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context

    def give_back(self, connection: Connection) -> None:
        """This connection may be used again."""
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._keep_alive, self._sweep_idle)

    def _sweep_idle(self) -> None:
        """Close what was idle for too long."""
        loop = asyncio.get_running_loop()
        oldest = time.monotonic() - self._keep_alive
        while self._idle and (self._idle[0].closed or self._idle[0].idle_since <= oldest):
            connection = self._idle.popleft()
            if not connection.closed:
                connection.abort()
        self._sweep = loop.call_later(self._keep_alive, self._sweep_idle) if self._idle else None

    def lost(self, connection: Connection) -> None:
        """This connection is closed."""
        if connection in self._open:
            self._open.discard(connection)
            self._budget.leave()

    def close(self) -> None:
        """Close all connections, with whatever is under way on them."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        for connection in list(self._open):
            connection.abort()


class ConnectionBudget:
    """How many connections there are, of how many there may be."""

    def __init__(self, most: int = limits.UPSTREAM_CONNECTIONS) -> None:
        self._left = most

    def enter(self) -> None:
        """One more. Raises `PoolExhausted`."""
        if self._left == 0:
            raise PoolExhausted
        self._left -= 1

    def leave(self) -> None:
        """One less."""
        self._left += 1
