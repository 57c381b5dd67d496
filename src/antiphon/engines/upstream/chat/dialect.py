"""Chat Completions, as upstreams speak it."""

from __future__ import annotations

from antiphon.engines.upstream.chat import request, token_count
from antiphon.engines.upstream.chat.answer import ChatParser
from antiphon.engines.upstream.chat.passthrough import ChatPassthroughParser
from antiphon.engines.upstream.dialect import AnswerParser, Dialect, Json
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.protocol.chat.request import check_neutral
from antiphon.protocol.generation import Generation, Passthrough


class ChatDialect(Dialect):
    """See `Dialect`. An answer ends with `data: [DONE]`, after its usage."""

    path = "/chat/completions"
    surface = "chat"
    batches = True

    def body(self, generation: Generation, model: str) -> Json:
        """The request for a generation."""
        return request.body_of(generation, self._profile, model)

    def parser(self, generation: Generation, meter: OutputMeter) -> AnswerParser:
        """Chunks, or a whole completion, to neutral deltas."""
        names = [tool.name for tool in generation.tools]
        disguised: list[str] = []
        if not self._profile.custom_tools:
            disguised = [tool.name for tool in generation.tools if tool.kind == "custom"]
        return ChatParser(self._client.scrubber, meter, disguised, names)

    def passes_through(self, generation: Generation, passthrough: Passthrough) -> bool:
        """What only the server can serve, and what it keeps to and takes as it is."""
        if passthrough.only or (
            self._profile.keeps(generation)
            and request.speaks(passthrough.body, self._profile)
            and request.takes_content(generation, self._profile)
        ):
            return True
        check_neutral(dict(passthrough.body))
        return False

    def passthrough_body(self, generation: Generation, passthrough: Passthrough, model: str) -> Json:
        """The client's request with the server's name of the model, asking for usage where it is streamed."""
        return request.passthrough_body(passthrough.body, self._profile, model, streamed=generation.streamed)

    def passthrough_parser(
        self, generation: Generation, passthrough: Passthrough, meter: OutputMeter, *, name: str, streamed: bool
    ) -> AnswerParser:
        """Chunks as they come. Of a server that streams where a whole was asked for, they become one answer."""
        if streamed and not generation.streamed:
            return self.parser(generation, meter)
        options = passthrough.body.get("stream_options") or {}
        return ChatPassthroughParser(
            self._client.scrubber,
            meter,
            show_usage=generation.streamed and bool(options.get("include_usage")),
            streamed=generation.streamed,
            model=name,
            tools=[tool.name for tool in generation.tools],
        )

    async def count_tokens(self, generation: Generation, model: str) -> int:
        """As the server counts them, where it does; else estimated."""
        return await token_count.count(generation, self._client, self._profile, model)
