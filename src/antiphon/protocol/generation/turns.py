"""A conversation as a model is shown it: messages and their parts, calls of tools and their results, reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from antiphon.protocol.generation.value import Value

Role = Literal["system", "developer", "user", "assistant"]


class TextPart(Value, frozen=True, tag="text"):
    """A piece of text. `extra`: members that only a server behind this one may know."""

    text: str
    extra: Mapping[str, Any] = {}


class RefusalPart(Value, frozen=True, tag="refusal"):
    """An earlier refusal of the assistant."""

    text: str


class ImagePart(Value, frozen=True, tag="image"):
    """An image, as a `data:` URL or a remote one. `path` says where in the request it stood, for error messages.

    `extra`: see `TextPart`."""

    url: str
    detail: str = "auto"
    path: str = ""
    extra: Mapping[str, Any] = {}


class FilePart(Value, frozen=True, tag="file"):
    """A file given inline (base64) or by id. `path` says where in the request it stood."""

    data: str | None = None
    file_id: str | None = None
    filename: str | None = None
    path: str = ""


class AudioPart(Value, frozen=True, tag="audio"):
    """Recorded speech (base64). `path` says where in the request it stood."""

    data: str
    format: str
    path: str = ""


Part = TextPart | RefusalPart | ImagePart | FilePart | AudioPart


class Message(msgspec.Struct, frozen=True, tag="message"):
    """One message. `parts` keep their order; `name` tells participants of one role apart. `extra`: see `TextPart`."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    extra: Mapping[str, Any] = {}

    @property
    def text(self) -> str:
        """All text of the message, joined (refusals included: they are what the assistant said)."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart | RefusalPart))


class ToolCall(Value, frozen=True, tag="tool_call"):
    """An earlier call of a tool by the model. `arguments` is JSON text for a function, free text for a custom tool.

    `extra`: see `TextPart`.
    """

    call_id: str
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"
    extra: Mapping[str, Any] = {}


class ToolResult(Value, frozen=True, tag="tool_result"):
    """What a called tool answered. `extra`: see `TextPart`."""

    call_id: str
    output: str
    extra: Mapping[str, Any] = {}


class ReasoningTurn(Value, frozen=True, tag="reasoning"):
    """Earlier reasoning of the model, where its text is known."""

    text: str


Turn = Message | ToolCall | ToolResult | ReasoningTurn
