"""How many tokens a prompt, or a text, may have: estimated from its bytes, cheaply, and of all that goes to the model.

A token of today's vocabularies has some four characters of English or of JSON. What is not ASCII takes more: a token
for each three bytes, which is a character of Chinese and most of an emoji.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.protocol.generation import (
    AudioPart,
    FilePart,
    Generation,
    ImagePart,
    Message,
    Part,
    ReasoningTurn,
    RefusalPart,
    TextPart,
    ToolCall,
    ToolResult,
    Turn,
)

Json = Mapping[str, Any]

#: A token is twelve units: three for a byte of ASCII, four for any other byte.
_TOKEN, _ASCII, _OTHER = 12, 3, 4
_ASCII_BYTES = bytes(range(128))
#: Longer ones are not looked through: all of it counts as the dearer kind.
_LOOKED_THROUGH = limits.MIB
#: What a message takes beyond its text, in characters; and what JSON writes around one, and around a tool.
_TURN, _AROUND_TURN, _AROUND_TOOL = 16, 40, 100
_encode = msgspec.json.Encoder().encode
#: Members of a request that are not shown to a model, and its conversation, which is looked at on its own.
_BESIDE = frozenset(
    {
        *("model", "messages", "input", "stream_options", "metadata", "include", "service_tier", "store", "user"),
        *("prompt_cache_key", "prompt_cache_retention", "safety_identifier", "truncation", "reasoning_effort", "stop"),
        *("modalities", "tool_choice", "function_call"),
    }
)
#: Where content with data stands in requests: the type of a part, its member, and the member's own if it is an object.
_DATA = {
    "image_url": ("image_url", "url"),
    "input_image": ("image_url", ""),
    "computer_screenshot": ("image_url", ""),
    "input_file": ("file_data", ""),
    "file": ("file", "file_data"),
    "input_audio": ("input_audio", "data"),
}
#: Kinds whose data may stand there without the beginning of a `data:` URL.
_RAW = frozenset({"input_audio", "input_file", "file"})


def units(text: str) -> int:
    """Twelfths of a token."""
    return _ASCII * len(text) if text.isascii() else _units(text.encode("utf-8", "surrogatepass"))


def tokens(count: int) -> int:
    """Units as whole tokens."""
    return -(-count // _TOKEN)


def input_tokens(generation: Generation) -> int:
    """Input tokens of a generation: of all that is sent, in the client's own words or in ours."""
    passthrough = generation.passthrough
    if passthrough is None:
        count = _conversation(generation.turns) + _rules(generation)
    else:
        count = _passthrough(passthrough.body)
        if not (passthrough.body.get("messages") or passthrough.body.get("input")):
            count += _conversation(generation.turns)
    return count // _TOKEN + 1


def _units(data: bytes) -> int:
    if data.isascii():
        return _ASCII * len(data)
    if len(data) > _LOOKED_THROUGH:
        return _OTHER * len(data)
    others = len(data.translate(None, _ASCII_BYTES))
    return _ASCII * (len(data) - others) + _OTHER * others


# --- in our words -----------------------------------------------------------------------------------------------------
def _conversation(turns: Sequence[Turn]) -> int:
    count = _ASCII * _TURN * len(turns)
    for turn in turns:
        match turn:
            case Message():
                count += units(turn.name) if turn.name else 0
                for part in turn.parts:
                    count += (
                        _TOKEN * _media(part)
                        if isinstance(part, ImagePart | FilePart | AudioPart)
                        else units(part.text)
                    )
            case ToolCall():
                count += units(turn.name) + units(turn.arguments)
            case ToolResult():
                count += units(turn.output)
            case ReasoningTurn():
                count += units(turn.text)
    return count


def _part(part: Part) -> int:
    return units(part.text) if isinstance(part, TextPart | RefusalPart) else _TOKEN * _media(part)


def _rules(generation: Generation) -> int:
    """What is sent beside the conversation: tools, the schema of the answer, fields that we do not know."""
    count = 0
    if generation.tools:
        count += max(0, _units(_encode(generation.tools)) - _ASCII * _AROUND_TOOL * len(generation.tools))
    if generation.output.schema is not None:
        count += _units(_encode(generation.output.schema))
    if generation.extra:
        count += _units(_encode(generation.extra))
    return count


# --- in the client's own words ----------------------------------------------------------------------------------------
def _passthrough(body: Json) -> int:
    conversation = body.get("messages") or body.get("input") or ()
    data = _encode(conversation)
    entries = len(conversation) if isinstance(conversation, list | tuple) else 1
    count = max(0, _units(data) - _ASCII * _AROUND_TURN * entries) + _ASCII * _TURN * entries
    if b";base64," in data or b'"input_audio"' in data or b'"file_data"' in data:
        for kind, text in _data_in(conversation):
            count += _TOKEN * _media_tokens(kind, text) - _ASCII * len(text)
    for name in body.keys() - _BESIDE:
        value = body[name]
        if isinstance(value, str | list | dict):
            count += _units(_encode(value))
    return count


def _data_in(conversation: Any) -> Iterator[tuple[str, str]]:
    """Images, files and recordings in messages or items, as the kind of their part and their data."""
    for entry in conversation if isinstance(conversation, list) else ():
        for name in ("content", "output"):
            parts = entry.get(name) if isinstance(entry, dict) else None
            for part in parts if isinstance(parts, list) else (parts,):
                kind = part.get("type") if isinstance(part, dict) else None
                if isinstance(part, dict) and kind in _DATA:
                    member, inner = _DATA[kind]
                    value = part.get(member)
                    text = value.get(inner) if isinstance(value, dict) else value
                    if isinstance(text, str) and (kind in _RAW or text.startswith("data:")):
                        yield kind, text


# --- what is not text -------------------------------------------------------------------------------------------------
def _media(part: ImagePart | FilePart | AudioPart) -> int:
    if isinstance(part, ImagePart):
        return limits.BUDGET_PART_TOKENS
    return _media_tokens("input_audio" if isinstance(part, AudioPart) else "file", part.data or "")


def _media_tokens(kind: str, text: str) -> int:
    """Tokens of an image, a file or a recording by its data in base64."""
    if kind == "input_audio":
        return max(limits.BUDGET_PART_TOKENS, len(text) // limits.AUDIO_CHARS)
    if kind in {"file", "input_file"}:
        each = limits.PDF_CHARS if text.startswith("data:application/pdf") else limits.FILE_CHARS
        return max(limits.BUDGET_PART_TOKENS, len(text) // each)
    return limits.BUDGET_PART_TOKENS
