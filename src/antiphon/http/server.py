"""The HTTP server: uvicorn with uvloop and httptools, and the limits on heads that it lacks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from antiphon.domain import limits


def _refusal(status: str, message: str, code: str) -> bytes:
    body = (
        f'{{"error":{{"message":"{message}","type":"invalid_request_error","param":null,"code":"{code}"}}}}'
    ).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close"
    return head.encode() + b"\r\n\r\n" + body


_HEAD_TOO_LARGE = _refusal(
    "431 Request Header Fields Too Large",
    f"The request's headers are larger than {limits.MAX_HEADERS // limits.KIB} KiB.",
    "headers_too_large",
)
_HEAD_TOO_SLOW = _refusal("408 Request Timeout", "The request's headers did not arrive in time.", "request_timeout")
_MALFORMED = _refusal("400 Bad Request", "The request is not valid HTTP.", "malformed_request")


class BoundedProtocol(HttpToolsProtocol):
    """Ends connections whose request heads are too large or too slow; uvicorn itself would wait and read for ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """A connection opens: its first head is due."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count a head's bytes until it ends."""
        if self._in_head:
            if self._head_timer is None:
                self._await_head()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > limits.MAX_HEADERS:
            self._refuse(_HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        self._head_arrived()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole: what comes next is another head, for which an idle connection may wait."""
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is answered in the API's own form."""
        self._refuse(_MALFORMED)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(limits.HEAD_TIMEOUT, self._refuse, _HEAD_TOO_SLOW)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, answer: bytes) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its owner."""

    def __init__(self, app: ASGIApp, *, drain_timeout: float) -> None:
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
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
    from starlette.middleware.cors import CORSMiddleware  # off by default, so not loaded by default

    return CORSMiddleware(
        app,
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "openai-processing-ms", "retry-after"],
    )
