"""The HTTP server: uvicorn with uvloop, and a protocol with the limits that its own lacks."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from antiphon.domain import limits
from antiphon.http.connection_limit import ConnectionLimit
from antiphon.http.protocol import BoundedProtocol
from antiphon.http.uvicorn_adapter import ServerLoop, websocket_class


def _websocket(**arguments: Any) -> asyncio.Protocol:
    """The protocol that takes over a connection when it becomes a WebSocket."""
    return websocket_class()(**arguments)


class HttpServer(ServerLoop):
    """Serves an ASGI application on sockets until `stop` is called."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        drain_timeout: float,
        max_message: int = limits.MAX_BODY,
        connection_limit: ConnectionLimit | None = None,
        has_socket: Callable[[str], bool] = lambda path: False,
    ) -> None:
        """`max_message`: bytes of one message of a WebSocket. `has_socket`: whether a path may be opened as one."""
        make_protocol = functools.partial(
            BoundedProtocol, connection_limit=connection_limit or ConnectionLimit(), has_socket=has_socket
        )
        config = uvicorn.Config(
            app,
            # uvicorn calls it where it would make its own protocol.
            http=make_protocol,  # type: ignore[arg-type]  # declared as a class
            ws=_websocket,  # type: ignore[arg-type]  # declared as a class
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

    async def wait_started(self, serving: asyncio.Task[None]) -> None:
        """Return once connections are accepted. Raises what ended `serving` if it does not come to that."""
        while not self.started:
            if serving.done():
                serving.result()
                raise RuntimeError("the HTTP server ended before it began")
            await asyncio.sleep(0)


def with_cors(app: ASGIApp, origins: Sequence[str], methods: Iterable[str]) -> ASGIApp:
    """The application as pages of these origins may call it, with these methods; untouched if there are no origins."""
    if not origins:
        return app
    from antiphon.http.cors import Cors  # off by default, so not loaded by default

    return Cors(
        app,
        allow_origins=list(origins),
        allow_methods=sorted(methods),
        allow_headers=["*"],
        expose_headers=[
            "x-request-id",
            "openai-processing-ms",
            "retry-after",
            "retry-after-ms",
            "idempotency-replayed",
            # What a page needs to read a file in parts.
            "accept-ranges",
            "content-range",
            "etag",
            *(f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
        ],
    )
