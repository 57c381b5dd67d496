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
    RefusalPart,
    TextPart,
    ToolCall,
    ToolResult,
    Turn,
)
from antiphon.protocol.refusals import unsupported_value

Json = dict[str, Any]


def turns(messages: Sequence[Json]) -> list[Turn]:
    """The conversation as the model is shown it.

    Raises `InvalidRequest` for results without calls, and for calls without results.
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
            made.append(ToolResult(call_id, _text(message.get("content"), path)))
            continue
        if role == "function":
            waited = legacy.pop(message["name"], None)
            if waited is None:
                raise _orphan(path, f"function '{message['name']}'", "function_call")
            made.append(ToolResult(waited, _text(message.get("content"), path)))
            continue
        if waiting:
            break
        parts = _parts(message, path)
        if parts or role != "assistant":
            made.append(Message(role, parts, message.get("name")))
        if role == "assistant":
            made += _calls(message, path, waiting, legacy)
    for call_id, path in waiting.items():
        raise InvalidRequest(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following one has no response: {call_id}.",
            code="invalid_value",
            param=path,
        )
    return made


def _orphan(path: str, what: str, field: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{path}': {what} does not answer any call in a preceding message with '{field}'.",
        code="invalid_value",
        param=path,
    )


def _calls(message: Json, path: str, waiting: dict[str, str], legacy: dict[str, str]) -> list[Turn]:
    if message.get("audio"):
        raise unsupported_value(f"{path}.audio", "Audio is not supported with this model.")
    calls: list[Turn] = []
    for index, call in enumerate(message.get("tool_calls") or []):
        waiting[call["id"]] = f"{path}.tool_calls[{index}].id"
        if call["type"] == "custom":
            calls.append(ToolCall(call["id"], call["custom"]["name"], call["custom"]["input"], "custom"))
        else:
            calls.append(ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"]))
    function = message.get("function_call")
    if function:
        call_id = f"{path}.function_call"
        legacy[function["name"]] = call_id
        calls.append(ToolCall(call_id, function["name"], function["arguments"]))
    return calls


def _parts(message: Json, path: str) -> tuple[Part, ...]:
    content = message.get("content")
    refusal = message.get("refusal")
    made: list[Part] = []
    if isinstance(content, str):
        made.append(TextPart(content))
    for index, part in enumerate(content if isinstance(content, list) else []):
        made.append(_part(part, f"{path}.content[{index}]"))
    if refusal:
        made.append(RefusalPart(refusal))
    return tuple(made)


def _part(part: Json, path: str) -> Part:
    match part["type"]:
        case "text":
            return TextPart(part["text"])
        case "refusal":
            return RefusalPart(part["refusal"])
        case "image_url":
            return ImagePart(part["image_url"]["url"], part["image_url"].get("detail") or "auto", path)
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
