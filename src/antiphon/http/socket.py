"""/v1/responses as a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

from starlette.types import Receive, Scope, Send

from antiphon.domain import limits
from antiphon.domain.caching import CacheControl, cache_control_of
from antiphon.domain.errors import AntiphonError, InvalidRequest, NotFound, Overloaded, ShuttingDown
from antiphon.domain.scopes import group_of, scope_of
from antiphon.domain.tenancy import Caller
from antiphon.domain.trace_context import trace_headers
from antiphon.http.bodies import checked_value
from antiphon.http.decoding import decode_json, run_off_loop, unchanged
from antiphon.http.exchange import ClientGone, answer_headers, new_request_id
from antiphon.http.protocol import SOCKET_PATH
from antiphon.http.proxies import Proxies
from antiphon.policy.authenticate import Authenticator
from antiphon.policy.call import Call
from antiphon.policy.keys.permit import permit
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.protocol.refusals import unsupported_parameter
from antiphon.protocol.responses.lanes import Turn
from antiphon.protocol.responses.socket import Begin, Connection, Forget, Order, Say, error_event
from antiphon.run.responses import Responses
from antiphon.run.socket import SocketResponses, SocketRun
from antiphon.telemetry.logs import logger
from antiphon.wire import json as wire_json

Json = dict[str, Any]

_log = logger(__name__)
#: Close code of a server that goes away, and of a connection that has become too old: clients may open another.
_GOING_AWAY = 1001
#: Whatever comes over a connection makes responses.
_SCOPE = scope_of(group_of(SOCKET_PATH), "POST")


class Expired(InvalidRequest):
    """The connection has been open for too long (400)."""

    code = "websocket_connection_limit_reached"


class Sockets:
    """All open WebSockets of the server, as an ASGI application."""

    def __init__(
        self,
        responses: Responses,
        authenticate: Authenticator,
        gate: Pipeline,
        *,
        drain_timeout: float,
        proxies: Proxies | None = None,
    ) -> None:
        """`proxies`: those that are trusted to say where a connection came from."""
        self._responses = responses
        self._proxies = proxies or Proxies(())
        # What has not ended by then is ended by the engine's own end, and still told.
        self._patience = drain_timeout + limits.CLOSE_TIMEOUT / 2
        self._authenticate = authenticate
        self._gate = gate
        self._open: set[Session] = set()
        self._closing = False

    def close(self) -> None:
        """The server stops: what is being made may end, then each connection does."""
        self._closing = True
        for session in self._open:
            session.leave(ShuttingDown("The server is shutting down."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or refuse it with an HTTP answer."""
        request_id = new_request_id()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        authorization = headers.get(b"authorization", b"").decode("latin-1") or None
        address = self._proxies.origin(scope)
        upstream_headers = trace_headers(
            headers.get(b"traceparent", b"").decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1")
        )
        await receive()
        try:
            caller = await self._admit(scope, authorization, address)
            wish = _wish(headers)
        except AntiphonError as error:
            await _reject(send, error, request_id)
            return

        async def call() -> Call:
            caller = await self._authenticate(authorization)
            permit(caller, _SCOPE, address)
            return Call(
                caller,
                SOCKET_PATH,
                request_id,
                time.time(),
                method="WEBSOCKET",
                address=address,
                streamed=True,
                upstream_headers=upstream_headers,
                cache_control=wish,
            )

        project_id = caller.project.id
        session = Session(SocketResponses(self._responses), call, self._gate, send, request_id, self._patience)
        self._open.add(session)
        try:
            await send({"type": "websocket.accept", "headers": answer_headers(request_id, 0)})
            _log.info("socket opened", project=project_id, request_id=request_id)
            await session.live(receive)
        except (OSError, ClientGone):
            pass  # that needs no telling
        finally:
            self._open.discard(session)
            _log.info("socket closed", project=project_id, request_id=request_id)

    async def _admit(self, scope: Scope, authorization: str | None, address: str | None) -> Caller:
        if scope["path"] != SOCKET_PATH:
            raise NotFound(f"Invalid URL (GET {scope['path'][:200]}).", code="unknown_url")
        caller = await self._authenticate(authorization)
        permit(caller, _SCOPE, address)
        if self._closing:
            raise ShuttingDown("The server is shutting down.")
        if len(self._open) >= limits.MAX_SOCKETS:
            raise Overloaded("Too many WebSockets are open on this server.")
        return caller


def _wish(headers: dict[bytes, bytes]) -> CacheControl | None:
    """What the connection's opening asks of the cache, for all its responses. Raises `InvalidRequest`."""
    ours, common = (headers.get(name) for name in (b"x-antiphon-cache", b"cache-control"))
    return cache_control_of(
        None if ours is None else ours.decode("latin-1"), None if common is None else common.decode("latin-1")
    )


async def _reject(send: Send, error: AntiphonError, request_id: str) -> None:
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


class Session:
    """One connection: reads, has `Connection` decide, and does what it orders.

    Whatever is sent is sent by the task that made it, which waits until the client takes it: so no one is ever far
    ahead of a slow client.
    """

    def __init__(
        self,
        responses: SocketResponses,
        call: Callable[[], Coroutine[Any, Any, Call]],
        gate: Pipeline,
        send: Send,
        request_id: str,
        patience: float,
    ) -> None:
        self._responses = responses
        self._patience = patience
        self._call = call
        self._gate = gate
        self._send = send
        self._request_id = request_id
        self._rules = Connection()
        self._runs: dict[Turn, SocketRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = asyncio.Event()
        self._idle = asyncio.Event()
        self._why: AntiphonError = ShuttingDown("The server is shutting down.")

    def leave(self, why: AntiphonError) -> None:
        """Take no more, end what is being made, then the connection."""
        self._why = why
        self._leaving.set()

    # --- its life -----------------------------------------------------------------------------------------------------
    async def live(self, receive: Receive) -> None:
        """Serve until the client goes or the connection must end. Whatever is left of its responses is cancelled."""
        timer = asyncio.get_running_loop().call_later(limits.SOCKET_LIFETIME, self.leave, _expired())
        reading = asyncio.create_task(self._read(receive))
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await self._end(reading)
        finally:
            timer.cancel()
            leaving.cancel()
            reading.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(reading, *self._tasks, return_exceptions=True)

    async def _end(self, reading: asyncio.Task[None]) -> None:
        """Let what is being made come to its end, for a while; then say why, and close."""
        await self._do(self._rules.close(self._why))
        if not self._rules.idle:
            self._idle.clear()
            idle = asyncio.create_task(self._idle.wait())
            await asyncio.wait({reading, idle}, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
            idle.cancel()
        if not reading.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.CLOSE_TIMEOUT):
                    await self._close()

    async def _close(self) -> None:
        if isinstance(self._why, Expired):
            await self._say(error_event(self._why))
        await self._send({"type": "websocket.close", "code": _GOING_AWAY, "reason": self._why.code})

    async def _read(self, receive: Receive) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            try:
                if text is None:
                    raise InvalidRequest("Binary messages are not taken; send JSON as text.", code="invalid_message")
                body = text.encode()
                event = await decode_json(body, unchanged)
            except InvalidRequest as error:
                await self._say(error_event(error))
            else:
                await self._do(self._rules.event(event, len(body)))

    # --- doing as ordered ---------------------------------------------------------------------------------------------
    async def _do(self, orders: list[Order]) -> None:
        # What is to be begun is begun first: sending may take long.
        for order in orders:
            if isinstance(order, Begin):
                task = asyncio.create_task(self._make(order.turn))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif isinstance(order, Forget):
                self._responses.forget(order.response_id)
        for order in orders:
            if isinstance(order, Say):
                await self._say(order.body)
            elif not isinstance(order, Begin | Forget) and order.turn in self._runs:
                self._runs[order.turn].steer()
        if self._rules.idle:
            self._idle.set()

    async def _say(self, body: Json) -> None:
        try:
            await self._send({"type": "websocket.send", "text": wire_json.encode(body).decode()})
        except OSError:
            raise ClientGone from None

    async def _make(self, turn: Turn) -> None:
        with contextlib.suppress(ClientGone):
            try:
                orders = await self._respond(turn)
            except AntiphonError as error:
                orders = self._rules.refused(turn, error)
            except ClientGone:
                raise
            except Exception as error:
                _log.error("response failed", request_id=self._request_id, exc_info=error)
                message = "The server had an error while processing your request."
                orders = self._rules.refused(turn, AntiphonError(message))
            finally:
                self._runs.pop(turn, None)
            await self._do(orders)

    async def _respond(self, turn: Turn) -> list[Order]:
        call = await self._call()
        status, code = 499, None
        try:
            orders = await self._answer(turn, call)
            status = 200
        except AntiphonError as error:
            status, code = error.status, error.code
            raise
        finally:
            self._gate.close(call, status, code)
        return orders

    async def _answer(self, turn: Turn, call: Call) -> list[Order]:
        body, generate = _request(turn)
        body, unknown = await run_off_loop(turn.size, lambda: checked_value(body, "CreateResponse"))
        run = await self._responses.begin(call, body, unknown, generate=generate)
        self._runs[turn] = run
        async with aclosing(run.events()) as events:
            async for batch in events:
                if turn.response_id is None:
                    await self._do(self._rules.created(turn, run.id))
                if run.ended is not None:
                    # Before its client knows, so that it can be gone on from as soon as it does.
                    self._responses.keep(run)
                for event in batch:
                    await self._say(event.body if turn.lane is None else {**event.body, "stream_id": turn.lane})
        assert run.ended is not None
        return self._rules.ended(turn, run.ended)


def _request(turn: Turn) -> tuple[Json, bool]:
    """The request as it would be over HTTP, and whether an answer is wanted. Raises `InvalidRequest`."""
    generate = turn.generate
    if generate is not None and not isinstance(generate, bool):
        raise InvalidRequest("Invalid type for 'generate': expected a boolean.", code="invalid_type", param="generate")
    if turn.body.get("background"):
        raise unsupported_parameter("background", "is not for WebSockets; use POST /v1/responses")
    options = turn.body.get("prompt_cache_options")
    prewarm = isinstance(options, dict) and options.get("prewarm") is True
    # The rules keep the turn's own body for a response that goes on from this one.
    return dict(turn.body), generate is not False and not prewarm


def _expired() -> Expired:
    minutes = round(limits.SOCKET_LIFETIME / 60)
    return Expired(f"This connection has been open for {minutes} minutes, which is the limit; open another one.")
