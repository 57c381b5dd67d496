"""How many tokens a prompt has, estimated without its server; and how much an answer to it may say."""

from __future__ import annotations

from functools import partial

import msgspec

from antiphon.engines.upstream.usage import OutputMeter
from antiphon.protocol.generation import Generation, Message, TextPart, ToolCall, ToolResult

#: Bytes of English text and JSON in one token of today's tokenizers; tokens around each message; tokens of an image,
#: a file or a recording, which differ widely.
_BYTES, _MESSAGE, _MEDIA = 4, 4, 512


def estimate(generation: Generation) -> int:
    """Input tokens, estimated from the bytes of all text, calls and tools. Right within a third for English text."""
    size = 0
    more = 3
    for turn in generation.spoken():
        more += _MESSAGE
        if isinstance(turn, Message):
            for part in turn.parts:
                if isinstance(part, TextPart):
                    size += len(part.text.encode())
                else:
                    more += _MEDIA
        elif isinstance(turn, ToolCall):
            size += len(turn.name) + len(turn.arguments.encode())
        elif isinstance(turn, ToolResult):
            size += len(turn.output.encode())
    for tool in generation.callable_tools():
        size += len(tool.name) + len(tool.description.encode()) + len(msgspec.json.encode(tool.parameters))
        more += 2 * _MESSAGE
    return more + size // _BYTES


def meter_of(generation: Generation, context: int) -> OutputMeter:
    """Measures an answer: it may have the tokens that were asked for, or that fit into the model's context."""
    return OutputMeter(partial(estimate, generation), generation.sampling.max_tokens, context)
