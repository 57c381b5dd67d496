"""The `Engine` port over another server of our kind: each request goes to the surface that can say all of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

from antiphon.domain.routing import Deadlines
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.engines.upstream.chat.dialect import ChatDialect
from antiphon.engines.upstream.client import UpstreamClient
from antiphon.engines.upstream.engine import UpstreamEngine
from antiphon.engines.upstream.profiles import profile_named
from antiphon.engines.upstream.responses.dialect import ResponsesDialect
from antiphon.ports import Capabilities, Engine
from antiphon.protocol.generation import AudioPart, Delta, Generation, Message


class AntiphonEngine:
    """One model of another Antiphon. It has enforced everything already."""

    def __init__(
        self,
        client: UpstreamClient,
        model: str | None,
        *,
        name: str | None = None,
        deadlines: Deadlines = Deadlines(),  # noqa: B008  (it is immutable)
        context_tokens: int | None = None,
        worker: SchemaWorker | None = None,
    ) -> None:
        """`model`: the other server's name for it; None: as each generation says. `name`: as answers show it."""
        profile = profile_named("antiphon")
        self._chat, self._responses = (
            UpstreamEngine(
                dialect,
                client,
                model,
                name=name,
                profile=profile,
                deadlines=deadlines,
                context_tokens=context_tokens,
                worker=worker,
            )
            for dialect in (ChatDialect, ResponsesDialect)
        )
        chat, responses = self._chat.capabilities, self._responses.capabilities
        self._capabilities = replace(chat, passthrough=chat.passthrough | responses.passthrough)

    @property
    def name(self) -> str:
        """The model's name as answers show it."""
        return self._responses.name

    @property
    def capabilities(self) -> Capabilities:
        """What either surface can do."""
        return self._capabilities

    def _engine(self, generation: Generation) -> Engine:
        """Chat Completions has samplings and recordings that Responses does not have; Responses has all else."""
        if generation.passthrough is not None:
            return self._chat if generation.passthrough.surface == "chat" else self._responses
        sampling = generation.sampling
        chat_only = sampling.stop or sampling.logit_bias or sampling.seed is not None
        return self._chat if chat_only or _speaks_of_names_or_recordings(generation) else self._responses

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Ask the other server: see the port."""
        return await self._engine(generation).generate(generation)

    async def check(self, generation: Generation) -> None:
        """Raise what can be told without asking the other server."""
        await self._engine(generation).check(generation)

    async def count_tokens(self, generation: Generation) -> int:
        """As the other server counts them."""
        return await self._responses.count_tokens(generation)

    async def start(self) -> None:
        """Take requests. Nothing is asked of the other server."""
        await self._responses.start()
        await self._chat.start()

    async def stop(self) -> None:
        """End what is running."""
        await self._responses.stop()
        await self._chat.stop()

    async def ready(self) -> bool:
        """Whether it was started."""
        return await self._responses.ready()


def _speaks_of_names_or_recordings(generation: Generation) -> bool:
    return any(
        turn.name is not None or any(isinstance(part, AudioPart) for part in turn.parts)
        for turn in generation.turns
        if isinstance(turn, Message)
    )
