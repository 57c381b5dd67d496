"""The Responses API, as upstreams speak it."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, NotFound, UpstreamFailed
from antiphon.domain.routing import Deadlines
from antiphon.engines.upstream import tokens
from antiphon.engines.upstream.client import UpstreamClient
from antiphon.engines.upstream.dialect import AnswerParser, Dialect, Json
from antiphon.engines.upstream.profiles import Profile, profile_named
from antiphon.engines.upstream.responses import request
from antiphon.engines.upstream.responses.answer import ResponsesParser
from antiphon.engines.upstream.responses.passthrough import ResponsesPassthroughParser
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Generation, Passthrough

_COUNT_PATH = "/responses/input_tokens"
_COUNT_DEADLINES = Deadlines(connect=2.0, first=limits.UPSTREAM_COUNT, whole=limits.UPSTREAM_COUNT)
#: A server of which only its API is known is expected to keep to all of it, as OpenAI's own does.
_WHOLE_API = replace(profile_named("openai"), name="responses")
#: Types of tools that the neutral exchange has as they are.
_TRANSLATED = frozenset({"function", "custom"})


class _Count(msgspec.Struct):
    input_tokens: int


class ResponsesDialect(Dialect):
    """See `Dialect`. An answer ends with its terminal event."""

    path = "/responses"
    surface = "responses"
    ends_with_last_event = True

    def __init__(self, client: UpstreamClient, profile: Profile) -> None:
        super().__init__(client, profile)
        #: Whether the server counts tokens, until it turns out that it does not.
        self._counts = True

    @classmethod
    def profile_for(cls, name: str) -> Profile:
        """The profile of this name; for "generic", one that promises all that the API does."""
        return _WHOLE_API if name == "generic" else profile_named(name)

    def capabilities(self, context_tokens: int) -> Capabilities:
        """As the profile says, but for recordings and biases, which this API does not have."""
        return replace(super().capabilities(context_tokens), audio=False, logit_bias=False)

    def body(self, generation: Generation, model: str) -> Json:
        """The request for a generation."""
        return request.body_of(generation, self._profile, model)

    def parser(self, generation: Generation, meter: OutputMeter) -> AnswerParser:
        """Events, or a whole Response, to neutral deltas. This API has no stop sequences: the parser looks for them."""
        return ResponsesParser(self._client.scrubber, meter, generation.sampling.stop)

    def passes_through(self, generation: Generation, passthrough: Passthrough) -> bool:
        """What only the server can serve, and what it keeps to."""
        # Tools of other types than functions cannot be translated; a server that knows them runs, or relays, them.
        tools = passthrough.body.get("tools") or ()
        hosted = any(tool["type"] not in _TRANSLATED for tool in tools)
        return passthrough.only or hosted or self._profile.keeps(generation)

    def passthrough_body(self, generation: Generation, passthrough: Passthrough, model: str) -> Json:
        """The client's request with the server's name of the model."""
        return request.passthrough_body(passthrough.body, self._profile, model, streamed=generation.streamed)

    def passthrough_parser(
        self, generation: Generation, passthrough: Passthrough, meter: OutputMeter, *, name: str, streamed: bool
    ) -> AnswerParser:
        """Events as they come. Their order is checked by the surface (`protocol.responses.relay`)."""
        return ResponsesPassthroughParser(self._client.scrubber, meter)

    async def count_tokens(self, generation: Generation, model: str) -> int:
        """As the server counts them, if it has an endpoint for that, as most have not; else estimated."""
        estimate = tokens.estimate(generation)
        if not self._counts:
            return estimate
        try:
            return await self._ask_for_count(generation, model)
        except (NotFound, UpstreamFailed, msgspec.MsgspecError) as error:
            self._counts = isinstance(error, UpstreamFailed) and error.code != "upstream_invalid"
        except AntiphonError:
            pass
        return estimate

    async def _ask_for_count(self, generation: Generation, model: str) -> int:
        passthrough = generation.passthrough
        if passthrough is not None and passthrough.surface == self.surface:
            body = request.passthrough_body(passthrough.body, self._profile, model, streamed=False)
        else:
            body = self.body(generation, model)
        data = msgspec.json.encode(request.counted(body))
        reply = await self._client.post(_COUNT_PATH, data, stream=False, deadlines=_COUNT_DEADLINES, repeatable=True)
        return msgspec.json.decode(await reply.body(), type=_Count).input_tokens
