"""From a checked request to everything that it takes to make its response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.domain.errors import ContextLengthExceeded, InvalidRequest
from antiphon.domain.routes import Routes
from antiphon.ports import Engine, Store
from antiphon.protocol.generation import Generation, Turn
from antiphon.protocol.refusals import missing_parameter, unknown_parameter
from antiphon.protocol.responses import items as item_rules
from antiphon.protocol.responses import request as requests
from antiphon.protocol.responses.request import ResponseRequest
from antiphon.run import context
from antiphon.run.chains import Chains, Link
from antiphon.run.prompts import Prompts

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that has been understood: which engine answers, what it is asked, and which items are the input."""

    request: ResponseRequest
    engine: Engine
    generation: Generation
    items: list[Json]
    #: Of a request on a connection that remembers: the link it goes on from, or else the items before it.
    parent: Link | None = None
    before: Sequence[Json] = ()


class Preparer:
    """Understands requests. Everything that can be refused before an engine is asked is refused here."""

    def __init__(self, store: Store, routes: Routes[Engine], prompts: Prompts) -> None:
        self._store = store
        self._routes = routes
        self._prompts = prompts

    async def prepare(
        self, project_id: str, body: Json, extra: Mapping[str, Any], chains: Chains | None = None
    ) -> Prepared:
        """Understand a new request. `chains`: what its connection remembers.

        `Prepared.request.body` is the body with its prompt put in.
        """
        request = requests.parse(await self._prompts.resolve(project_id, body), extra)
        items = await context.resolve(self._store, project_id, request.items)
        return await self._with(project_id, request, items, chains)

    async def again(self, project_id: str, body: Json, extra: Mapping[str, Any], items: list[Json]) -> Prepared:
        """Understand a request that was accepted before; `items` are its input items as they were stored."""
        return await self._with(project_id, requests.parse(body, extra), items)

    async def _with(
        self, project_id: str, request: ResponseRequest, items: list[Json], chains: Chains | None = None
    ) -> Prepared:
        engine = self._routes.find(request.model).target
        if request.extra and not engine.capabilities.passes_extra:
            raise unknown_parameter(next(iter(request.extra)))
        before: list[Json] = []
        parent = None
        if chains is not None:
            parent = chains.parent(request.previous_response_id, stored=request.store)
        if parent is not None and not parent.persisted:
            before = parent.history()
        elif request.previous_response_id is not None:
            before = await context.history(self._store, project_id, request.previous_response_id)
        elif request.conversation is not None:
            before = await context.conversation(self._store, project_id, request.conversation)
            context.check_new(items, before)
        generation = await self._generation(engine, request, before, items)
        if chains is None:
            return Prepared(request, engine, generation, items)
        return Prepared(request, engine, generation, items, parent, before)

    @staticmethod
    async def _generation(
        engine: Engine, request: ResponseRequest, before: Sequence[Json], items: Sequence[Json]
    ) -> Generation:
        path = "previous_response_id" if request.conversation is None else "conversation"
        turns = [*item_rules.turns(before, path=path), *item_rules.turns(items)]
        if request.conversation is not None and not turns:
            raise missing_parameter("input")
        item_rules.check_calls(turns)

        def build(kept: Sequence[Turn]) -> Generation:
            return request.generation(engine.name, kept)

        return await context.fit(engine, build, turns) if request.truncate else build(turns)


#: Where an engine's neutral names for the parts of a generation stand in this surface's requests.
_PARAMS = {"output.schema": "text.format.schema"}


def in_words_of_responses(error: InvalidRequest) -> InvalidRequest:
    """An engine's refusal with the parameter that a client of this surface knows."""
    if error.param is None and isinstance(error, ContextLengthExceeded):
        error.param = "input"
    elif error.param is not None:
        error.param = _PARAMS.get(error.param, error.param)
    return error
