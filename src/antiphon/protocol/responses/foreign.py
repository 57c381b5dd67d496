"""What another server says, before it is believed: each check gives what passes it, or raises `UpstreamFailed`."""

from __future__ import annotations

import re
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import UpstreamFailed
from antiphon.protocol.responses.streamed import ITEM_TEXTS, PART_TEXTS, Item, Json
from antiphon.wire import json as wire_json

#: A plain identifier: types, reasons, tiers.
WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: Digits of a position that is written as a text.
_DIGITS = 10
#: Types of items that every model may make; the others are hosted tools'.
PLAIN = frozenset({"message", "reasoning", "function_call", "custom_tool_call"})


def invalid_event() -> UpstreamFailed:
    """What came is no stream of a response."""
    return UpstreamFailed("The model's server answered with events that make no response.", code="upstream_invalid")


def decoded(data: bytes) -> Json:
    """An event."""
    try:
        event = wire_json.decode(data, max_depth=limits.MAX_JSON_DEPTH - 2, max_values=limits.MAX_UPSTREAM_VALUES)
    except wire_json.MalformedJSON:
        raise invalid_event() from None
    if not isinstance(event, dict):
        raise invalid_event()
    return event


def position(value: Any) -> int:
    """A position in a list. Some servers write it as a text, or with a fraction that is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _DIGITS:
        return int(value)
    if isinstance(value, float) and value.is_integer() and value >= 0:
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise invalid_event()
    return value


def matches(value: Any, pattern: re.Pattern[str]) -> bool:
    """Whether it is a text of that form."""
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def named(item: Item) -> Json:
    """The published `done` event of a function's arguments names the function."""
    return {"name": item.body["name"]} if item.kind == "function_call" else {}


def checked_item(body: Any) -> Json:
    """A copy of an item that has what those who read it rely on."""
    if not isinstance(body, dict) or not matches(body.get("type"), WORD):
        raise invalid_event()
    item = dict(body)
    match item["type"]:
        case "message":
            if item.get("role", "assistant") != "assistant":
                raise invalid_event()
            item |= {"role": "assistant", "content": _checked_parts(item.get("content"))}
        case "reasoning":
            item["summary"] = _checked_parts(item.get("summary"))
            if item.get("content") is None:
                item.pop("content", None)
            else:
                item["content"] = _checked_parts(item["content"])
            if not isinstance(item.get("encrypted_content"), str | None):
                raise invalid_event()
        case "function_call" | "custom_tool_call":
            if not all(isinstance(item.get(name), str) and item[name] for name in ("name", "call_id")):
                raise invalid_event()
    if item["type"] in ITEM_TEXTS:
        _check_text(item, ITEM_TEXTS[item["type"]][1])
    return item


def _check_text(item: Json, name: str) -> None:
    """The text of an item, which some servers have as the object that it writes."""
    if isinstance(item.get(name), dict):
        item[name] = wire_json.encode(item[name]).decode()
    if not isinstance(item.get(name), str | None):
        raise invalid_event()
    if item["type"] in PLAIN:
        item[name] = item.get(name) or ""


def _checked_parts(parts: Any) -> list[Json]:
    if parts is None:
        return []
    if not isinstance(parts, list):
        raise invalid_event()
    return [checked_part(part) for part in parts]


def checked_part(part: Any) -> Json:
    """A part that has what those who read it rely on."""
    if not isinstance(part, dict) or not matches(part.get("type"), WORD):
        raise invalid_event()
    kind = part["type"]
    if kind in PART_TEXTS and not isinstance(part.get(PART_TEXTS[kind][1]), str):
        raise invalid_event()
    if not isinstance(part.get("annotations"), list | None):
        raise invalid_event()
    if kind != "output_text":
        # Of texts only.
        return {name: value for name, value in part.items() if name not in ("annotations", "logprobs")}
    return part


def checked_logprobs(value: Any) -> list[Json]:
    """Log probabilities, if they are a list of what they should be."""
    entries = value if isinstance(value, list) else []
    if not all(isinstance(entry, dict) and "token" in entry and "logprob" in entry for entry in entries):
        raise invalid_event()
    return entries


def is_usage(value: Any) -> bool:
    """Whether these are token counts that add up (schema `ResponseUsage`)."""
    given, made, total = (_count(value, name) for name in ("input_tokens", "output_tokens", "total_tokens"))
    if given is None or made is None or total != given + made:
        return False
    cached = _count(value.get("input_tokens_details"), "cached_tokens")
    thought = _count(value.get("output_tokens_details"), "reasoning_tokens")
    return cached is not None and thought is not None and cached <= given and thought <= made


def _count(value: Any, name: str) -> int | None:
    count = value.get(name) if isinstance(value, dict) else None
    if not isinstance(count, int) or isinstance(count, bool):
        return None
    return count if 0 <= count <= limits.MAX_TOKENS_TOLD else None
