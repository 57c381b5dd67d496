"""The built-in engine: the `Engine` port over a supervised llama.cpp child."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable

from antiphon.engines.llama.answer_maker import AnswerMaker
from antiphon.engines.llama.child_access import ChildAccess
from antiphon.engines.llama.config import LlamaConfig
from antiphon.engines.llama.plan import Planner
from antiphon.engines.llama.schemas import SchemaCompiler
from antiphon.engines.llama.slots import SlotQueue
from antiphon.ports import Capabilities
from antiphon.protocol.generation import (
    Delta,
    Generation,
)
from antiphon.protocol.streams import OwnedStream


class LlamaEngine:
    """Makes generations with one local model. Used from one event loop."""

    def __init__(self, config: LlamaConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._queue = SlotQueue(config.slots, config.queue_length, config.pool, clock)
        self._compiler = SchemaCompiler()
        self._planner = Planner(config, self._compiler)
        self._child = ChildAccess(config)
        self._answers = AnswerMaker(self._child, self._planner, self._compiler.worker)

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
        return self._answers.grammars_lost.value

    @property
    def pid(self) -> int | None:
        """The child's process number, while there is one."""
        return self._child.supervisor.pid

    async def start(self) -> None:
        """Start the child and wait until it is ready. Raises `SetupError` or `EngineUnavailable`."""
        await self._child.connection()

    async def stop(self) -> None:
        """End the child. Generations that run end with `EngineFailed`. Safe to call twice."""
        await self._child.supervisor.stop()
        await self._compiler.close()

    async def ready(self) -> bool:
        """Whether the child is up and answers."""
        return await self._child.ready()

    async def count_tokens(self, generation: Generation) -> int:
        """Input tokens this generation would use, exactly as `generate` would count them."""
        return await self._child.admit(lambda connection: self._planner.count(generation, connection))

    async def check(self, generation: Generation) -> None:
        """Plan it, and leave it at that."""
        await self._child.admit(lambda connection: self._planner.plan(generation, connection))

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Admit a generation, then stream it: see the port."""
        ticket = self._queue.enter()
        try:
            plan = await self._child.admit(lambda connection: self._planner.plan(generation, connection))
        except BaseException:
            ticket.release()
            raise
        return OwnedStream(self._answers.answer(plan, ticket), release=ticket.release)
