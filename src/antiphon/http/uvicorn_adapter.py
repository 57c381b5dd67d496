"""Everything here that relies on how uvicorn works inside, which no version of it promises.

The rest of this package uses the classes below, asyncio's and httptools' callbacks, and uvicorn's public parts. When
uvicorn is renewed, `tests/unit/http/test_uvicorn_adapter.py` says which of the functions that are relied on have
changed; each has to be read again, and this file with it, before the test is brought up to date.

* `HttpConnection`: the state of one connection, as uvicorn's protocol over httptools keeps it.
* `FastHeadCycle`: writes the head of an answer at a third of the price.
* `websocket_class`: uvicorn's WebSocket protocol with the bounds that it lacks.
* `ServerLoop`: how the server waits and stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.http.answers import answer_headers, new_request_id
from antiphon.wire import json as wire_json

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent, HTTPResponseStartEvent
    from websockets.frames import Frame
    from websockets.http11 import Request

#: Of uvicorn's ticks one is needed in ten: at it the Date header is made anew, once a second.
_TICKS = 10
#: Seconds between two looks whether the last connection is gone.
_SHUTDOWN_STEP = 0.01
#: Headers that decide how the connection goes on are left to uvicorn.
_CONNECTION_HEADERS = frozenset({b"connection", b"transfer-encoding"})


def status_line(status: int) -> bytes:
    """The first line of an answer, with its end."""
    return STATUS_LINE[status]


# --- HTTP -------------------------------------------------------------------------------------------------------------
class _Flow(FlowControl):
    """When to read and write. `holding`: nothing is read, even if a request asks for more of its body."""

    holding = False

    def resume_reading(self) -> None:
        """Read on."""
        if not self.holding:
            super().resume_reading()


class HttpConnection(HttpToolsProtocol):
    """uvicorn's protocol for one connection, and what a subclass may know and do of its state."""

    def accept(self, transport: asyncio.Transport) -> None:
        """The connection is open."""
        super().connection_made(transport)
        self.flow = _Flow(transport)

    @property
    def open_connections(self) -> int:
        """How many connections of this server are open, WebSockets included."""
        return len(self.connections)

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that uvicorn adds to every answer."""
        return self.server_state.default_headers

    @property
    def has_waiting_request(self) -> bool:
        """Whether a request waits until an earlier one on this connection has its answer."""
        return bool(self.pipeline)

    @property
    def is_new(self) -> bool:
        """Whether there was no request on this connection yet."""
        return self.cycle is None

    @property
    def is_idle(self) -> bool:
        """Whether every request on this connection has its answer."""
        return self.is_answered and not self.pipeline

    @property
    def is_answered(self) -> bool:
        """Whether the newest request has its whole answer, or there was none yet."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_answering(self) -> bool:
        """Whether an answer is under way that must not be broken into. A request whose body broke gets none."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return cycle.response_started or not cycle.more_body or bool(self.pipeline)

    @property
    def stays_open(self) -> bool:
        """Whether the connection goes on after the newest request."""
        return self.cycle.keep_alive

    def close_after_answer(self) -> None:
        """End the connection after the newest request's answer."""
        self.cycle.keep_alive = False

    def hold_reading(self, *, hold: bool) -> None:
        """Read nothing more of the connection, or read on."""
        self.flow.holding = hold  # type: ignore[attr-defined]  # ours
        if hold:
            self.flow.pause_reading()
        elif self.is_answered or len(self.cycle.body) <= HIGH_WATER_LIMIT:
            # Otherwise uvicorn has paused it: a body is read no further than its reader has come.
            self.flow.resume_reading()

    def stop_idle_timer(self) -> None:
        """Something has come: the connection is not closed for being idle."""
        self._unset_keepalive_if_required()

    def begin_request(self, key: str, value: object) -> None:
        """The head is whole: have the application serve the request, now or in its turn, with this in its scope."""
        self.scope[key] = value  # type: ignore[literal-required]  # a key of ours
        super().on_headers_complete()
        if type(self.cycle) is RequestResponseCycle:
            self.cycle.__class__ = FastHeadCycle  # the same, but for the way that it writes heads

    def asks_for_websocket(self) -> bool:
        """Whether the newest head asks for the upgrade to a WebSocket."""
        return self._should_upgrade()

    def become_websocket(self) -> None:
        """Hand the connection over to the WebSocket protocol, with the head that was read."""
        self.scope["method"] = "GET"
        self.handle_websocket_upgrade()

    def replace_parser(self) -> None:
        """Parse what comes from here on as if the connection was new."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)


class FastHeadCycle(RequestResponseCycle):
    """One request and its answer. Its head is written at once, where uvicorn checks each header with two expressions.

    Headers are expected in small letters, as the rest of this package has them.
    """

    async def send(self, message: ASGISendEvent) -> None:
        """Take one ASGI message."""
        if message["type"] == "http.response.start" and self._write_head(message):
            return
        await super().send(message)

    def _write_head(self, message: HTTPResponseStartEvent) -> bool:
        """Write a head, if there is nothing special about it. False: nothing was done."""
        status = message["status"]
        plain = self.keep_alive and not self.response_started and not self.disconnected and not self.flow.write_paused
        if not plain or self.scope["method"] == "HEAD" or status in (204, 304):
            return False
        headers = [*self.default_headers, *message.get("headers", ())]
        length = None
        for name, value in headers:
            if name in _CONNECTION_HEADERS:
                return False
            if name == b"content-length":
                length = int(value)
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        if head.count(b"\n") != len(headers) or b"\0" in head:
            return False  # a value would end its line: uvicorn says so
        chunked = b"transfer-encoding: chunked\r\n\r\n" if length is None else b"\r\n"
        self.response_started = True
        self.waiting_for_100_continue = False
        self.chunked_encoding = length is None
        self.expected_content_length = length or 0
        self.transport.write(b"%b%b%b" % (STATUS_LINE[status], head, chunked))
        return True


# --- WebSockets -------------------------------------------------------------------------------------------------------
@functools.cache
def websocket_class() -> type[asyncio.Protocol]:  # noqa: C901 - a whole class stands within it
    """The protocol of a connection that has become a WebSocket. Made for the first: its base takes 20 ms to load."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
    from websockets.frames import CloseCode

    class BoundedSocket(WebSocketsSansIOProtocol):
        """Ends what uvicorn would leave open: clients that read nothing, messages without end, invalid handshakes."""

        _abort_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.close_timeout = limits.CLOSE_TIMEOUT
            super().connection_made(transport)

        def shutdown(self) -> None:
            # An open connection is ended by its session, once what that makes is made.
            if not self.handshake_complete or self.close_sent:
                super().shutdown()

        def handle_connect(self, event: Request) -> None:
            if self.conn.accept(event).status_code == 101:
                super().handle_connect(event)
                return
            self.handshake_initiated = self.handshake_complete = self.close_sent = True
            self.transport.write(_invalid_handshake())
            self.transport.close()

        def handle_cont(self, event: Frame) -> None:
            if len(self.frames) < limits.MAX_FRAGMENTS:
                super().handle_cont(event)
                return
            self.frames = []
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
            self.handle_parser_exception()

        def keepalive_timeout(self) -> None:
            # The other side does not answer: it reads nothing of what is under way to it either.
            super().keepalive_timeout()
            self._abort_later()

        def on_task_complete(self, task: asyncio.Task[None]) -> None:
            super().on_task_complete(task)
            self._abort_later()

        def _abort_later(self) -> None:
            if self._abort_timer is None and not self.disconnected:
                self._abort_timer = self.loop.call_later(2 * limits.CLOSE_TIMEOUT, self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._abort_timer is not None:
                self._abort_timer.cancel()
            super().connection_lost(exc)

    return BoundedSocket


def _invalid_handshake() -> bytes:
    error = InvalidRequest("This is no valid WebSocket handshake (RFC 6455).", code="invalid_websocket_handshake")
    body = wire_json.encode(error.body())
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"sec-websocket-version", b"13"),
        *answer_headers(new_request_id(), 0),
    ]
    return b"".join([STATUS_LINE[400], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body])


# --- the server -------------------------------------------------------------------------------------------------------
class ServerLoop(uvicorn.Server):
    """uvicorn's server; its owner has it stop, not a signal."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._asked_to_stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals."""
        yield

    def stop(self) -> None:
        """Have `serve` accept no more, let what is running finish, and return."""
        self.should_exit = True
        self._asked_to_stop.set()

    async def main_loop(self) -> None:
        """Tick until `stop`. uvicorn's own looks ten times a second whether it is to stop, and is late by that much."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += _TICKS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._asked_to_stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close listeners and idle connections, and wait for the rest: as uvicorn does, but without its pauses."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn sets no event
                    await asyncio.sleep(_SHUTDOWN_STEP)
        for task in state.tasks:
            task.cancel(msg="the server has stopped")
