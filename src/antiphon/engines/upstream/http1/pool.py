"""The connections to one origin: used again while they are young, and no more of them than there may be."""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections import deque

from antiphon.domain import limits
from antiphon.engines.upstream.http1.connection import HttpConnection
from antiphon.engines.upstream.http1.errors import ConnectionLost, PoolExhausted, Timeout, Unreachable
from antiphon.engines.upstream.http1.response import Response

#: This process, or the machine, can open no more files: no fault of the upstream's.
_NO_FILES = (errno.EMFILE, errno.ENFILE)


class ConnectionBudget:
    """How many more connections there may be, of all pools together."""

    def __init__(self, most: int = limits.UPSTREAM_CONNECTIONS) -> None:
        self._left = most

    def enter(self) -> None:
        """Count one more connection. Raises `PoolExhausted` if there may be no more."""
        if self._left == 0:
            raise PoolExhausted
        self._left -= 1

    def leave(self) -> None:
        """Count one connection less."""
        self._left += 1


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
        self._idle: deque[HttpConnection] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._open: set[HttpConnection] = set()

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

    def _take(self) -> HttpConnection | None:
        oldest = time.monotonic() - self._keep_alive
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                if connection.idle_since >= oldest and not connection.has_ended():
                    return connection
                connection.abort()
        return None

    async def _connect(self, within: float, until: float) -> HttpConnection:
        loop = asyncio.get_running_loop()
        self._budget.enter()
        try:
            context = self._tls_context() if self._tls else None
            name = self._host if self._tls else None
            async with asyncio.timeout_at(min(until, loop.time() + within)):
                _, connection = await loop.create_connection(
                    lambda: HttpConnection(self), self._host, self._port, ssl=context, server_hostname=name
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

    def give_back(self, connection: HttpConnection) -> None:
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

    def lost(self, connection: HttpConnection) -> None:
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
