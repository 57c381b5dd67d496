"""Chat messages as neutral turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.domain.errors import InvalidRequest
from antiphon.protocol.generation import (
    AudioPart,
    FilePart,
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
from antiphon.protocol.refusals import Unserved, unsupported_value
from antiphon.protocol.unknown import unread

Json = dict[str, Any]


#: Members of messages and of their parts and calls that are read here, or say nothing to a model: some are only there
#: because an answer is sent back as it came.
_MESSAGE = frozenset(
    {
        *("role", "content", "name", "refusal", "audio", "tool_calls", "function_call", "tool_call_id"),
        *("annotations", "reasoning_content", "reasoning", "id", "index", "status", "logprobs", "parsed"),
    }
)
_PART = frozenset({"type", "text", "image_url", "file", "input_audio", "refusal", "prompt_cache_breakpoint"})
_CALL = frozenset({"id", "type", "function", "custom", "index"})


def turns(messages: Sequence[Json], unserved: list[Unserved]) -> list[Turn]:
    """The conversation as the model is shown it.

    `unserved` gets the refusals of what no model of ours can be shown, which is left out. Raises `InvalidRequest` for
    results without calls, and for calls without results.
    """
    made: list[Turn] = []
    # Calls that wait for their result, by id, with the path that names them in an error.
    waiting: dict[str, str] = {}
    legacy: dict[str, str] = {}
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        role = message["role"]
        if role == "tool":
            call_id = message["tool_call_id"]
            if waiting.pop(call_id, None) is None:
                raise _orphan(path, f"tool_call_id '{call_id}'", "tool_calls")
            made.append(ToolResult(call_id, _text(message.get("content"), path), unread(message, _MESSAGE)))
            continue
        if role == "function":
            waited = legacy.pop(message["name"], None)
            if waited is None:
                raise _orphan(path, f"function '{message['name']}'", "function_call")
            made.append(ToolResult(waited, _text(message.get("content"), path)))
            continue
        if waiting:
            break
        parts, extra = _parts(message, path, unserved), unread(message, _MESSAGE)
        if role == "assistant":
            made += _thought(message)
        if parts or extra or role != "assistant":
            made.append(Message(role, parts, message.get("name"), extra))
        if role == "assistant":
            if message.get("audio"):
                refusal = unsupported_value(f"{path}.audio", "Audio is not supported with this model.")
                unserved.append(refusal)
            made += _calls(message, path, waiting, legacy, unserved)
    for call_id, path in waiting.items():
        raise InvalidRequest(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following one has no response: {call_id}.",
            code="invalid_value",
            param=path,
        )
    return made


def _thought(message: Json) -> list[Turn]:
    """What the assistant thought before it said this, under both names that servers have given it."""
    for name in ("reasoning_content", "reasoning"):
        text = message.get(name)
        if text and isinstance(text, str):
            return [ReasoningTurn(text)]
    return []


def _orphan(path: str, what: str, field: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{path}': {what} does not answer any call in a preceding message with '{field}'.",
        code="invalid_value",
        param=path,
    )


def _calls(
    message: Json, path: str, waiting: dict[str, str], legacy: dict[str, str], unserved: list[Unserved]
) -> list[Turn]:
    calls: list[Turn] = []
    for index, call in enumerate(message.get("tool_calls") or []):
        if call["type"] not in ("function", "custom"):
            where = f"{path}.tool_calls[{index}].type"
            unserved.append(unsupported_value(where, f"Calls of type '{call['type']}' are not supported."))
            continue
        waiting[call["id"]] = f"{path}.tool_calls[{index}].id"
        extra = unread(call, _CALL)
        if call["type"] == "custom":
            custom = call["custom"]
            calls.append(ToolCall(call["id"], custom["name"], custom["input"], "custom", extra))
        else:
            function = call["function"]
            calls.append(ToolCall(call["id"], function["name"], function["arguments"], "function", extra))
    function = message.get("function_call")
    if function:
        call_id = f"{path}.function_call"
        legacy[function["name"]] = call_id
        calls.append(ToolCall(call_id, function["name"], function["arguments"]))
    return calls


def _parts(message: Json, path: str, unserved: list[Unserved]) -> tuple[Part, ...]:
    content = message.get("content")
    refusal = message.get("refusal")
    made: list[Part] = []
    if isinstance(content, str):
        made.append(TextPart(content))
    for index, part in enumerate(content if isinstance(content, list) else []):
        try:
            made.append(_part(part, f"{path}.content[{index}]"))
        except Unserved as unknown:
            unserved.append(unknown)
    if refusal:
        made.append(RefusalPart(refusal))
    return tuple(made)


def _part(part: Json, path: str) -> Part:
    match part["type"]:
        case "text":
            return TextPart(part["text"], unread(part, _PART))
        case "refusal":
            return RefusalPart(part["refusal"])
        case "image_url":
            image = part["image_url"]
            return ImagePart(image["url"], image.get("detail") or "auto", path, unread(part, _PART))
        case "file":
            file = part["file"]
            return FilePart(file.get("file_data"), file.get("file_id"), file.get("filename"), path)
        case "input_audio":
            return AudioPart(part["input_audio"]["data"], part["input_audio"]["format"], path)
        case other:
            raise unsupported_value(f"{path}.type", f"Content of type '{other}' is not supported with this model.")


def _text(content: str | list[Json] | None, path: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(_only_text(part, f"{path}.content[{index}]") for index, part in enumerate(content))


def _only_text(part: Json, path: str) -> str:
    if part["type"] != "text":
        raise unsupported_value(f"{path}.type", f"Content of type '{part['type']}' is not supported in tool messages.")
    text: str = part["text"]
    return text
