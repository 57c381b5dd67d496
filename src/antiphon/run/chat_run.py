"""One chat completion while it is made: as a stream of chunks, or as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import cached_property, lru_cache
from typing import Any

import msgspec

from antiphon import __version__
from antiphon.domain.ids import new_id
from antiphon.domain.records import StoredCompletion
from antiphon.policy.call import Call
from antiphon.ports import CompletionStore
from antiphon.protocol.chat.machine import ChatMachine
from antiphon.protocol.chat.request import ChatRequest
from antiphon.protocol.events import Event, Passed
from antiphon.protocol.generation import Batch, Delta, PassthroughDelta
from antiphon.protocol.streams import Resumed
from antiphon.run.chat_relay import is_passthrough, relayed, whole
from antiphon.run.choices import close_choices
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
            await close_choices(self._streams)

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
