"""The HTTP server: uvicorn with uvloop, and a protocol with the limits that its own lacks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from antiphon.domain import limits
from antiphon.http.connection_limit import ConnectionLimit
from antiphon.http.protocol import BoundedProtocol

#: Of uvicorn's ticks one is needed in ten: at it the Date header is made anew, once a second.
_TICKS = 10
#: Seconds between two looks whether the last connection is gone.
_SHUTDOWN_STEP = 0.01


def _socket(**parts: Any) -> asyncio.Protocol:
    """What takes over a connection that becomes a WebSocket."""
    from antiphon.http.upgraded import BoundedSocket  # not loaded before there is one

    return BoundedSocket(**parts)


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its owner."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        drain_timeout: float,
        max_message: int = limits.MAX_BODY,
        connection_limit: ConnectionLimit | None = None,
    ) -> None:
        """`max_message`: bytes of one message of a WebSocket. `connection_limit`: how many connections there may be."""
        make_protocol = functools.partial(BoundedProtocol, connection_limit=connection_limit or ConnectionLimit())
        config = uvicorn.Config(
            app,
            # uvicorn calls it where it would make its own protocol.
            http=make_protocol,  # type: ignore[arg-type]  # declared as a class
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
        self._asked_to_stop = asyncio.Event()
        # Its messages repeat ours, and its tracebacks may quote what a client sent.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

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
