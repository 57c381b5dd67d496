"""The built-in engine: the `Engine` port over a supervised llama.cpp child."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from math import ceil
from typing import Any, TypeVar

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed, EngineUnavailable, OutputInvalid, SetupError
from antiphon.engines.llama.answer import CompletionParser
from antiphon.engines.llama.child_connection import ChildConnection
from antiphon.engines.llama.client import Chunk, NotBegun
from antiphon.engines.llama.config import LlamaConfig
from antiphon.engines.llama.grammar_watch import watching
from antiphon.engines.llama.plan import Plan, Planner, call_key
from antiphon.engines.llama.preemption import PreemptibleCompletion, tokens_of
from antiphon.engines.llama.process import ChildProcess
from antiphon.engines.llama.resume import note
from antiphon.engines.llama.sampling import seed_of
from antiphon.engines.llama.schemas import SchemaCompiler
from antiphon.engines.llama.slots import SlotQueue, SlotTicket
from antiphon.engines.llama.supervisor import State, Supervisor
from antiphon.ports import Capabilities
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    Generation,
    Progress,
)
from antiphon.protocol.streams import OwnedStream
from antiphon.tasks import end
from antiphon.telemetry.metrics import Count

#: How long `ready` waits for the child's word.
_HEALTH_TIMEOUT = 2.0
T = TypeVar("T")


class LlamaEngine:
    """Makes generations with one local model. Used from one event loop."""

    def __init__(self, config: LlamaConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._key = secrets.token_urlsafe(32)
        self._queue = SlotQueue(config.slots, config.queue_length, config.pool, clock)
        self._compiler = SchemaCompiler()
        self._planner = Planner(config, self._compiler)
        self._supervisor = Supervisor(self._launch, self._connect)
        self._lost = Count()

    @property
    def name(self) -> str:
        """The model's public name."""
        return self._config.name

    @property
    def capabilities(self) -> Capabilities:
        """Text in, text and calls out; everything is constrained while tokens are drawn."""
        return Capabilities(context_tokens=self._config.context, continues=True)

    @property
    def config(self) -> LlamaConfig:
        """What it was made with."""
        return self._config

    @property
    def waiting(self) -> int:
        """Generations that wait for a slot."""
        return self._queue.waiting

    @property
    def grammars_lost(self) -> int:
        """Answers that were ended because the child had lost their grammar."""
        return self._lost.value

    @property
    def pid(self) -> int | None:
        """The child's process number, while there is one."""
        return self._supervisor.pid

    async def start(self) -> None:
        """Start the child and wait until it is ready. Raises `SetupError` or `EngineUnavailable`."""
        await self._connection()

    async def stop(self) -> None:
        """End the child. Generations that run end with `EngineFailed`. Safe to call twice."""
        await self._supervisor.stop()
        await self._compiler.close()

    async def ready(self) -> bool:
        """Whether the child is up and answers."""
        if self._supervisor.state is not State.READY:
            return False
        connection = await self._connection()
        return await connection.client.healthy(_HEALTH_TIMEOUT)

    async def count_tokens(self, generation: Generation) -> int:
        """Input tokens this generation would use, exactly as `generate` would count them."""
        return await self._admitted(lambda connection: self._planner.count(generation, connection))

    async def check(self, generation: Generation) -> None:
        """Plan it, and leave it at that."""
        await self._admitted(lambda connection: self._planner.plan(generation, connection))

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Admit a generation, then stream it: see the port."""
        ticket = self._queue.enter()
        try:
            plan = await self._admitted(lambda connection: self._planner.plan(generation, connection))
        except BaseException:
            ticket.release()
            raise
        return OwnedStream(self._answer(plan, ticket), release=ticket.release)

    # --- answering ----------------------------------------------------------------------------------------------------
    async def _answer(self, plan: Plan, ticket: SlotTicket) -> AsyncGenerator[Delta, None]:
        """Wait for a slot, then try until an answer is right."""
        await ticket.acquire(tokens_of(plan.body))
        attempt = 0
        while True:
            answer = CompletionParser(plan.rules, plan.input_tokens)
            for piece in plan.said:
                answer.resume(piece.content, piece.drawn)
            held: list[Delta] = []
            shown = False
            try:
                async with aclosing(self._attempt(plan, ticket, answer, attempt)) as deltas:
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
            if _repeats(plan, answer) and not shown:
                plan = await self._without_tools(plan)
                continue
            for delta in _fresh(plan, answer, held):
                yield delta
            return

    async def _attempt(
        self, plan: Plan, ticket: SlotTicket, answer: CompletionParser, attempt: int
    ) -> AsyncGenerator[Delta, None]:
        body = {**plan.body, "seed": seed_of(plan.generation.sampling, attempt)}
        # What is held back is not said before it is whole; after a crash it is made anew.
        tracked = plan.generation.track and plan.hold == "nothing"
        if tracked:
            body["return_tokens"] = True
        if body["n_predict"] <= 0:  # it was cut off just before its end
            answer.feed(Chunk(stop=True, stop_type="limit"))
        try:
            holding = PreemptibleCompletion(ticket, self._connection)
            async with aclosing(self._watched(holding.run(body, self._chunks), body.get("grammar"), answer)) as chunks:
                async for chunk in chunks:
                    if tracked and chunk.tokens:
                        yield Progress(note(chunk, plan.drawn))
                    for delta in answer.feed(chunk):
                        yield delta
        except EngineFailed as error:
            if error.code == "engine_timeout" and not await self.ready():
                self._supervisor.kill()
            raise
        last = answer.finish()
        for claim in answer.claims():
            problem = await claim.misfit(claim.text)
            if problem is not None and claim.strict:
                raise OutputInvalid(f"{claim.what}: {problem}")
            if problem is not None:
                raise _Unmet(f"{claim.what}: {problem}", last)
        for delta in last:
            yield delta

    async def _watched(
        self, made: AsyncGenerator[Chunk, None], grammar: str | None, answer: CompletionParser
    ) -> AsyncGenerator[Chunk, None]:
        """The chunks until the answer is done, each known to keep to the grammar; see `watch.py`."""
        async with watching(self._compiler.worker, grammar, self._lost) as watch, aclosing(made) as chunks:
            while not answer.done and (chunk := await anext(chunks, None)):
                # The last piece may end in the middle of a character.
                content = chunk.content.removesuffix("\ufffd") if chunk.stop else chunk.content
                if watch is not None and content:
                    await watch.take(content)
                yield chunk
            if watch is not None:
                await watch.finish(whole=answer.ended)

    async def _chunks(self, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        """The child's chunks. If it ended while we waited for a slot, the next child makes them."""
        connection = await self._answering()
        try:
            async with aclosing(connection.prefill.complete(body)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except NotBegun:
            if not await self._supervisor.replaced(connection):
                raise
        else:
            return
        connection = await self._answering()
        async with aclosing(connection.prefill.complete(body)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _without_tools(self, plan: Plan) -> Plan:
        """The plan to go on with when the model only repeats a call: the same, in words."""
        return await self._admitted(lambda connection: self._planner.words(plan, connection))

    # --- the child ----------------------------------------------------------------------------------------------------
    async def _connection(self) -> ChildConnection:
        if not self._config.model.is_file():
            raise SetupError(
                f"The file of the model '{self._config.name}' is missing. Run: antiphon models pull {self._config.name}"
            )
        return await self._supervisor.connection()

    async def _answering(self) -> ChildConnection:
        """A child that answers, for what has been admitted: waits until a silent one speaks again or is replaced."""
        while (connection := await self._connection()).heartbeat.silent:
            await connection.heartbeat.until_answers()
        return connection

    async def _admitted(self, work: Callable[[ChildConnection], Awaitable[T]]) -> T:
        """Do what comes before an answer. If the child ends meanwhile, do it once more with the next one.

        Raises `EngineUnavailable` at once while the child does not answer.
        """
        connection = await self._connection()
        try:
            return await _unless_silent(connection, work)
        except EngineFailed as error:
            if not await self._supervisor.replaced(connection):
                raise EngineUnavailable(error.message) from error
        try:
            return await _unless_silent(await self._connection(), work)
        except EngineFailed as error:
            raise EngineUnavailable(error.message) from error

    async def _launch(self) -> ChildProcess:
        config = self._config
        return await ChildProcess.launch(
            json.dumps(
                {
                    "model": str(config.model),
                    "name": config.name,
                    "slots": config.slots,
                    "pool": config.pool,
                    "batch": config.batch,
                    "threads": config.threads,
                    "pinning": config.pinning,
                    "cache_ram_mib": config.cache_ram_mib,
                    "gpu_layers": config.gpu_layers,
                    "quiet_machine": config.quiet_machine,
                    "api_key": self._key,
                }
            ).encode()
        )

    async def _connect(self, child: ChildProcess) -> ChildConnection:
        return await ChildConnection.connect(child, self._key, self._config)


class _Unmet(OutputInvalid):
    """An answer does not fit a schema that is not strict. `last`: its last deltas, marked so."""

    def __init__(self, message: str, last: Sequence[Delta]) -> None:
        super().__init__(message)
        self.last = [msgspec.structs.replace(each, unmet=True) if isinstance(each, Finish) else each for each in last]


async def _unless_silent(connection: ChildConnection, work: Callable[[ChildConnection], Awaitable[T]]) -> T:
    """Do it, unless the child stops answering: then raises `EngineUnavailable`."""
    if connection.heartbeat.silent:
        raise _no_answer()
    doing = asyncio.ensure_future(work(connection))
    silent = asyncio.ensure_future(connection.heartbeat.until_silent())
    try:
        await asyncio.wait({doing, silent}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
    finally:
        await end(silent)
        await end(doing)
    raise _no_answer()


def _no_answer() -> EngineUnavailable:
    return EngineUnavailable(
        "The local model's process does not answer at the moment. Please try again later.",
        retry_after=ceil(limits.ENGINE_HANG_TIMEOUT / 2),
    )


def _holds(plan: Plan, delta: Delta) -> bool:
    """Whether a delta is kept back until the whole answer is known."""
    match plan.hold:
        case "all":
            return True
        case "calls":
            return isinstance(delta, CallStart | CallArguments | Finish)
        case _:
            return False


def _known_calls(plan: Plan, answer: CompletionParser) -> list[bool]:
    """For each call of the answer, whether it was made before."""
    known = []
    for name, arguments in answer.calls:
        try:
            value = json.loads(arguments) if plan.rules.tools[name] == "function" else {"input": arguments}
        except ValueError:  # cut off by the end of the context
            known.append(False)
        else:
            known.append(call_key(name, value) in plan.made)
    return known


def _repeats(plan: Plan, answer: CompletionParser) -> bool:
    """Whether the answer begins with a call that was made before: then the model does not know how to go on."""
    return _known_calls(plan, answer)[:1] == [True]


def _fresh(plan: Plan, answer: CompletionParser, held: Sequence[Delta]) -> list[Delta]:
    """What was held back, without the calls that were made before."""
    known = _known_calls(plan, answer)
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
