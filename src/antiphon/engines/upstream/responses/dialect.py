"""The `Engine` port over any server that speaks the Responses API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, NotFound, UpstreamFailed
from antiphon.domain.routing import Deadlines
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.engines.upstream import tokens
from antiphon.engines.upstream.chat.answer import AnswerParser
from antiphon.engines.upstream.chat.dialect import ChatStream
from antiphon.engines.upstream.client import UpstreamClient
from antiphon.engines.upstream.enforced import Enforced
from antiphon.engines.upstream.loose import Loose, in_shared_words
from antiphon.engines.upstream.profiles import Profile, profile_named
from antiphon.engines.upstream.responses import request as responses_request
from antiphon.engines.upstream.responses.answer import ResponsesParser
from antiphon.engines.upstream.responses.passthrough import ResponsesPassthroughParser
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Delta, Generation, Passthrough

_PATH = "/responses"
_COUNT_PATH = "/responses/input_tokens"
_COUNT_DEADLINES = Deadlines(connect=2.0, first=limits.UPSTREAM_COUNT, whole=limits.UPSTREAM_COUNT)
#: A server of which only its API is known is taken at that API's word: it is what OpenAI's own does.
_AT_ITS_WORD = replace(profile_named("openai"), name="responses")
SURFACE = "responses"
#: Types of tools that can be said in the neutral exchange as they are.
_TRANSLATED = frozenset({"function", "custom"})


class ResponsesStream(ChatStream):
    """The deltas of one answer. It is over with its terminal event, whether or not the connection is."""

    async def _more(self) -> None:
        await super()._more()
        if not self._over and self._answer.finished:
            self._reply.done()
            self._end(done=True)


class LooseResponses(Loose):
    """What the server says, as it says it: it may not be what it was asked for. See `ports.Engine`."""

    def __init__(
        self,
        client: UpstreamClient,
        model: str | None,
        *,
        name: str | None,
        profile: Profile,
        deadlines: Deadlines,
        context_tokens: int | None,
    ) -> None:
        super().__init__(client, model, name=name, profile=profile, deadlines=deadlines)
        #: Until it is found out that the server does not.
        self._counts = True
        self.capabilities = Capabilities(
            context_tokens=context_tokens or limits.UPSTREAM_CONTEXT,
            images=profile.images,
            files=profile.files,
            audio=False,
            logprobs=profile.logprobs,
            logit_bias=False,
            constrains=False,
            passes_extra=profile.extra,
            passthrough=frozenset({SURFACE}),
        )

    async def check(self, generation: Generation) -> None:
        """Raise what can be told without asking the upstream."""
        responses_request.body_of(generation, self._profile, self._model_of(generation))

    async def count_tokens(self, generation: Generation) -> int:
        """As the server counts them, or estimated."""
        estimate = tokens.estimate(generation)
        if not self._counts:
            return estimate
        try:
            return await self._count(generation)
        except (NotFound, UpstreamFailed, msgspec.MsgspecError) as error:
            # It has no such endpoint, as most have not.
            self._counts = isinstance(error, UpstreamFailed) and error.code != "upstream_invalid"
        except AntiphonError:
            pass
        return estimate

    async def _count(self, generation: Generation) -> int:
        model = self._model_of(generation)
        passthrough = generation.passthrough
        if passthrough is not None and passthrough.surface == SURFACE:
            body = responses_request.passthrough_body(passthrough.body, self._profile, model, streamed=False)
        else:
            body = responses_request.body_of(generation, self._profile, model)
        data = msgspec.json.encode(responses_request.counted(body))
        reply = await self._client.post(_COUNT_PATH, data, stream=False, deadlines=_COUNT_DEADLINES, repeatable=True)
        return msgspec.json.decode(await reply.body(), type=_Count).input_tokens

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Ask in our words, and translate the answer."""
        body = responses_request.body_of(generation, self._profile, self._model_of(generation))
        meter = tokens.counted(generation, self.capabilities.context_tokens)
        answer = ResponsesParser(self._client.scrubber, meter, generation.sampling.stop)
        with in_shared_words():
            return await self._ask(body, answer, meter, generation)

    async def relay(self, generation: Generation, passthrough: Passthrough) -> AsyncGenerator[Delta, None]:
        """Ask in the client's own words, and pass on the answer."""
        model = self._model_of(generation)
        body = responses_request.passthrough_body(passthrough.body, self._profile, model, streamed=generation.streamed)
        meter = tokens.counted(generation, self.capabilities.context_tokens)
        return await self._ask(body, ResponsesPassthroughParser(self._client.scrubber, meter), meter, generation)

    async def _ask(
        self, body: dict[str, Any], answer: AnswerParser, meter: OutputMeter, generation: Generation
    ) -> AsyncGenerator[Delta, None]:
        reply = await self._post(_PATH, body, streamed=generation.streamed)
        stream = ResponsesStream(reply, answer, meter, self._streams.discard)
        self._streams.add(stream)
        return stream


class ResponsesEngine(Enforced[LooseResponses]):
    """One model of one upstream. What its kind of server does not keep to by itself is enforced here."""

    def __init__(
        self,
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

        `profile`: None for the one that the client's upstream names; a server without one is taken at its API's word.
        `worker` checks schemas; engines may share one. Raises `SetupError` for a profile that does not exist.
        """
        named = client.spec.profile
        profile = profile or (_AT_ITS_WORD if named == "generic" else profile_named(named))
        loose = LooseResponses(
            client, model, name=name, profile=profile, deadlines=deadlines, context_tokens=context_tokens
        )
        super().__init__(loose, profile, worker)

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Ask the upstream: see the port. Raises also what `UpstreamClient.post` does, while awaited or iterated."""
        passthrough = self._passthrough(generation)
        if passthrough is not None:
            return await self._loose.relay(generation, passthrough)
        return await self._translating(generation).generate(generation)

    def _passthrough(self, generation: Generation) -> Passthrough | None:
        """The client's own words, if they are to be sent on."""
        passthrough = generation.passthrough
        if passthrough is None or passthrough.surface != SURFACE:
            return None
        # Tools of other types than functions have no other words; a server that knows them runs, or relays, them.
        tools = passthrough.body.get("tools") or ()
        whole = passthrough.only or any(tool["type"] not in _TRANSLATED for tool in tools)
        return passthrough if whole or self._profile.keeps(generation) else None

    async def check(self, generation: Generation) -> None:
        """Raise what can be told without asking the upstream."""
        if self._passthrough(generation) is None:
            await self._translating(generation).check(generation)


class _Count(msgspec.Struct):
    input_tokens: int
