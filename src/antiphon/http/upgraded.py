"""A connection that has become a WebSocket: uvicorn's protocol over `websockets`, with the bounds that it lacks."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.http.answers import answer_headers, new_request_id
from antiphon.wire import json as wire_json


class BoundedSocket(WebSocketsSansIOProtocol):
    """Ends what uvicorn would leave open: clients that take nothing, messages without end, handshakes without sense."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.close_timeout = limits.CLOSE_TIMEOUT
        self._last_resort: asyncio.TimerHandle | None = None

    def shutdown(self) -> None:
        """The server stops. An open connection is ended by whoever uses it, once what it makes is made."""
        if not self.handshake_complete or self.close_sent:
            super().shutdown()

    def handle_connect(self, event: Request) -> None:
        """A request to open. One that is no WebSocket handshake is refused in the API's own form."""
        if self.conn.accept(event).status_code == 101:
            super().handle_connect(event)
            return
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        error = InvalidRequest("This is no valid WebSocket handshake (RFC 6455).", code="invalid_websocket_handshake")
        body = wire_json.encode(error.body())
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"sec-websocket-version", b"13"),
            *answer_headers(new_request_id(), 0),
        ]
        lines = [b"HTTP/1.1 400 Bad Request\r\n", *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body]
        self.transport.write(b"".join(lines))
        self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        """One more piece of a message."""
        if len(self.frames) >= limits.MAX_FRAGMENTS:
            self.frames = []
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def keepalive_timeout(self) -> None:
        """The other side does not answer: it takes nothing of what is under way to it either."""
        super().keepalive_timeout()
        self._abort_later()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application is done with it."""
        super().on_task_complete(task)
        self._abort_later()

    def _abort_later(self) -> None:
        if self._last_resort is None and not self.disconnected:
            self._last_resort = self.loop.call_later(2 * limits.CLOSE_TIMEOUT, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._last_resort is not None:
            self._last_resort.cancel()
        super().connection_lost(exc)
