"""WebSockets: who may open one, how many are open, and how they end when the server stops.

What is said over a connection is its resource's business: see `SocketResource` and `SocketSession`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from antiphon.domain import limits
from antiphon.domain.caching import CacheControl, cache_control_of
from antiphon.domain.errors import AntiphonError, NotFound, Overloaded, ShuttingDown
from antiphon.domain.tenancy import Caller
from antiphon.domain.trace_context import trace_headers
from antiphon.http.answers import answer_headers, new_request_id
from antiphon.http.disconnect import ClientGone
from antiphon.http.proxies import Proxies
from antiphon.http.resource import SocketResource
from antiphon.http.socket_connection import SocketConnection, SocketSession
from antiphon.policy.call import Call
from antiphon.policy.keys.permit import permit
from antiphon.telemetry.logs import logger
from antiphon.wire import json as wire_json

_log = logger(__name__)
#: Finds out who opens a connection, by its method, its headers and its scope. Raises `Unauthenticated`.
FindCaller = Callable[[str, Mapping[bytes, bytes], Scope], Awaitable[Caller]]


class SocketServer:
    """Serves all WebSockets of the server, as an ASGI application."""

    def __init__(
        self, resources: Sequence[SocketResource], find_caller: FindCaller, proxies: Proxies | None = None
    ) -> None:
        """`proxies`: those that are trusted to tell where a connection came from; None: there are none."""
        self._resources = [(compile_path(resource.path)[0], resource) for resource in resources]
        self._find_caller = find_caller
        self._proxies = proxies or Proxies(())
        self._open: set[SocketSession] = set()
        self._closing = False

    def close(self) -> None:
        """The server stops: accept no more connections, and have every session end."""
        self._closing = True
        for session in self._open:
            session.stop(_shutting_down())

    def find(self, path: str) -> tuple[SocketResource, Mapping[str, str]] | None:
        """The resource that this path (without its query) is opened at, and the path's parameters."""
        for pattern, resource in self._resources:
            match = pattern.match(path)
            if match is not None:
                return resource, match.groupdict()
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until it ends, or refuse it with an HTTP answer."""
        request_id = new_request_id()
        await receive()
        try:
            resource, connection, project_id = await self._admit(scope, receive, send, request_id)
        except AntiphonError as error:
            await _refuse(send, error, request_id)
            return
        session = resource.open_session(connection)
        self._open.add(session)
        try:
            await send({"type": "websocket.accept", "headers": answer_headers(request_id, 0)})
            _log.info("socket opened", project=project_id, request_id=request_id)
            await session.run()
        except (OSError, ClientGone):
            pass  # a client that disconnects is no error
        finally:
            self._open.discard(session)
            _log.info("socket closed", project=project_id, request_id=request_id)

    async def _admit(
        self, scope: Scope, receive: Receive, send: Send, request_id: str
    ) -> tuple[SocketResource, SocketConnection, str]:
        """The resource, the connection and its project's id. Raises what refuses the connection."""
        found = self.find(scope["path"])
        if found is None:
            raise NotFound(f"Invalid URL (GET {scope['path'][:200]}).", code="unknown_url")
        resource, path_params = found
        headers: dict[bytes, bytes] = dict(scope["headers"])
        address = self._proxies.origin(scope)

        async def admit() -> Caller:
            caller = await self._find_caller("WEBSOCKET", headers, scope)
            permit(caller, resource.scope, address)
            return caller

        async def new_call() -> Call:
            return Call(
                await admit(),
                resource.path,
                request_id,
                time.time(),
                method="WEBSOCKET",
                address=address,
                streamed=True,
                upstream_headers=upstream_headers,
                cache_control=cache_control,
            )

        caller = await admit()
        if self._closing:
            raise _shutting_down()
        if len(self._open) >= limits.MAX_SOCKETS:
            raise Overloaded("Too many WebSockets are open on this server.")
        cache_control = _cache_control(headers)
        upstream_headers = trace_headers(
            headers.get(b"traceparent", b"").decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1")
        )
        query: bytes = scope["query_string"]
        connection = SocketConnection(request_id, path_params, query, new_call, receive, send)
        return resource, connection, caller.project.id


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("The server is shutting down.")


def _cache_control(headers: Mapping[bytes, bytes]) -> CacheControl | None:
    """What the opening request asks of the response cache, for all its responses. Raises `InvalidRequest`."""
    ours, common = (headers.get(name) for name in (b"x-antiphon-cache", b"cache-control"))
    return cache_control_of(
        None if ours is None else ours.decode("latin-1"), None if common is None else common.decode("latin-1")
    )


async def _refuse(send: Send, error: AntiphonError, request_id: str) -> None:
    body = wire_json.encode(error.body())
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *answer_headers(request_id, 0),
    ]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
