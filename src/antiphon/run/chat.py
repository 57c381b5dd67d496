"""Chat completions: made, and kept where the request asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from functools import cached_property, lru_cache
from typing import Any

import msgspec

from antiphon import __version__
from antiphon.domain.errors import InvalidRequest, NotFound
from antiphon.domain.ids import new_id
from antiphon.domain.records import Page, StoredCompletion
from antiphon.domain.routes import Routes
from antiphon.policy.call import Call
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.ports import Clock, CompletionStore, Engine, Route
from antiphon.protocol import knobs
from antiphon.protocol.chat import request as requests
from antiphon.protocol.chat.machine import ChatMachine
from antiphon.protocol.chat.request import ChatRequest
from antiphon.protocol.client_params import CHAT, CHAT_FUNCTIONS, with_client_param
from antiphon.protocol.events import Event, Passed
from antiphon.protocol.generation import Batch, Delta, Passthrough, PassthroughDelta
from antiphon.protocol.streams import Resumed
from antiphon.protocol.unknown import Unknown
from antiphon.run.chat_relay import is_passthrough, relayed, whole
from antiphon.run.choices import begun, end
from antiphon.run.driver import Merged, Persister, drive, finish

Json = dict[str, Any]


class ChatRun(Persister):
    """One completion being made. Exactly one of `events` and `result` is used, once."""

    def __init__(
        self,
        store: CompletionStore,
        call: Call,
        request: ChatRequest,
        model: str,
        created: int,
        streams: list[AsyncGenerator[Delta, None]],
        *,
        may_pass_through: bool,
    ) -> None:
        self._store = store
        self._request = request
        self._model = model
        self._created = created
        self._streams = streams
        self._may_pass_through = may_pass_through
        self._call = call
        self._body = b""

    # What is passed on as it comes needs neither of these.
    @cached_property
    def _base(self) -> Json:
        base = {
            "id": new_id("chatcmpl-"),
            "created": self._created,
            "model": self._model,
            # There is one tier here, whatever was asked for.
            "service_tier": "default",
            "system_fingerprint": _fingerprint(self._model),
        }
        self._call.object_id = self._call.object_id or str(base["id"])
        return base

    @cached_property
    def _machine(self) -> ChatMachine:
        request = self._request
        return ChatMachine(
            self._base,
            choices=request.choices,
            include_usage=request.include_usage,
            obfuscate=request.obfuscate,
            show_logprobs=request.show_logprobs,
            legacy=request.legacy_functions,
        )

    async def events(self) -> AsyncGenerator[Sequence[Event | Passed], None]:
        """The stream of chunks. A stored completion is stored before its last chunk."""
        try:
            first = await self._passthrough()
            if first is not None:
                events: AsyncGenerator[Sequence[Event | Passed], None] = relayed(
                    self._call, lambda: self._machine, first, self._streams[0]
                )
            else:
                events = drive(self._machine, self._machine.start(), Merged(self._streams), self)
            async with aclosing(events):
                async for batch in events:
                    yield batch
        finally:
            await self._close()

    async def result(self) -> bytes:
        """The whole completion as JSON, stored if it is to be. Raises what broke the generation."""
        try:
            first = await self._passthrough()
            if first is not None:
                return await whole(self._call, first, self._streams[0])
            await finish(self._machine, self._machine.start(), Merged(self._streams), self)
        finally:
            await self._close()
        return self._body

    async def _passthrough(self) -> PassthroughDelta | Batch | None:
        """The first delta, if the answer is in this surface's own words."""
        if not self._may_pass_through:
            return None
        first = await anext(self._streams[0], None)
        if is_passthrough(first):
            return first
        if first is not None:
            self._streams[0] = Resumed(first, self._streams[0])
        return None

    async def _close(self) -> None:
        if len(self._streams) == 1:
            await self._streams[0].aclose()
        else:
            await end(self._streams)

    async def keep(self, events: list[Event]) -> None:
        """Store the whole completion at its end, if it is to be stored."""
        if not self._machine.unsaved or self._machine.error is not None:
            return
        self._machine.unsaved = False
        completion = self._machine.completion()
        body = self._request.body
        metadata: dict[str, str] = body.get("metadata") or {}
        if self._request.store:
            completion |= {"metadata": metadata}
        self._body = msgspec.json.encode(completion)
        if self._request.store:
            # The request's own terms are shown with a stored completion (schema example of the list endpoint).
            shown = {**_terms(self._request), **completion}
            record = StoredCompletion(
                project_id=self._call.project_id,
                id=self._base["id"],
                created_at=self._base["created"],
                model=self._base["model"],
                body=msgspec.json.encode(shown),
                messages=msgspec.json.encode([_stored_message(message) for message in body["messages"]]),
                metadata=metadata,
            )
            await self._store.put_completion(record)


class Chat:
    """The Chat Completions surface over the driver."""

    def __init__(self, store: CompletionStore, routes: Routes[Route], gate: Pipeline, clock: Clock) -> None:
        self._store = store
        self._routes = routes
        self._gate = gate
        self._clock = clock

    async def begin(self, call: Call, body: Json, unknown: Unknown) -> ChatRun:
        """Admit a request: everything that can be refused is refused here, before anything is made."""
        request = requests.parse(body, unknown.fields)
        call.asks(request.model, body)
        call.streamed = request.stream
        engine = self._gate.bound(call, self._routes.find(request.model, call.project_id))
        if not engine.capabilities.passes_extra:
            knobs.refuse(unknown, "chat")
        passthrough = self._passthrough(engine, request)
        if passthrough is None:
            requests.check_neutral(body)
            if request.unserved is not None:
                raise request.unserved
        streams = await self._admit(engine, request, passthrough, unknown)
        created = int(self._clock.now())
        return ChatRun(
            self._store, call, request, engine.name, created, streams, may_pass_through=passthrough is not None
        )

    @staticmethod
    def _passthrough(engine: Engine, request: ChatRequest) -> Passthrough | None:
        """The request in its own words, if its answer can be passed on as it comes."""
        if "chat" not in engine.capabilities.passthrough or request.choices > 1 or request.store:
            return None
        body = {**request.body, **request.extra} if request.extra else request.body
        return Passthrough("chat", body, only=request.unserved is not None)

    @staticmethod
    async def _admit(
        engine: Engine, request: ChatRequest, passthrough: Passthrough | None, unknown: Unknown
    ) -> list[AsyncGenerator[Delta, None]]:
        """All choices or none."""
        passes = engine.capabilities.passes_extra

        def begin(choice: int) -> Awaitable[AsyncGenerator[Delta, None]]:
            generation = msgspec.structs.replace(
                request.generation(engine.name, choice), passthrough=passthrough, batches=True
            )
            return engine.generate(knobs.serve(generation, unknown, "chat", passes=passes))

        try:
            return [*(await begun(begin, request.choices, streamed=request.stream))]
        except InvalidRequest as error:
            raise with_client_param(error, CHAT_FUNCTIONS if request.legacy_functions else CHAT) from None

    async def get(self, project_id: str, completion_id: str) -> StoredCompletion:
        """A stored completion. Raises `NotFound`."""
        completion = await self._store.get_completion(project_id, completion_id)
        if completion is None:
            raise _not_found(completion_id)
        return completion

    async def update(self, project_id: str, completion_id: str, metadata: Mapping[str, str]) -> bytes:
        """Replace the metadata of a stored completion; returns it as JSON. Raises `NotFound`."""
        old = await self.get(project_id, completion_id)
        body = msgspec.json.encode({**msgspec.json.decode(old.body), "metadata": metadata})
        new = StoredCompletion(project_id, completion_id, old.created_at, old.model, body, old.messages, dict(metadata))
        await self._store.put_completion(new)
        return body

    async def delete(self, project_id: str, completion_id: str) -> None:
        """Delete a stored completion. Raises `NotFound`."""
        if not await self._store.delete_completion(project_id, completion_id):
            raise _not_found(completion_id)

    async def page(
        self,
        project_id: str,
        *,
        model: str | None,
        metadata: dict[str, str],
        after: str | None,
        limit: int,
        ascending: bool,
    ) -> Page[StoredCompletion]:
        """A page of stored completions. Raises `NotFound` for an unknown `after`."""
        return await self._store.list_completions(
            project_id, model=model, metadata=metadata, after=after, limit=limit, ascending=ascending
        )

    async def messages(
        self, project_id: str, completion_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[Json]:
        """A page of the messages of a stored completion's request. Raises `NotFound`."""
        messages: list[Json] = msgspec.json.decode((await self.get(project_id, completion_id)).messages)
        for index, message in enumerate(messages):
            message["id"] = f"{completion_id}-{index}"
        if not ascending:
            messages.reverse()
        if after is not None:
            ids = [message["id"] for message in messages]
            if after not in ids:
                raise NotFound(f"Message with id '{after}' not found.", param="after")
            messages = messages[ids.index(after) + 1 :]
        return Page(messages[:limit], len(messages) > limit)


@lru_cache(maxsize=1024)
def _fingerprint(model: str) -> str:
    """What a client compares to see that `seed` can no longer be expected to repeat: the model and our version."""
    return f"fp_{hashlib.sha256(f'{model} {__version__}'.encode()).hexdigest()[:10]}"


def _stored_message(message: Json) -> Json:
    """A message as the messages endpoint lists it: text in `content`, parts in `content_parts`."""
    content = message.get("content")
    parts = content if isinstance(content, list) else None
    text = "".join(part.get("text", "") for part in parts) if parts is not None else content
    return {"refusal": None, "name": None, **message, "content": text, "content_parts": parts}


def _terms(request: ChatRequest) -> Json:
    sampling = request.sampling
    return {
        "request_id": None,
        "tool_choice": request.body.get("tool_choice"),
        "tools": request.body.get("tools"),
        "seed": sampling.seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "response_format": request.body.get("response_format"),
        "input_user": request.body.get("user"),
    }


def _not_found(completion_id: str) -> NotFound:
    return NotFound(f"Chat completion with id '{completion_id}' not found.", param="completion_id")
