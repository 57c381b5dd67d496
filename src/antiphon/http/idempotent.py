"""`Idempotency-Key` on POST requests: one wrapper around all handlers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, InvalidRequest, ModelNotFound, PermissionDenied
from antiphon.domain.tenancy import Caller
from antiphon.http.answers import EVENT_STREAM, JSON
from antiphon.http.event_stream import send_events
from antiphon.http.exchange import Exchange
from antiphon.run.idempotency import FOLLOW, Answer, Attempt, Idempotency
from antiphon.wire import json as wire_json
from antiphon.wire import sse

Handler = Callable[[Exchange], Awaitable[None]]
#: The stream of a background response from its start: (project, response id) to chunks of events.
Follow = Callable[[str, str], Awaitable[AsyncGenerator[bytes, None]]]
#: Raises `ModelNotFound` unless this caller may ask for a model of this name.
MayAsk = Callable[[Caller, str], None]

_KEY = re.compile(r"[\x20-\x7e]+")
_REPLAYED = (b"idempotency-replayed", b"true")
#: The last event of a stream that broke: of the Responses API, of Chat Completions.
_FAILURES = (b"event: response.failed\n", b'data: {"error":')
#: Paths whose requests use a model.
_MODEL_PATHS = frozenset(
    {"/v1/responses", "/v1/responses/compact", "/v1/responses/input_tokens", "/v1/chat/completions"}
)
#: Paths whose answers contain only what is stored in the database anyway.
_STORED = ("/v1/conversations", "/v1/prompts", "/v1/chat/completions/", "/v1/responses/{response_id}/")


class _StoreMember(msgspec.Struct):
    """The member of a request that says whether its result is stored."""

    store: bool | None = None


class _Identified(msgspec.Struct):
    """The members of an object that name it and its model."""

    id: str | None = None
    model: str | None = None


class _Answered(msgspec.Struct):
    """Where an answer, or the first event of a stream, names its object and the model that has made it."""

    id: str | None = None
    model: str | None = None
    response: _Identified | None = None


class Idempotent:
    """Answers POST requests with the same key once, and removes kept answers that show a deleted object."""

    def __init__(self, keys: Idempotency, follow: Follow, may_ask: MayAsk) -> None:
        """`may_ask` raises what refuses a model to a caller."""
        self._keys = keys
        self._follow = follow
        self._may_ask = may_ask

    async def __call__(self, exchange: Exchange, template: str, handler: Handler) -> None:
        """Answer an exchange with `handler`, or with the answer kept for its key. `template`: the resource's path."""
        key = exchange.header(b"idempotency-key")
        if exchange.method == "POST" and key is not None:
            await self._once(exchange, template, handler, _checked(key))
            return
        if exchange.method == "DELETE":
            exchange.record(_KeptAnswersRemover(self._keys, exchange))
        await handler(exchange)

    async def _once(self, exchange: Exchange, template: str, handler: Handler, key: bytes) -> None:
        body = await exchange.read_body()
        target = b"%b %b?%b\n" % (
            exchange.method.encode(),
            exchange.scope["raw_path"],
            exchange.scope["query_string"],
        )
        entering = self._keys.enter(exchange.project_id, key, target + body, on_disk=_may_be_stored(template, body))
        outcome = await exchange.unless_gone(entering)
        if isinstance(outcome, Answer):
            self._permit(exchange, template, body, outcome)
            await self._replay(exchange, outcome)
            return
        recorder = _AnswerRecorder(outcome, next(iter(exchange.scope["path_params"].values()), None))
        exchange.record(recorder)
        try:
            await handler(exchange)
        except AntiphonError as error:
            limited = isinstance(error, ModelNotFound) and not exchange.made_call.caller.permits.any_model
            if limited or isinstance(error, PermissionDenied):
                recorder.forget()  # what one key is refused, another may be allowed
            elif not exchange.started:
                recorder.add(wire_json.encode(error.body()))
                await recorder.settle(error.status, JSON)
            raise
        finally:
            await asyncio.shield(asyncio.ensure_future(outcome.close()))

    def _permit(self, exchange: Exchange, template: str, body: bytes, answer: Answer) -> None:
        """Raise unless the key may use the model of this kept answer, which another key of the project may have got."""
        caller = exchange.made_call.caller
        if template not in _MODEL_PATHS or caller.permits.any_model:
            return
        model = _model_in(body) or _model_in(_beginning(answer.content_type.encode(), answer.body))
        if model is None:
            raise PermissionDenied(
                "This API key may ask for some models only, and of which one the kept answer is cannot be told. Name "
                "the model in the request.",
                code="insufficient_permissions",
            )
        self._may_ask(caller, model)

    async def _replay(self, exchange: Exchange, answer: Answer) -> None:
        if answer.content_type == FOLLOW:
            await send_events(exchange, self._follow(exchange.project_id, answer.body.decode()), [_REPLAYED])
            return
        kind = answer.content_type.encode()
        headers = [_REPLAYED, (b"cache-control", b"no-cache")] if kind == EVENT_STREAM else [_REPLAYED]
        await exchange.reply(answer.status, answer.body, headers, kind)


class _AnswerRecorder:
    """Keeps an answer for its key. `object_id`: of the object that it shows; None: it is read from the answer."""

    def __init__(self, attempt: Attempt, object_id: str | None) -> None:
        self._attempt = attempt
        self._object_id = object_id
        self._failed = False
        self._forgotten = False

    def add(self, piece: bytes) -> None:
        """A piece is about to be sent."""
        # JSON holds no line feeds: these can only be whole lines of the stream.
        self._failed = self._failed or any(line in piece for line in _FAILURES)
        self._attempt.add(piece)

    def forget(self) -> None:
        """The answer is not to be kept."""
        self._forgotten = True

    async def settle(self, status: int, content_type: bytes) -> None:
        """The answer is whole, and its end is about to be sent."""
        if self._forgotten or (content_type == EVENT_STREAM and self._failed):
            return  # like an answer with status 500, which is not kept either
        await self._attempt.settle(status, content_type.decode(), self._object_id or self._answered_id(content_type))

    async def follow(self, response_id: str) -> None:
        """The answer is the stream of this background response."""
        await self._attempt.follow(response_id)

    def _answered_id(self, content_type: bytes) -> str | None:
        try:
            answered = msgspec.json.decode(_beginning(content_type, self._attempt.head), type=_Answered)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return answered.id or (answered.response.id if answered.response is not None else None)


class _KeptAnswersRemover:
    """Removes kept answers that show an object, after its deletion and before the client gets the answer to that."""

    def __init__(self, keys: Idempotency, exchange: Exchange) -> None:
        self._keys = keys
        self._exchange = exchange

    def add(self, piece: bytes) -> None:
        """The answer to a deletion is not kept."""

    async def settle(self, status: int, content_type: bytes) -> None:
        """Remove them, if the deletion has succeeded."""
        if status == 200:
            for object_id in self._exchange.scope["path_params"].values():
                await self._keys.forget(self._exchange.project_id, object_id)

    async def follow(self, response_id: str) -> None:
        """Never called: a deletion is not answered with a stream."""


def _beginning(content_type: bytes, body: bytes) -> bytes:
    """An answer's object, or the first event of a stream."""
    if content_type != EVENT_STREAM:
        return body
    events = sse.SSEParser().feed(body[: limits.MIB])
    return events[0].data if events else b""


def _model_in(body: bytes) -> str | None:
    """The model that a request, an answer or an event names; None if it names none."""
    try:
        answered = msgspec.json.decode(body, type=_Answered)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return answered.model or (answered.response.model if answered.response is not None else None)


def _checked(key: str) -> bytes:
    """`Idempotency-Key`: 1 to 255 printable ASCII characters."""
    if len(key) > limits.MAX_IDEMPOTENCY_KEY or not _KEY.fullmatch(key):
        raise InvalidRequest(
            f"The header 'Idempotency-Key' must be 1 to {limits.MAX_IDEMPOTENCY_KEY} printable ASCII characters.",
            code="invalid_header",
            param="Idempotency-Key",
        )
    return key.encode()


def _may_be_stored(template: str, body: bytes) -> bool:
    """Whether the answer may be stored on disk: only where the request, or its API by default, allows that."""
    if template.startswith(_STORED):
        return True
    if template not in {"/v1/responses", "/v1/chat/completions"}:
        return False
    try:
        store = msgspec.json.decode(body, type=_StoreMember).store
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    # Responses are stored unless told otherwise, chat completions only if told to.
    return store is True or (store is None and template == "/v1/responses")
