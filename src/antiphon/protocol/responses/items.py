"""Items as clients send them, as they are stored, and as the model is shown them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.domain.ids import new_id
from antiphon.protocol import toolset
from antiphon.protocol.generation import (
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
from antiphon.protocol.refusals import unsupported_value
from antiphon.protocol.responses import item_types
from antiphon.protocol.responses.client_tools import function_name
from antiphon.protocol.unknown import unread

Json = dict[str, Any]

#: What every model is shown as what it is; of other types it is shown what they say (`item_types`).
_PLAIN = frozenset(
    {
        *("message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"),
        "reasoning",
    }
)


#: Members of them that are read here, or say nothing to a model. What else there is may be known to another server.
_MESSAGE = frozenset({"type", "id", "role", "content", "status", "phase", "created_by"})
_CALL = frozenset(
    {
        *("type", "id", "call_id", "name", "namespace", "arguments", "input", "status", "caller", "async"),
        "created_by",
    }
)
_PART = frozenset(
    {
        *("type", "text", "annotations", "logprobs", "detail", "image_url", "file_id", "prompt_cache_breakpoint"),
    }
)


def normalize_input(value: str | list[Json], *, path: str = "input") -> list[Json]:
    """The request's `input` as full items with ids and types, as they are stored and listed.

    A string is one user message; easy messages become typed ones. `item_reference`s stay (see `references`). `path`:
    where the items stand in the request.
    Types that are not known here are for a server that knows them; whoever checks the request sees to that. Raises
    `InvalidRequest` for an item that has no meaning where it stands.
    """
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    return [_normalize_item(item, f"{path}[{index}]") for index, item in enumerate(value)]


def _normalize_item(item: Json, path: str) -> Json:
    item_type = item.get("type") or ("message" if "role" in item else "item_reference")
    if item_type == "item_reference":
        return {"type": "item_reference", "id": item["id"], "path": path}
    if item_type == "compaction_trigger":
        # It stands at the end, and has been taken out there.
        raise unsupported_value(f"{path}.type", f"Items of type '{item_type}' must be the last one.")
    # The output of a local shell has the id of its call (published specification); some clients call it `call_id`.
    given = item.get("call_id") if item_type == "local_shell_call_output" and not item.get("id") else item.get("id")
    item_id = _checked_id(given, path) or new_id(item_types.of(item_type).prefix)
    full = item_types.full({**item, "id": item_id, "type": item_type}, item_type)
    if item_type == "message":
        full["content"] = _normalize_content(item["role"], item["content"])
    return full


def _checked_id(item_id: str | None, path: str) -> str | None:
    """The client's own id of an item, which must be one that the store can keep."""
    if item_id and ("\x00" in item_id or len(item_id.encode()) > limits.MAX_ID):
        raise InvalidRequest(
            f"Invalid '{path}.id': an id has at most {limits.MAX_ID} bytes, none of them NUL.",
            code="invalid_value",
            param=f"{path}.id",
        )
    return item_id


def _normalize_content(role: str, content: str | list[Json]) -> list[Json]:
    if isinstance(content, str):
        content = [{"type": "input_text", "text": content}]
    return [_full_part(role, part) for part in content]


def _full_part(role: str, part: Json) -> Json:
    """A part with the members that the published output schemas require, as clients may leave them out of input.

    What the assistant said is output; the easy form of messages lets clients call it input.
    """
    if part["type"] == "output_text" or (part["type"] == "input_text" and role == "assistant"):
        return {
            **part,
            "type": "output_text",
            "annotations": part.get("annotations") or [],
            "logprobs": part.get("logprobs") or [],
        }
    if part["type"] == "input_image":
        return {**part, "detail": part.get("detail") or "auto", "image_url": part.get("image_url")}
    return part


def references(items: Iterable[Json]) -> list[str]:
    """The ids that `item_reference`s name."""
    return [item["id"] for item in items if item["type"] == "item_reference"]


def resolve_references(items: Sequence[Json], found: dict[str, Json]) -> list[Json]:
    """Items with every reference replaced by the item it names. Raises `InvalidRequest` for one that is not known."""
    resolved = []
    for item in items:
        if item["type"] != "item_reference":
            resolved.append(item)
        elif item["id"] in found:
            resolved.append(found[item["id"]])
        else:
            raise InvalidRequest(
                f"Item with id '{item['id']}' not found.", code="item_not_found", param=f"{item['path']}.id"
            )
    return resolved


def whole(items: Iterable[Json]) -> list[Json]:
    """Items of the past without calls that were cut off: their arguments are no JSON, and nobody can answer them."""
    return [item for item in items if not (item["type"].endswith("_call") and item.get("status") == "incomplete")]


def turns(
    items: Sequence[Json], *, path: str = "input", offset: int = 0, pairs: frozenset[str] | None = None
) -> list[Turn]:
    """Items as the model is shown them. `path` and `offset` say where the first one stands.

    `pairs`: calls of hosted tools that have their output, where that may stand elsewhere (`item_types.paired`).
    """
    known = item_types.paired(items) if pairs is None else pairs
    return [turn for index, item in enumerate(items) for turn in _turns(item, f"{path}[{offset + index}]", known)]


def _turns(item: Json, path: str, pairs: frozenset[str]) -> list[Turn]:
    if item["type"] in _PLAIN:
        return [_turn(item, path)]
    return item_types.hosted_turns(item, pairs)


def _turn(item: Json, path: str) -> Turn:
    match item["type"]:
        case "function_call":
            return ToolCall(item["call_id"], _name(item), item["arguments"], "function", unread(item, _CALL))
        case "custom_tool_call":
            return ToolCall(item["call_id"], _name(item), item["input"], "custom", unread(item, _CALL))
        case "function_call_output" | "custom_tool_call_output":
            return ToolResult(_call_id(item, path), _output_text(item["output"], f"{path}.output"))
        case "reasoning":
            parts = item.get("content") or item.get("summary") or []
            return ReasoningTurn("\n".join(part["text"] for part in parts))
        case _:
            content = [_part(part, f"{path}.content[{index}]") for index, part in enumerate(item["content"])]
            return Message(item["role"], tuple(content), extra=unread(item, _MESSAGE))


def _name(item: Json) -> str:
    """What the tool of a call was offered as."""
    return function_name(item["name"], item.get("namespace"))


def _call_id(item: Json, path: str) -> str:
    call_id = item.get("call_id")
    if not isinstance(call_id, str):
        raise InvalidRequest(
            f"Missing required parameter: '{path}.call_id'.",
            code="missing_required_parameter",
            param=f"{path}.call_id",
        )
    return call_id


def _part(part: Json, path: str) -> Part:
    match part["type"]:
        case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
            return TextPart(part["text"], unread(part, _PART))
        case "refusal":
            return RefusalPart(part["refusal"])
        case "input_image":
            return ImagePart(
                part.get("image_url") or part.get("file_id") or "", part["detail"], path, unread(part, _PART)
            )
        case "input_file":
            return FilePart(part.get("file_data"), part.get("file_id"), part.get("filename"), path)
        case other:
            raise unsupported_value(f"{path}.type", f"Content of type '{other}' is not supported with this model.")


def _output_text(output: str | list[Json], path: str) -> str:
    """A tool's output as text. Parts that are not text have no place in a tool message."""
    if isinstance(output, str):
        return output
    texts = []
    for index, part in enumerate(output):
        if part["type"] != "input_text":
            raise unsupported_value(
                f"{path}[{index}].type",
                f"Tool outputs of type '{part['type']}' are not supported with this model.",
            )
        texts.append(part["text"])
    return "\n".join(texts)


def check_calls(conversation: Sequence[Turn]) -> None:
    """Every tool result has its call before it, and every call its result after it."""
    toolset.check_calls(
        [
            ("call" if isinstance(turn, ToolCall) else "result", turn.call_id)
            for turn in conversation
            if isinstance(turn, ToolCall | ToolResult)
        ]
    )
