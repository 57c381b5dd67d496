"""Makes one answer with the child: attempts until one is right, each watched and checked while it is made.

What an attempt says is shown as it comes, but for what may have to be taken back (`Plan.hold`): calls that may only
repeat earlier ones, and answers whose schema a grammar cannot enforce. An attempt that turns out wrong before anything
of it was shown is made again with another seed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed, OutputInvalid
from antiphon.engines.llama.answer import CompletionParser
from antiphon.engines.llama.child_access import ChildAccess
from antiphon.engines.llama.client import Chunk, NotBegun
from antiphon.engines.llama.grammar_watch import watching
from antiphon.engines.llama.plan import Plan, Planner, call_key
from antiphon.engines.llama.preemption import PreemptibleCompletion, tokens_of
from antiphon.engines.llama.resume import note
from antiphon.engines.llama.sampling import seed_of
from antiphon.engines.llama.slots import SlotTicket
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.protocol.generation import CallArguments, CallStart, Delta, Finish, Progress
from antiphon.telemetry.metrics import Count


class AnswerMaker:
    """Makes the answers of one engine. `grammars_lost` counts those that were ended because a grammar was lost."""

    def __init__(self, child: ChildAccess, planner: Planner, worker: SchemaWorker) -> None:
        self._child = child
        self._planner = planner
        self._worker = worker
        self.grammars_lost = Count()

    async def answer(self, plan: Plan, ticket: SlotTicket) -> AsyncGenerator[Delta, None]:
        """Wait for a slot, then try until an answer is right."""
        await ticket.acquire(tokens_of(plan.body))
        attempt = 0
        while True:
            parser = CompletionParser(plan.rules, plan.input_tokens)
            for piece in plan.resumed:
                parser.resume(piece.content, piece.drawn)
            held: list[Delta] = []
            shown = False
            try:
                async with aclosing(self._attempt(plan, ticket, parser, attempt)) as deltas:
                    async for delta in deltas:
                        if _holds(plan, delta):
                            held.append(delta)
                        else:
                            shown = True
                            yield delta
            except OutputInvalid as error:
                # What was shown cannot be taken back.
                if not shown and attempt < limits.MAX_SCHEMA_RETRIES:
                    attempt += 1
                    continue
                if not isinstance(error, _Unmet):
                    raise
                held += error.last
            if _repeats(plan, parser) and not shown:
                plan = await self._without_tools(plan)
                continue
            for delta in _without_known_calls(plan, parser, held):
                yield delta
            return

    async def _attempt(
        self, plan: Plan, ticket: SlotTicket, parser: CompletionParser, attempt: int
    ) -> AsyncGenerator[Delta, None]:
        body = {**plan.body, "seed": seed_of(plan.generation.sampling, attempt)}
        # What is held back is not said before it is whole; after a crash it is made anew.
        tracked = plan.generation.track and plan.hold == "nothing"
        if tracked:
            body["return_tokens"] = True
        if body["n_predict"] <= 0:  # it was cut off just before its end
            parser.feed(Chunk(stop=True, stop_type="limit"))
        try:
            completion = PreemptibleCompletion(ticket, self._child.connection)
            async with aclosing(
                self._watched(completion.run(body, self._chunks), body.get("grammar"), parser)
            ) as chunks:
                async for chunk in chunks:
                    if tracked and chunk.tokens:
                        yield Progress(note(chunk, plan.drawn))
                    for delta in parser.feed(chunk):
                        yield delta
        except EngineFailed as error:
            if error.code == "engine_timeout" and not await self._child.ready():
                self._child.supervisor.kill()
            raise
        last = parser.finish()
        for claim in parser.claims():
            problem = await claim.misfit(claim.text)
            if problem is not None and claim.strict:
                raise OutputInvalid(f"{claim.what}: {problem}")
            if problem is not None:
                raise _Unmet(f"{claim.what}: {problem}", last)
        for delta in last:
            yield delta

    async def _watched(
        self, made: AsyncGenerator[Chunk, None], grammar: str | None, parser: CompletionParser
    ) -> AsyncGenerator[Chunk, None]:
        """The chunks until the answer is done, each known to keep to the grammar; see `watch.py`."""
        async with watching(self._worker, grammar, self.grammars_lost) as watch, aclosing(made) as chunks:
            while not parser.done and (chunk := await anext(chunks, None)):
                # The last piece may end in the middle of a character.
                content = chunk.content.removesuffix("\ufffd") if chunk.stop else chunk.content
                if watch is not None and content:
                    await watch.take(content)
                yield chunk
            if watch is not None:
                await watch.finish(whole=parser.ended)

    async def _chunks(self, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        """The child's chunks. If it ended while we waited for a slot, the next child makes them."""
        connection = await self._child.responsive()
        try:
            async with aclosing(connection.prefill.complete(body)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except NotBegun:
            if not await self._child.supervisor.replaced(connection):
                raise
        else:
            return
        connection = await self._child.responsive()
        async with aclosing(connection.prefill.complete(body)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _without_tools(self, plan: Plan) -> Plan:
        """The plan to go on with when the model only repeats a call: the same, in words."""
        return await self._child.admit(lambda connection: self._planner.words(plan, connection))


class _Unmet(OutputInvalid):
    """An answer does not fit a schema that is not strict. `last`: its last deltas, marked so."""

    def __init__(self, message: str, last: Sequence[Delta]) -> None:
        super().__init__(message)
        self.last = [msgspec.structs.replace(each, unmet=True) if isinstance(each, Finish) else each for each in last]


def _holds(plan: Plan, delta: Delta) -> bool:
    """Whether a delta is kept back until the whole answer is known."""
    match plan.hold:
        case "all":
            return True
        case "calls":
            return isinstance(delta, CallStart | CallArguments | Finish)
        case _:
            return False


def _known_calls(plan: Plan, parser: CompletionParser) -> list[bool]:
    """For each call of the answer, whether it was made before."""
    known = []
    for name, arguments in parser.calls:
        try:
            value = json.loads(arguments) if plan.rules.tools[name] == "function" else {"input": arguments}
        except ValueError:  # cut off by the end of the context
            known.append(False)
        else:
            known.append(call_key(name, value) in plan.made)
    return known


def _repeats(plan: Plan, parser: CompletionParser) -> bool:
    """Whether the answer begins with a call that was made before: then the model does not know how to go on."""
    return _known_calls(plan, parser)[:1] == [True]


def _without_known_calls(plan: Plan, parser: CompletionParser, held: Sequence[Delta]) -> list[Delta]:
    """What was held back, without the calls that were made before."""
    known = _known_calls(plan, parser)
    if not any(known):
        return list(held)
    fresh: list[Delta] = []
    index = -1
    for delta in held:
        index += isinstance(delta, CallStart)
        if isinstance(delta, Finish) and all(known):
            fresh.append(Finish(reason="stop", usage=delta.usage, unmet=delta.unmet))
        elif not isinstance(delta, CallStart | CallArguments) or not known[index]:
            fresh.append(delta)
    return fresh
