"""One HTTP exchange over raw ASGI: what a handler reads of a request, and how it answers.

A handler answers once: with a whole body (`reply`), with server-sent events (`event_stream.send_events`) or with a file
(`files.send_file`). The body of the request comes as JSON (`read_json`), in pieces (`body_stream`) or as a form
(`multipart.read_form`). Answers are written straight to ASGI's `send`, since every layer in between costs a measurable
part of a small request.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from antiphon.domain import limits
from antiphon.domain.durations import milliseconds
from antiphon.domain.errors import InvalidRequest, UnsupportedMediaType
from antiphon.domain.organisation import Actor, Administrator
from antiphon.domain.tenancy import AdminKey
from antiphon.http.answers import JSON, answer_headers
from antiphon.http.body_budget import BodyBudget
from antiphon.http.decoding import decode_json
from antiphon.http.disconnect import Cancellation
from antiphon.http.heartbeat import Heartbeat
from antiphon.http.request_body import RequestBody
from antiphon.policy.call import Call
from antiphon.protocol.refusals import check_id
from antiphon.wire import sse

T = TypeVar("T")
Header = tuple[bytes, bytes]

#: What ids in paths begin with, by the parameter's name.
_PREFIXES = {"response_id": "resp_", "conversation_id": "conv_", "completion_id": "chatcmpl-", "prompt_id": "pmpt_"}


class Recorder(Protocol):
    """Keeps the answer as it is sent; it is called before the answer's last piece goes out."""

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
        """`max_body`: bytes of a body that is read as a whole. `body_budget`: for the bodies of all requests.

        The caller calls `close` at the end of the exchange.
        """
        self.scope = scope
        self.request_id = request_id
        self.project_id = ""
        self.call: Call | None = None
        self.administrator: Administrator | None = None
        #: The client's address, as trusted proxies tell it; None if it cannot be known.
        self.client_address: str | None = None
        #: The answer's status; 0 until it is sent.
        self.status = 0
        #: What went wrong with a stream, where its status could no longer say so.
        self.error_code: str | None = None
        #: Keeps the answer as it is sent; None: it is not kept.
        self.recorder: Recorder | None = None
        #: When its head had arrived (monotonic seconds).
        self.began = time.monotonic()
        self._receive = receive
        #: ASGI's, for those who send many pieces: `send_body` without a call of its own.
        self.send = send
        #: By name in small letters; of a header that was sent twice, the last one.
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._body = RequestBody(scope, self.headers, receive, body_budget or BodyBudget(), max_body)
        #: Headers of the call that were sent as headers: those that come later are sent as trailers.
        self._headers_sent = 0

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
        """The administrator as the audit log names them; of a resource that takes an admin key."""
        assert self.administrator is not None
        return self.administrator.acting(self.client_address)

    def header(self, name: bytes) -> str | None:
        """A header's value (the last one, if it was sent twice). `name` in small letters."""
        value = self.headers.get(name)
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

    async def read_json(self, convert: Callable[[object], T]) -> T:
        """What `convert` makes of the body as decoded JSON. Raises the domain error for what is wrong with it."""
        kind = self._content_type()
        if kind != "application/json":
            raise UnsupportedMediaType(
                f"Unsupported content type: '{kind[:100]}'. This API takes 'application/json': "
                "add the header 'Content-Type: application/json'."
            )
        self._check_coding()
        body = await self._body.read()
        if not body:
            raise InvalidRequest("The request has no body; a JSON object is expected.", code="missing_body")
        return await decode_json(body, convert)

    async def read_body(self) -> bytes:
        """The body as it was sent; it may be asked for again. Raises the domain error for one that is too large."""
        return await self._body.read()

    def body_stream(self, max_size: int) -> AsyncGenerator[bytes, None]:
        """The body in pieces as they arrive; while a piece is worked on, the client has to wait with the rest.

        Raises `PayloadTooLarge` beyond `max_size` bytes, `RequestTimeout` and `ClientGone`.
        """
        self._check_coding()
        return self._body.stream(max_size)

    def _content_type(self) -> str:
        return (self.header(b"content-type") or "").partition(";")[0].strip().lower()

    def _check_coding(self) -> None:
        if (self.header(b"content-encoding") or "identity").lower() != "identity":
            raise UnsupportedMediaType("Compressed request bodies are not supported; send the body as it is.")

    def close(self) -> None:
        """The exchange is over: its body is not needed any more."""
        self._body.release()

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
        """Have the answer kept. From here on it is made to its end, even if the client disconnects."""
        self.recorder = recorder

    async def record_as_stream_of(self, response_id: str) -> None:
        """Have the recorder, if there is one, keep that the answer is the stream of this background response."""
        if self.recorder is not None:
            await self.recorder.follow(response_id)
            self.recorder = None

    async def reply(self, status: int, body: bytes, headers: Iterable[Header] = (), content_type: bytes = JSON) -> None:
        """Send a whole answer."""
        if self.recorder is not None:
            self.recorder.add(body)
            await self.recorder.settle(status, content_type)
        length = (b"content-length", str(len(body)).encode())
        await self.start(status, [(b"content-type", content_type), length, *headers])
        await self.send({"type": "http.response.body", "body": body})

    async def reply_empty(self, status: int, headers: Iterable[Header] = ()) -> None:
        """Send an answer without a body, such as 204 or 304."""
        await self.start(status, list(headers))
        await self.send_body(b"")

    async def start(self, status: int, headers: list[Header]) -> None:
        """Send the answer's head. For those who send its body with `send_body`."""
        self.status = status
        headers += answer_headers(self.request_id, self.milliseconds)
        if self.call is not None:
            self._headers_sent = len(self.call.headers)
            headers += self.call.headers
            headers += self.call.rate_headers
            headers += self.call.trailers
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def send_body(self, piece: bytes, *, more: bool = False) -> None:
        """Send a piece of the answer's body, and wait until the connection takes it. `more`: it is not the last one."""
        await self.send({"type": "http.response.body", "body": piece, "more_body": more})

    def trailers(self) -> bytes:
        """Headers that became known after the head was sent: as comments of the stream, which clients ignore."""
        trailers = [*self.call.headers[self._headers_sent :], *self.call.trailers] if self.call is not None else ()
        return b"".join([sse.comment(b"%b: %b" % pair) for pair in trailers])

    async def unless_gone(self, work: Awaitable[T], heartbeat: Heartbeat | None = None) -> T:
        """Do `work`, and end it at once if the client disconnects. Raises `ClientGone` then.

        With a recorder it is done to its end. `heartbeat`: of the stream that is sent meanwhile; a client that reads
        nothing of it for too long counts as gone.
        """
        if self.recorder is not None:
            return await work
        cancellation = Cancellation()
        if heartbeat is not None:
            heartbeat.on_stall = cancellation.cancel
        return await cancellation.run(work, self.scope, self._receive)
