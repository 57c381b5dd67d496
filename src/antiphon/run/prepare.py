"""From a checked request to everything that it takes to make its response."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.domain.routes import Routes
from antiphon.policy.call import Call
from antiphon.policy.pipeline.engine import PipelineEngine
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.ports import Engine, Route, Store
from antiphon.protocol import knobs
from antiphon.protocol.generation import Generation, Turn
from antiphon.protocol.refusals import Unserved, missing_parameter, previous_not_found
from antiphon.protocol.responses import compaction
from antiphon.protocol.responses import items as item_rules
from antiphon.protocol.responses import request as requests
from antiphon.protocol.responses.compaction import CompactionPolicy, Placed
from antiphon.protocol.responses.reasoning import Seal, opened, seal_for
from antiphon.protocol.responses.request import ResponseRequest
from antiphon.protocol.responses.tools import NOTHING, Offered
from antiphon.protocol.responses.updates import applied
from antiphon.protocol.unknown import Unknown
from antiphon.run import context
from antiphon.run.chains import Chains, Link
from antiphon.run.compaction import Compaction, Compactor, Stream, ended, turns_of
from antiphon.run.generation_builder import GenerationBuilder, relays
from antiphon.run.history import History
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
    #: What is summarised before the answer; `ended`: it was, and there is nothing to answer.
    compaction: Compaction | None = None
    ended: bool = False
    #: Ids of items that its conversation has already, if another server may make more of them.
    reserved_ids: Collection[str] = ()
    #: The tools that the model is offered, those of the conversation included.
    offered: Offered = NOTHING

    async def begin(self, generation: Generation) -> Stream:
        """Admit the generation, and give its stream: what comes before it included. Raises what the engine raises."""
        if self.ended:
            return ended()
        if self.compaction is not None:
            return await self.compaction.begin(track=generation.track)
        return await self.engine.generate(generation)

    async def check(self) -> None:
        """Raise what the answer would be refused with, as far as that can be told without asking for one."""
        if not self.ended and self.compaction is None:
            await self.engine.check(self.generation)


class Preparer:
    """Understands requests. Everything that can be refused before an engine is asked is refused here."""

    def __init__(
        self,
        store: Store,
        routes: Routes[Route],
        gate: Pipeline,
        prompts: Prompts,
        compactor: Compactor,
        *,
        ignores_unserved: bool = False,
    ) -> None:
        """`ignores_unserved`: tools that this server does not run are left out, and not refused."""
        self._ignores_unserved = ignores_unserved
        self._store = store
        self._history = History(store)
        self._routes = routes
        self._gate = gate
        self._prompts = prompts
        self._compactor = compactor

    def seal(self, project_id: str, request: ResponseRequest) -> Seal | None:
        """What makes the `encrypted_content` of reasoning items, if the request asks for it."""
        return seal_for(self._compactor.sealer, project_id) if request.seal_thoughts else None

    async def prepare(self, call: Call, body: Json, unknown: Unknown, chains: Chains | None = None) -> Prepared:
        """Understand a new request. `chains`: what its connection remembers.

        `Prepared.request.body` is the body with its prompt put in.
        """
        request = requests.parse(await self._prompts.resolve(call.project_id, body), unknown.fields)
        items = await context.resolve(self._store, call.project_id, request.items)
        return await self._with(call, request, items, unknown, chains)

    async def again(
        self, call: Call, body: Json, unknown: Unknown, items: list[Json], output: Sequence[Json]
    ) -> Prepared:
        """Understand a request that was accepted before; `items` are its input items as they were stored.

        `output` is what has been said: if the conversation was compacted, it need not be again.
        """
        compacted = [item for item in output if item["type"] == "compaction"][:1]
        return await self._with(call, requests.parse(body, unknown.fields), items, unknown, None, compacted)

    async def model_of(self, project_id: str, response_id: str) -> str:
        """The model that made a response. Raises `InvalidRequest` (code "previous_response_not_found")."""
        response = await self._store.get_response(project_id, response_id)
        if response is None:
            raise previous_not_found(response_id)
        return response.model

    async def _with(
        self,
        call: Call,
        request: ResponseRequest,
        items: list[Json],
        unknown: Unknown,
        chains: Chains | None = None,
        compacted: Sequence[Json] = (),
    ) -> Prepared:
        project_id = call.project_id
        engine = self._route(call, request, unknown)
        relayed = relays(engine)
        before, parent = await self._before(project_id, request, items, chains)
        places = self._places(project_id, request, before, items, compacted, foreign=relayed)
        shown = self._compactor.window(project_id, places)
        adapted = applied(request, [place.item for place in places])
        if not relayed:
            self._check(adapted)
        turns, unshown = _turns(shown, relayed=relayed)
        builder = GenerationBuilder(engine, adapted, unknown, unshown or adapted.offered.refusal())
        planned = None
        if request.compact is not None and not compacted:
            if unshown is not None:
                raise unshown  # a summary would leave it out
            planned = await self._plan(project_id, request.compact, builder, places, shown)
        generation = builder.build(turns) if planned is not None else await builder.build_answer(shown, turns)
        only_compacted = bool(compacted) and request.compact is not None and request.compact.now
        known = before if chains is not None else ()
        # Another server that goes on with a conversation makes ids of its own.
        watched = relayed and request.conversation is not None
        reserved_ids = {item["id"] for item in (*before, *items)} if watched else set()
        return Prepared(
            request, engine, generation, items, parent, known, planned, only_compacted, reserved_ids, adapted.offered
        )

    def _route(self, call: Call, request: ResponseRequest, unknown: Unknown) -> PipelineEngine:
        """The engine of the request's model. Refuses what it cannot do whatever the conversation is."""
        call.note_request(request.model, request.body)
        engine = self._gate.bound(call, self._routes.find(request.model, call.project_id))
        if not engine.capabilities.passes_extra:
            knobs.refuse(unknown, "responses")
        if not relays(engine):
            self._check(request)
        return engine

    def _places(
        self,
        project_id: str,
        request: ResponseRequest,
        before: Sequence[Json],
        items: Sequence[Json],
        compacted: Sequence[Json],
        *,
        foreign: bool,
    ) -> list[Placed]:
        """The items of the whole conversation, each with where it comes from; what we have sealed is opened.

        `foreign`: another server's sealed items may be among them.
        """
        places = [
            *compaction.placed(before, "previous_response_id" if request.conversation is None else "conversation"),
            *compaction.placed(items, "input"),
            *compaction.placed(compacted, "output"),
        ]
        if request.conversation is not None and not places:
            raise missing_parameter("input")
        sealer = self._compactor.sealer
        return [
            place._replace(item=opened(sealer, project_id, place.item, place.path, place.number, foreign=foreign))
            for place in places
        ]

    async def _plan(
        self,
        project_id: str,
        policy: CompactionPolicy,
        builder: GenerationBuilder,
        places: Sequence[Placed],
        shown: Sequence[Placed],
    ) -> Compaction | None:
        """What is summarised before the answer, if anything is."""
        users = [place.item for place in places if compaction.is_users(place.item)]
        return await self._compactor.plan(
            project_id, builder.engine, policy, shown, users, build=builder.build, rest=builder.build_answer
        )

    def _check(self, request: ResponseRequest) -> None:
        """Refuse what no engine of ours can do."""
        refusal = request.offered.refusal(ignoring=self._ignores_unserved)
        if refusal is not None:
            raise refusal

    async def _before(
        self, project_id: str, request: ResponseRequest, items: list[Json], chains: Chains | None
    ) -> tuple[list[Json], Link | None]:
        """The items before the input, and the link that the request goes on from, if its connection remembers it."""
        before: list[Json] = []
        parent = None
        if chains is not None:
            parent = chains.parent(request.previous_response_id, stored=request.store)
        if parent is not None and not parent.persisted:
            before = parent.history()
        elif request.previous_response_id is not None:
            before = await self._history.before(project_id, request.previous_response_id)
        elif request.conversation is not None:
            before = await context.conversation(self._store, project_id, request.conversation)
            context.check_new(items, before)
        return before, parent


def _turns(shown: Sequence[Placed], *, relayed: bool) -> tuple[list[Turn], Unserved | None]:
    """What a model is shown, and why not all of it is, if another server that gets it as it is may be shown more."""
    try:
        turns = turns_of(shown)
    except Unserved as refusal:
        if not relayed:
            raise
        return turns_of(shown, lenient=True), refusal
    item_rules.check_calls(turns)
    return turns, None
