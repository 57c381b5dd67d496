"""Chat completions: what a request asks for is admitted, and becomes a run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from typing import Any

import msgspec

from antiphon.domain.errors import InvalidRequest
from antiphon.domain.routes import Routes
from antiphon.policy.call import Call
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.ports import Clock, CompletionStore, Engine, Route
from antiphon.protocol import knobs
from antiphon.protocol.chat import request as requests
from antiphon.protocol.chat.request import ChatRequest
from antiphon.protocol.client_params import CHAT, CHAT_FUNCTIONS, with_client_param
from antiphon.protocol.generation import Delta, Passthrough
from antiphon.protocol.unknown import Unknown
from antiphon.run.chat_run import ChatRun
from antiphon.run.choices import start_choices
from antiphon.run.stored_completions import StoredCompletions

Json = dict[str, Any]


class Chat:
    """The Chat Completions surface. `stored`: completions that were made with `store`."""

    def __init__(self, store: CompletionStore, routes: Routes[Route], gate: Pipeline, clock: Clock) -> None:
        self._store = store
        self.stored = StoredCompletions(store)
        self._routes = routes
        self._gate = gate
        self._clock = clock

    async def create(self, call: Call, body: Json, unknown: Unknown) -> ChatRun:
        """Admit a request: everything that can be refused is refused here, before anything is made."""
        request = requests.parse(body, unknown.fields)
        call.note_request(request.model, body)
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

        def start(choice: int) -> Awaitable[AsyncGenerator[Delta, None]]:
            generation = msgspec.structs.replace(
                request.generation(engine.name, choice), passthrough=passthrough, batches=True
            )
            return engine.generate(knobs.serve(generation, unknown, "chat", passes=passes))

        try:
            return [*(await start_choices(start, request.choices, streamed=request.stream))]
        except InvalidRequest as error:
            raise with_client_param(error, CHAT_FUNCTIONS if request.legacy_functions else CHAT) from None
