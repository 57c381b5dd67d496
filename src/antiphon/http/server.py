"""The HTTP server: uvicorn with uvloop and httptools, and the limits on heads that it lacks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, InvalidRequest, RequestTimeout
from antiphon.http.cycle import Cycle
from antiphon.http.exchange import answer_headers, new_request_id
from antiphon.http.hangup import SCOPE_KEY, Connection
from antiphon.wire import json as wire_json

#: Asks for another protocol than HTTP/1.1. None is spoken here, and the parser would drop such a request's body.
_UPGRADE = re.compile(rb"^upgrade:(?!\s*websocket)", re.IGNORECASE | re.MULTILINE)
#: The one path that may be asked for as a WebSocket.
SOCKET_PATH = "/v1/responses"
_HEAD_END = b"\r\n\r\n"


class _HeadTooLarge(AntiphonError):
    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class BoundedProtocol(HttpToolsProtocol):
    """Ends connections whose request heads are too large or too slow; uvicorn itself would wait and read for ever.

    At most one timer runs: for a head, or for the rest of a body whose request has its answer already.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = None
        self._connection = Connection()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """A connection opens: its first head is due."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        self._connection.lose()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count a head's bytes until it ends."""
        if self._in_head:
            if self._timer is None:
                self._await_head()
            self._head_bytes += len(data)
            if b"pgrade:" in data or b"PGRADE:" in data:
                head, end, rest = data.partition(_HEAD_END)
                data = _UPGRADE.sub(b"x-upgrade:", head) + end + rest
        super().data_received(data)
        if self._in_head and self._head_bytes > limits.MAX_HEADERS:
            self._refuse(_head_too_large())

    def on_headers_complete(self) -> None:
        """The head is whole. Raising here ends the connection."""
        # What came with the head in one piece is counted with it; only then is a closer look needed.
        if self._head_bytes > limits.MAX_HEADERS:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > limits.MAX_HEADERS:
                self._refuse(_head_too_large())
                raise _head_too_large()
        self._in_head = False
        self._stop_timer()
        self._connection.is_read = False
        self.scope[SCOPE_KEY] = self._connection  # type: ignore[literal-required]  # a key of ours
        super().on_headers_complete()
        if type(self.cycle) is RequestResponseCycle:
            self.cycle.__class__ = Cycle  # the same, but for the way that it writes heads

    def on_message_complete(self) -> None:
        """The body is whole: what comes next is another head, for which an idle connection may wait."""
        super().on_message_complete()
        # A request that waits behind another has a body too, which nobody has read yet.
        self._connection.is_read = not self.pipeline
        self._stop_timer()
        self._in_head = True
        self._head_bytes = 0

    def on_response_complete(self) -> None:
        """An answer is out. If it came before the request's body, nobody reads that: it must end soon."""
        super().on_response_complete()
        if self.cycle.response_complete and not self._in_head:
            self._timer = self.loop.call_later(limits.BODY_TIMEOUT, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is answered in the API's own form."""
        self._refuse(InvalidRequest("The request is not valid HTTP.", code="malformed_request"))

    def _should_upgrade(self) -> bool:
        """Whether this request becomes a WebSocket. Elsewhere the wish is passed over, as HTTP allows."""
        path = self.url.partition(b"?")[0]
        return self.scope["method"] == "GET" and path == SOCKET_PATH.encode() and super()._should_upgrade()

    def _await_head(self) -> None:
        error = RequestTimeout("The request's headers did not arrive in time.")
        self._timer = self.loop.call_later(limits.HEAD_TIMEOUT, self._refuse, error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: AntiphonError) -> None:
        """Answer what never became a request, and hang up."""
        self._timer = None
        if self.transport.is_closing():
            return
        if self._answering():
            # Nothing may be written into an answer that is on its way: the connection ends after it.
            self.cycle.keep_alive = False
            return
        body = wire_json.encode(error.body())
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *answer_headers(new_request_id(), 0),
        ]
        lines = [STATUS_LINE[error.status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body]
        self.transport.write(b"".join(lines))
        self.transport.close()

    def _answering(self) -> bool:
        """Whether an earlier request's answer is not complete. A request whose body broke has none to wait for."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return cycle.response_started or not cycle.more_body or bool(self.pipeline)


def _head_too_large() -> AntiphonError:
    return _HeadTooLarge(f"The request's headers are larger than {limits.MAX_HEADERS} bytes.")


def _socket(**parts: Any) -> asyncio.Protocol:
    """What takes over a connection that becomes a WebSocket."""
    from antiphon.http.upgraded import BoundedSocket  # not loaded before there is one

    return BoundedSocket(**parts)


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its owner. `max_message`: bytes of one message of a WebSocket."""

    def __init__(self, app: ASGIApp, *, drain_timeout: float, max_message: int = limits.MAX_BODY) -> None:
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            # uvicorn calls it where it would make its own protocol.
            ws=_socket,  # type: ignore[arg-type]  # declared as a class
            ws_max_size=max_message,
            ws_ping_interval=limits.SOCKET_PING,
            ws_ping_timeout=limits.SOCKET_PONG,
            # What pads events against eavesdroppers must not be pressed out of them again.
            ws_per_message_deflate=False,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(limits.KEEP_ALIVE_TIMEOUT),
            # The owner ends what runs longer; this is only the last resort.
            timeout_graceful_shutdown=int(drain_timeout + 2 * limits.CLOSE_TIMEOUT),
            backlog=2048,
        )
        super().__init__(config)
        # Its messages repeat ours, and its tracebacks may quote what a client sent.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals."""
        yield

    async def wait_started(self, serving: asyncio.Task[None]) -> None:
        """Return once connections are accepted. Raises what ended `serving` if it does not come to that."""
        while not self.started:
            if serving.done():
                serving.result()
                raise RuntimeError("the HTTP server ended before it began")
            await asyncio.sleep(0)


def with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """The application as browsers of these origins may call it; untouched if there are none."""
    if not origins:
        return app
    from antiphon.http.cors import Cors  # off by default, so not loaded by default

    return Cors(
        app,
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=[
            "x-request-id",
            "openai-processing-ms",
            "retry-after",
            "retry-after-ms",
            "idempotency-replayed",
            *(f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
        ],
    )
