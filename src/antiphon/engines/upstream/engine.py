"""The `Engine` port over an upstream, in whichever dialect: see `UpstreamEngine`.

What an upstream is asked goes one of three ways:

- *passed through*: the client's own request is sent on, and the answer is passed on in the same API;
- *translated*: the neutral generation is sent in the dialect's words, and the server keeps to it by itself, as its
  profile says (tool choice, schemas);
- *enforced*: translated, and what the server does not keep to is checked, repaired and asked for again
  (`engines.constrained`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

from antiphon.domain import limits
from antiphon.domain.errors import EngineUnavailable, InvalidRequest
from antiphon.domain.routing import Deadlines
from antiphon.engines.constrained.engine import ConstrainedEngine
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.engines.upstream import tokens
from antiphon.engines.upstream.client import UpstreamClient
from antiphon.engines.upstream.dialect import AnswerParser, Dialect, Json
from antiphon.engines.upstream.profiles import Profile
from antiphon.engines.upstream.reply import Reply
from antiphon.engines.upstream.stream import AnswerStream
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.ports import Capabilities, Engine
from antiphon.protocol.generation import Delta, Generation, Passthrough
from antiphon.wire.large import encoded

#: Parameters that are called the same by every surface. Others of an upstream's mean nothing to another surface.
_SHARED = frozenset({"model", "temperature", "top_p", "tools", "tool_choice", "parallel_tool_calls", "top_logprobs"})


class RawUpstream:
    """An engine that gives what the server says, which may not be what it was asked for: nothing is enforced."""

    def __init__(
        self,
        dialect: Dialect,
        client: UpstreamClient,
        model: str | None,
        *,
        name: str | None,
        deadlines: Deadlines,
        context_tokens: int | None,
    ) -> None:
        self.name = name or model or client.spec.name
        self.capabilities = dialect.capabilities(context_tokens or limits.UPSTREAM_CONTEXT)
        self._dialect = dialect
        self._client = client
        self._model = model
        self._deadlines = deadlines
        self._streams: set[AnswerStream] = set()
        self._running = True

    async def start(self) -> None:
        """Take requests. Nothing is asked of the upstream: it may come up later, and the next request finds out."""
        self._running = True

    async def stop(self) -> None:
        """End the answers that are under way, and take no more requests."""
        self._running = False
        for stream in tuple(self._streams):
            stream.stop()

    async def ready(self) -> bool:
        """Whether it was started. Whether the upstream is up is known when it is asked."""
        return self._running

    async def check(self, generation: Generation) -> None:
        """Raise what can be told without asking the upstream."""
        self._dialect.body(generation, self._model_of(generation))

    async def count_tokens(self, generation: Generation) -> int:
        """As the server counts them, or estimated."""
        return await self._dialect.count_tokens(generation, self._model_of(generation))

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Ask in the dialect's words, and translate the answer."""
        body = self._dialect.body(generation, self._model_of(generation))
        try:
            reply = await self._post(generation, body)
        except InvalidRequest as error:
            # It names the parameter of a request that the client has not written.
            if error.param is None or error.param in _SHARED:
                raise
            raise error.restated(param=None) from None
        meter = self._meter(generation)
        return self._stream(generation, reply, self._dialect.parser(generation, meter), meter)

    async def relay(self, generation: Generation, passthrough: Passthrough) -> AsyncGenerator[Delta, None]:
        """Ask in the client's own words, and pass on the answer."""
        body = self._dialect.passthrough_body(generation, passthrough, self._model_of(generation))
        reply = await self._post(generation, body)
        meter = self._meter(generation)
        parser = self._dialect.passthrough_parser(
            generation, passthrough, meter, name=self.name, streamed=reply.streamed
        )
        return self._stream(generation, reply, parser, meter)

    def _model_of(self, generation: Generation) -> str:
        """The upstream's name for the model."""
        return self._model or generation.model

    def _meter(self, generation: Generation) -> OutputMeter:
        return tokens.meter_of(generation, self.capabilities.context_tokens)

    async def _post(self, generation: Generation, body: Json) -> Reply:
        if not self._running:
            raise EngineUnavailable("The model is not available.")
        return await self._client.post(
            self._dialect.path,
            await encoded(body),
            stream=generation.streamed,
            deadlines=self._deadlines,
            headers=generation.headers,
        )

    def _stream(self, generation: Generation, reply: Reply, parser: AnswerParser, meter: OutputMeter) -> AnswerStream:
        stream = AnswerStream(
            reply,
            parser,
            meter,
            self._streams.discard,
            ends_with_last_event=self._dialect.ends_with_last_event,
            batches=self._dialect.batches and generation.batches,
        )
        self._streams.add(stream)
        return stream


class UpstreamEngine:
    """One model of one upstream. What its kind of server does not keep to by itself is enforced here."""

    def __init__(
        self,
        dialect: type[Dialect],
        client: UpstreamClient,
        model: str | None,
        *,
        name: str | None = None,
        profile: Profile | None = None,
        deadlines: Deadlines = Deadlines(),  # noqa: B008  (it is immutable)
        context_tokens: int | None = None,
        worker: SchemaWorker | None = None,
    ) -> None:
        """`model`: the upstream's name for it; None: as each generation says. `name`: as answers show it.

        `profile`: None for the one that the client's upstream names. `worker` checks schemas; engines may share one.
        Raises `SetupError` for a profile that does not exist.
        """
        self._profile = profile or dialect.profile_for(client.spec.profile)
        self._dialect = dialect(client, self._profile)
        self._raw = RawUpstream(
            self._dialect, client, model, name=name, deadlines=deadlines, context_tokens=context_tokens
        )
        self._constrained = ConstrainedEngine(self._raw, worker)
        self._capabilities = replace(self._raw.capabilities, constrains=True)

    @property
    def name(self) -> str:
        """The model's name as answers show it."""
        return self._raw.name

    @property
    def capabilities(self) -> Capabilities:
        """What the profile says, with everything enforced."""
        return self._capabilities

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Ask the upstream: see the port. Raises also what `UpstreamClient.post` does, while awaited or iterated."""
        passthrough = self._passed_through(generation)
        if passthrough is not None:
            return await self._raw.relay(generation, passthrough)
        return await self._translating(generation).generate(generation)

    async def check(self, generation: Generation) -> None:
        """Raise what can be told without asking the upstream."""
        if self._passed_through(generation) is None:
            await self._translating(generation).check(generation)

    async def count_tokens(self, generation: Generation) -> int:
        """As the server counts them, where it does; else estimated."""
        return await self._raw.count_tokens(generation)

    async def start(self) -> None:
        """Take requests. Nothing is asked of the upstream."""
        await self._constrained.start()

    async def stop(self) -> None:
        """End the answers that are under way, and take no more requests."""
        await self._constrained.stop()

    async def ready(self) -> bool:
        """Whether it was started."""
        return await self._constrained.ready()

    def _passed_through(self, generation: Generation) -> Passthrough | None:
        """The client's own request, if it is sent on. Raises `InvalidRequest` for what only that could say."""
        passthrough = generation.passthrough
        if passthrough is None or passthrough.surface != self._dialect.surface:
            return None
        return passthrough if self._dialect.passes_through(generation, passthrough) else None

    def _translating(self, generation: Generation) -> Engine:
        """The engine that translates: the server alone, or with what it does not keep to enforced."""
        return self._raw if self._profile.keeps(generation) else self._constrained
