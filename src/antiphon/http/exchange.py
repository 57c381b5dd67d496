"""One HTTP exchange over raw ASGI: read a bounded body, write a JSON answer or a stream of events.

Answers are written straight to ASGI `send`, since every layer in between costs a measurable part of a small request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope, Send

from antiphon.domain import limits
from antiphon.domain.durations import milliseconds
from antiphon.domain.errors import (
    AntiphonError,
    InvalidRequest,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)
from antiphon.domain.ids import random_hex
from antiphon.domain.organisation import Actor, Administrator
from antiphon.domain.tenancy import AdminKey
from antiphon.http.body_budget import BodyBudget
from antiphon.http.decoding import decode_json
from antiphon.http.disconnect import SCOPE_KEY, ClientConnection, on_disconnect
from antiphon.http.events import error_event
from antiphon.http.heartbeat import Heartbeat
from antiphon.policy.call import Call
from antiphon.protocol.refusals import check_id
from antiphon.wire import sse

T = TypeVar("T")

JSON = b"application/json"
STREAM = b"text/event-stream; charset=utf-8"
#: What ids in paths begin with, by the parameter's name.
_PREFIXES = {"response_id": "resp_", "conversation_id": "conv_", "completion_id": "chatcmpl-", "prompt_id": "pmpt_"}
_EVENT_STREAM = [
    (b"content-type", STREAM),
    (b"cache-control", b"no-cache"),
    # Reverse proxies that buffer would hold back events.
    (b"x-accel-buffering", b"no"),
]


def new_request_id() -> str:
    """An id for `x-request-id`."""
    return f"req_{random_hex(32)}"


def answer_headers(request_id: str, milliseconds: int) -> list[tuple[bytes, bytes]]:
    """The headers that every answer has. `milliseconds`: since the request's head had arrived."""
    return [
        (b"x-request-id", request_id.encode()),
        (b"openai-processing-ms", str(milliseconds).encode()),
        (b"openai-version", b"2020-10-01"),
    ]


#: A comment, which every reader of events passes over.
_BEAT = sse.comment(b"")


class ClientGone(Exception):
    """The client has hung up, or takes nothing of its stream."""


class Recorder(Protocol):
    """Learns what is answered, piece by piece, and that it is whole before its end is sent."""

    def add(self, piece: bytes) -> None:
        """A piece of the answer is about to be sent."""

    async def settle(self, status: int, content_type: bytes) -> None:
        """All pieces are known; the last is about to be sent."""

    async def follow(self, response_id: str) -> None:
        """The answer is the stream of this background response, whatever of it is sent here."""


class Exchange:
    """One request and its answer. `project_id` and `call`, or `administrator`, are set once the caller is known."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        request_id: str,
        *,
        max_body: int = limits.MAX_BODY,
        body_budget: BodyBudget | None = None,
    ) -> None:
        """`body_budget`: for the bodies of all requests; whoever gives it calls `close` at the end."""
        self.scope = scope
        self.request_id = request_id
        self.project_id = ""
        self.call: Call | None = None
        self.administrator: Administrator | None = None
        #: The address that it was sent from, behind proxies that are trusted to tell.
        self.client_address: str | None = None
        self.status = 0
        self._receive = receive
        self._send = send
        self._max_body = max_body
        self._body_budget = body_budget or BodyBudget()
        #: Bytes of the body that are in it.
        self._held = 0
        #: When its head had arrived (monotonic seconds).
        self.began = time.monotonic()
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._sending_since = 0.0
        #: Pieces of a stream that were sent, its head among them.
        self.pieces = 0
        #: What went wrong with a stream, where its status could no longer say so.
        self.error_code: str | None = None
        #: Headers of the call that were sent as such.
        self._told = 0
        self._body: bytes | None = None
        self._recorder: Recorder | None = None
        self._muted = False

    # --- the request --------------------------------------------------------------------------------------------------
    @property
    def method(self) -> str:
        """The method, in capitals."""
        method: str = self.scope["method"]
        return method

    @property
    def made_call(self) -> Call:
        """The call that this is, of a resource that takes a project's key."""
        assert self.call is not None
        return self.call

    @property
    def admin(self) -> AdminKey | None:
        """The admin key that was sent, of a resource that takes one."""
        return None if self.administrator is None else self.administrator.key

    @property
    def actor(self) -> Actor:
        """Who is administering, as the log of changes names them; of a resource that takes an admin key."""
        assert self.administrator is not None
        return self.administrator.acting(self.client_address)

    def header(self, name: bytes) -> str | None:
        """A header's value (the last one, if it was sent twice). `name` in small letters."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def path_param(self, name: str) -> str:
        """A parameter of the path. Raises `InvalidRequest` for an id that cannot be one of its kind."""
        value: str = self.scope["path_params"][name]
        return check_id(value, _PREFIXES[name], name) if name in _PREFIXES else value

    def query(self) -> list[tuple[str, str]]:
        """The query's pairs in order. Raises `InvalidRequest` for one that is not UTF-8 or has too many pairs."""
        try:
            return parse_qsl(
                self.scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100
            )
        except ValueError:
            raise InvalidRequest("The query string is malformed.", code="invalid_query") from None

    async def read_json(self, then: Callable[[object], T]) -> T:
        """What `then` makes of the body as decoded JSON. Raises the domain error for what is wrong with it."""
        self._check_content()
        body = await self.read_body()
        if not body:
            raise InvalidRequest("The request has no body; a JSON object is expected.", code="missing_body")
        return await decode_json(body, then)

    def _check_content(self) -> None:
        kind = (self.header(b"content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise UnsupportedMediaType(
                f"Unsupported content type: '{kind[:100]}'. This API takes 'application/json': "
                "add the header 'Content-Type: application/json'."
            )
        if (self.header(b"content-encoding") or "identity").lower() != "identity":
            raise UnsupportedMediaType("Compressed request bodies are not supported; send the body as it is.")
        self._check_length()

    def _check_length(self) -> None:
        length = self.header(b"content-length")
        if length is not None and int(length) > self._max_body:
            raise _too_large(self._max_body)

    async def read_body(self) -> bytes:
        """The body as it was sent; it may be asked for again. Raises the domain error for one that is too large."""
        if self._body is None:
            self._check_length()
            self._body = await self._read_body()
        return self._body

    async def _read_body(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        deadline = time.monotonic() + limits.BODY_TOTAL_TIMEOUT
        connection: ClientConnection | None = self.scope.get(SCOPE_KEY)
        while True:
            try:
                if connection is not None and connection.request_complete:
                    message = await self._receive()
                else:
                    async with asyncio.timeout(min(limits.BODY_TIMEOUT, deadline - time.monotonic())):
                        message = await self._receive()
            except TimeoutError:
                raise RequestTimeout("The request's body did not arrive in time.") from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._max_body:
                raise _too_large(self._max_body)
            self._body_budget.reserve(len(piece))
            self._held = size
            pieces.append(piece)
            if not message.get("more_body"):
                return b"".join(pieces)

    def close(self) -> None:
        """The exchange is over: the body is not needed any more."""
        self._body_budget.release(self._held)
        self._held, self._body = 0, None

    # --- the answer ---------------------------------------------------------------------------------------------------
    @property
    def started(self) -> bool:
        """Whether a status has been sent, so that no other answer can be."""
        return self.status != 0

    @property
    def milliseconds(self) -> int:
        """Time since the request's head had arrived."""
        return milliseconds(time.monotonic() - self.began)

    def record(self, recorder: Recorder) -> None:
        """Tell `recorder` what is answered. From here on the answer is made to its end, whoever hangs up."""
        self._recorder = recorder

    async def record_as_stream_of(self, response_id: str) -> None:
        """Tell the recorder, if there is one, that this background response's stream is the answer."""
        if self._recorder is not None:
            await self._recorder.follow(response_id)
            self._recorder = None

    async def reply(
        self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = (), content_type: bytes = JSON
    ) -> None:
        """Send a whole answer."""
        if self._recorder is not None:
            self._recorder.add(body)
            await self._recorder.settle(status, content_type)
        length = (b"content-length", str(len(body)).encode())
        await self._start(status, [(b"content-type", content_type), length, *headers])
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self._sending_since = time.monotonic()
        headers += answer_headers(self.request_id, self.milliseconds)
        if self.call is not None:
            self._told = len(self.call.headers)
            headers += self.call.headers
            headers += self.call.rates
            headers += self.call.trailers
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        self._sending_since = 0.0

    async def stream(
        self,
        opening: Awaitable[AsyncGenerator[bytes, None]],
        headers: Iterable[tuple[bytes, bytes]] = (),
        *,
        failed: Callable[[AntiphonError], bytes] = error_event,
    ) -> None:
        """Send chunks of server-sent events as they come, then `[DONE]`. An empty chunk: the stream has begun.

        An error before the first chunk is raised, so that it can still be an HTTP error; but not after so long that the
        client had to be told that it is being served: then it is the stream's last event, in the form of `failed`. When
        the client hangs up or stalls, the chunks are closed.
        """

        async def start() -> None:
            if not self.started:
                await self._start(200, [*_EVENT_STREAM, *headers])

        async def beat() -> None:
            if not self._muted and not self._sending_since:
                await start()
                await self._send({"type": "http.response.body", "body": _BEAT, "more_body": True})

        async def begin() -> None:
            self.pieces += 1
            await heartbeat.wait_for_beat()
            await start()

        heartbeat = Heartbeat(self, beat)
        try:
            await self.unless_gone(self._write_chunks(opening, begin, failed), heartbeat)
        finally:
            await heartbeat.stop()

    async def _write_chunks(
        self,
        opening: Awaitable[AsyncGenerator[bytes, None]],
        begin: Callable[[], Awaitable[None]],
        failed: Callable[[AntiphonError], bytes],
    ) -> None:
        try:
            async with aclosing(await opening) as chunks:
                async for chunk in chunks:
                    if not self.pieces:
                        await begin()
                    if chunk:
                        await self._write(chunk)
        except AntiphonError as error:
            if self.pieces or not self.started:
                raise
            self.error_code = error.code or error.type
            self._recorder = None
            await self._write(failed(error))
        if not self.pieces:
            await begin()
        end = self._trailers() + sse.DONE
        if self._recorder is not None:
            self._recorder.add(end)
            await self._recorder.settle(200, STREAM)
            self._recorder = None
        await self._write(end, last=True)

    def _trailers(self) -> bytes:
        """What would have been headers, had it been known at the start: as comments, which every client passes over."""
        trailers = [*self.call.headers[self._told :], *self.call.trailers] if self.call is not None else ()
        return b"".join([sse.comment(b"%b: %b" % pair) for pair in trailers])

    async def _write(self, piece: bytes, *, last: bool = False) -> None:
        message: Message = {"type": "http.response.body", "body": piece, "more_body": not last}
        if self._recorder is not None:
            self._recorder.add(piece)
            await self._send_if_taken(message)
            return
        if self._muted:
            raise ClientGone
        self.pieces += 1
        self._sending_since = time.monotonic()
        await self._send(message)
        self._sending_since = 0.0

    async def _send_if_taken(self, message: Message) -> None:
        """Send, unless the client takes nothing any more: the answer is then made for who asks for it again."""
        self.pieces += 1
        if not self._muted:
            try:
                async with asyncio.timeout(limits.SEND_TIMEOUT):
                    await self._send(message)
            except TimeoutError:
                self._muted = True

    async def unless_gone(self, work: Awaitable[T], heartbeat: Heartbeat | None = None) -> T:
        """Do `work`, and end it at once if the client hangs up. Raises `ClientGone` then.

        With a recorder it is done to its end. `heartbeat`: of the stream that is sent meanwhile; a client that reads
        nothing of it for too long counts as gone.
        """
        if self._recorder is not None:
            return await work
        doing = asyncio.current_task()
        assert doing is not None
        gone = done = False

        def leave() -> None:
            nonlocal gone
            # Once: a second cancel would break into what is done about the first.
            if not done and not gone:
                gone = True
                doing.cancel()

        if heartbeat is not None:
            heartbeat.on_stall = leave
        unwatch = on_disconnect(self.scope, self._receive, leave)
        try:
            return await work
        except asyncio.CancelledError:
            if not gone:
                raise
            doing.uncancel()
            raise ClientGone from None
        finally:
            done = True
            unwatch()

    def stalls(self) -> bool:
        """Whether the client takes nothing of what is being sent, for too long."""
        since = self._sending_since
        return bool(since) and time.monotonic() - since > limits.SEND_TIMEOUT


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The request's body is larger than {limit} bytes.")
