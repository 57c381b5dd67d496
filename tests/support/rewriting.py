"""Stages that rewrite: one hides a word from engines and puts it back in answers, one ends or replaces answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import msgspec

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.domain.errors import PermissionDenied
from antiphon.policy.call import GenerationContext
from antiphon.policy.pipeline.stages import RequestTransform, StreamFilter
from antiphon.protocol.generation import (
    CallArguments,
    Delta,
    Finish,
    Generation,
    Message,
    ReasoningDelta,
    ReasoningTurn,
    RefusalDelta,
    RefusalPart,
    TextDelta,
    TextPart,
    ToolCall,
    ToolResult,
    Turn,
)

#: What clients say and read, and what engines see and say instead.
WORD, STAND_IN = "Zanzibar", "PLACE_7"
Text = TextDelta | RefusalDelta | ReasoningDelta | CallArguments


class Rewriting(RequestTransform, StreamFilter):
    """Replaces a word in what engines see, and puts it back in what they say, wherever it is cut into deltas."""

    def __init__(self, word: str = WORD, stand_in: str = STAND_IN) -> None:
        self._word = word
        self._stand_in = stand_in

    def transform(self, context: GenerationContext) -> None:
        """In all turns, and the descriptions of tools."""
        generation = context.generation
        turns = tuple(_changed(turn, self._hide) for turn in generation.turns)
        tools = tuple(
            msgspec.structs.replace(tool, description=self._hide(tool.description)) for tool in generation.tools
        )
        context.ask(msgspec.structs.replace(generation, turns=turns, tools=tools))

    def _hide(self, text: str) -> str:
        return text.replace(self._word, self._stand_in)

    async def wrap(
        self, context: GenerationContext, stream: AsyncGenerator[Delta, None]
    ) -> AsyncGenerator[Delta, None]:
        """Holds back what may be the beginning of the stand-in, until more of the same kind of text has come."""
        kind: type[Text] = TextDelta
        held = ""
        async for delta in stream:
            if held and not isinstance(delta, kind):
                yield kind(held)
                held = ""
            if not isinstance(delta, Text):
                yield delta
                continue
            kind = type(delta)
            text = (held + delta.text).replace(self._stand_in, self._word)
            held = self._beginning(text)
            if text := text[: len(text) - len(held)]:
                yield kind(text)

    def _beginning(self, text: str) -> str:
        """The longest end of the text that the stand-in begins with."""
        ends = (text[-count:] for count in range(min(len(self._stand_in) - 1, len(text)), 0, -1))
        return next((end for end in ends if self._stand_in.startswith(end)), "")


def _changed(turn: Turn, change: Callable[[str], str]) -> Turn:
    match turn:
        case Message():
            parts = tuple(
                msgspec.structs.replace(part, text=change(part.text))
                if isinstance(part, TextPart | RefusalPart)
                else part
                for part in turn.parts
            )
            return msgspec.structs.replace(turn, parts=parts)
        case ToolCall():
            return msgspec.structs.replace(turn, arguments=change(turn.arguments))
        case ToolResult():
            return msgspec.structs.replace(turn, output=change(turn.output))
        case ReasoningTurn():
            return ReasoningTurn(change(turn.text))


class Guarding(StreamFilter):
    """Looks at answers. At "STOP" it ends one, at "BAD" it replaces all that comes, at "DENY" and "BUG" it fails.

    It holds one delta back, so that nothing of a delta is sent before the next one was looked at.
    """

    async def wrap(
        self, context: GenerationContext, stream: AsyncGenerator[Delta, None]
    ) -> AsyncGenerator[Delta, None]:
        """One delta late."""
        held: Delta | None = None
        async for delta in stream:
            text = getattr(delta, "text", "")
            if "STOP" in text:
                yield Finish("content_filter")
                return
            if "BAD" in text:
                yield TextDelta("Removed.")
                yield Finish("stop")
                return
            if "DENY" in text:
                raise PermissionDenied("This answer is not for you.", code="denied_by_rule")
            if "BUG" in text:
                raise ValueError("a filter's own fault")
            if held is not None:
                yield held
            held = delta
        if held is not None:
            yield held


def rewriting(core: Core) -> Feature:
    """The word is replaced for everybody, and answers are looked at as the engine gave them."""
    return Feature(stages=[Rewriting(), Guarding()])


def texts_of(generation: Generation) -> str:
    """All that an engine was shown."""
    return msgspec.json.encode(generation).decode()
