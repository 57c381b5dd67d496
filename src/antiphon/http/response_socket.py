"""/v1/responses as a WebSocket: each `response.create` over it makes a response, as a POST would."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, InvalidRequest, ShuttingDown
from antiphon.http.bodies import checked_value
from antiphon.http.decoding import decode_json, run_off_loop, unchanged
from antiphon.http.disconnect import ClientGone
from antiphon.http.resource import SocketResource
from antiphon.http.socket_connection import SocketConnection
from antiphon.policy.call import Call
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.protocol.refusals import unsupported_parameter
from antiphon.protocol.responses.lanes import Turn
from antiphon.protocol.responses.socket import Begin, Connection, Forget, Order, Say, error_event
from antiphon.run.responses import Responses
from antiphon.run.socket import SocketResponses, SocketRun
from antiphon.telemetry.logs import logger

Json = dict[str, Any]

_log = logger(__name__)
#: Close code of a server that goes away, and of a connection that has become too old: clients may open another.
_GOING_AWAY = 1001


class Expired(InvalidRequest):
    """The connection has been open for too long (400)."""

    code = "websocket_connection_limit_reached"


def resources(responses: Responses, pipeline: Pipeline, *, drain_timeout: float) -> list[SocketResource]:
    """The Responses API's one WebSocket. `drain_timeout`: seconds for responses to end when the server stops."""
    # A response that has not ended by then ends when the engine stops, and its client still gets that event.
    patience = drain_timeout + limits.CLOSE_TIMEOUT / 2

    def open_session(connection: SocketConnection) -> ResponseSession:
        return ResponseSession(SocketResponses(responses), pipeline, connection, patience)

    return [SocketResource("/v1/responses", open_session)]


class ResponseSession:
    """One connection: reads requests, has the protocol's rules decide, and does what these order.

    Whatever is sent is sent by the task that made it, which waits until the client takes it: so no task is ever far
    ahead of a slow client.
    """

    def __init__(
        self, responses: SocketResponses, pipeline: Pipeline, connection: SocketConnection, patience: float
    ) -> None:
        """`patience`: seconds for responses to end once the connection must."""
        self._responses = responses
        self._pipeline = pipeline
        self._connection = connection
        self._patience = patience
        self._rules = Connection()
        self._runs: dict[Turn, SocketRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._reason: AntiphonError = ShuttingDown("The server is shutting down.")

    def stop(self, reason: AntiphonError) -> None:
        """Take no more, let the responses under way end, then close the connection."""
        self._reason = reason
        self._stopping.set()

    # --- its life -----------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Serve until the client goes or the connection must end. Whatever is left of its responses is cancelled."""
        timer = asyncio.get_running_loop().call_later(limits.SOCKET_LIFETIME, self.stop, _expired())
        reading = asyncio.create_task(self._read())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await self._end(reading)
        finally:
            timer.cancel()
            stopping.cancel()
            reading.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(reading, *self._tasks, return_exceptions=True)

    async def _end(self, reading: asyncio.Task[None]) -> None:
        """Wait for the responses under way to end, but not for ever; then say why, and close."""
        await self._carry_out(self._rules.close(self._reason))
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
        if isinstance(self._reason, Expired):
            await self._send(error_event(self._reason))
        await self._connection.close(_GOING_AWAY, self._reason.code or "")

    async def _read(self) -> None:
        """Take messages until the client disconnects (`ClientGone`)."""
        while True:
            message = await self._connection.receive()
            try:
                if isinstance(message, bytes):
                    raise InvalidRequest("Binary messages are not taken; send JSON as text.", code="invalid_message")
                body = message.encode()
                event = await decode_json(body, unchanged)
            except InvalidRequest as error:
                await self._send(error_event(error))
            else:
                await self._carry_out(self._rules.event(event, len(body)))

    # --- carrying out orders ------------------------------------------------------------------------------------------
    async def _carry_out(self, orders: list[Order]) -> None:
        # New responses are started first: sending may take long.
        for order in orders:
            if isinstance(order, Begin):
                task = asyncio.create_task(self._make(order.turn))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif isinstance(order, Forget):
                self._responses.forget(order.response_id)
        for order in orders:
            if isinstance(order, Say):
                await self._send(order.body)
            elif not isinstance(order, Begin | Forget) and order.turn in self._runs:
                self._runs[order.turn].steer()
        if self._rules.idle:
            self._idle.set()

    async def _send(self, body: Json) -> None:
        await self._connection.send_json(body)

    async def _make(self, turn: Turn) -> None:
        with contextlib.suppress(ClientGone):
            try:
                orders = await self._respond(turn)
            except AntiphonError as error:
                orders = self._rules.refused(turn, error)
            except ClientGone:
                raise
            except Exception as error:
                _log.error("response failed", request_id=self._connection.request_id, exc_info=error)
                message = "The server had an error while processing your request."
                orders = self._rules.refused(turn, AntiphonError(message))
            finally:
                self._runs.pop(turn, None)
            await self._carry_out(orders)

    async def _respond(self, turn: Turn) -> list[Order]:
        call = await self._connection.new_call()
        status, code = 499, None
        try:
            orders = await self._answer(turn, call)
            status = 200
        except AntiphonError as error:
            status, code = error.status, error.code
            raise
        finally:
            self._pipeline.close(call, status, code)
        return orders

    async def _answer(self, turn: Turn, call: Call) -> list[Order]:
        body, generate = _request(turn)
        body, unknown = await run_off_loop(turn.size, lambda: checked_value(body, "CreateResponse"))
        run = await self._responses.begin(call, body, unknown, generate=generate)
        self._runs[turn] = run
        async with aclosing(run.events()) as events:
            async for batch in events:
                if turn.response_id is None:
                    await self._carry_out(self._rules.created(turn, run.id))
                if run.ended is not None:
                    # Before its last event is sent, so that the client can continue from it at once.
                    self._responses.keep(run)
                for event in batch:
                    await self._send(event.body if turn.lane is None else {**event.body, "stream_id": turn.lane})
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
