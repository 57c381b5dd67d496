"""The neutral exchange between surfaces and engines.

A surface translates its request to a `Generation` (`request`, `turns`); an engine turns that into a stream of `Delta`s
(`deltas`); the surface's machine turns those into its own events. So N surfaces and M engines need N + M translators,
never N x M.
"""

from __future__ import annotations

from antiphon.protocol.generation.deltas import (
    AnswerDelta,
    Batch,
    CallArguments,
    CallStart,
    Delta,
    Finish,
    PassthroughDelta,
    Progress,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from antiphon.protocol.generation.request import (
    Generation,
    Grammar,
    JsonSchema,
    OutputFormat,
    Passthrough,
    Sampling,
    Tool,
    ToolChoice,
)
from antiphon.protocol.generation.turns import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningTurn,
    RefusalPart,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
    Turn,
)

__all__ = [
    "AnswerDelta",
    "AudioPart",
    "Batch",
    "CallArguments",
    "CallStart",
    "Delta",
    "FilePart",
    "Finish",
    "Generation",
    "Grammar",
    "ImagePart",
    "JsonSchema",
    "Message",
    "OutputFormat",
    "Part",
    "Passthrough",
    "PassthroughDelta",
    "Progress",
    "ReasoningDelta",
    "ReasoningTurn",
    "RefusalDelta",
    "RefusalPart",
    "Role",
    "Sampling",
    "TextDelta",
    "TextPart",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolResult",
    "TopLogprob",
    "Turn",
    "Usage",
]
