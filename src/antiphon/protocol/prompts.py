"""Prompts: what a version holds, and how it becomes part of a request. No I/O.

A version's template is `{instructions, messages, variables, defaults}`. `{{name}}` in its texts stands for a variable.
What is put in is never looked at again, so a value that looks like a variable stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.protocol.refusals import missing_parameter, unknown_parameter
from antiphon.protocol.responses import request as requests
from antiphon.wire import schema

Json = dict[str, Any]

#: Parameters of a request that a prompt may bring. What belongs to a single call (who is asking, what is stored, how it
#: is sent) is not among them.
DEFAULTS = (
    "model", "temperature", "top_p", "max_output_tokens", "max_tool_calls", "top_logprobs", "tools", "tool_choice",
    "parallel_tool_calls", "text", "reasoning", "truncation", "context_management", "include", "metadata",
    "service_tier",
)  # fmt: skip
#: The members of a version that say what is asked.
CONTENT = ("instructions", "messages", "variables", "defaults")
_NAME = r"[A-Za-z_][A-Za-z0-9_-]{0,63}"
_PLACE = re.compile(r"\{\{[ \t]*(" + _NAME + r")[ \t]*\}\}")
#: What a variable may be: the same as in a request's `prompt.variables`.
_VALUE = {
    "string": {},
    "switch": {
        "on": "type",
        "cases": {
            "input_text": {"ref": "InputTextContent"},
            "input_image": {"ref": "InputImageContent"},
            "input_file": {"ref": "InputFileContent"},
        },
    },
}


@cache
def _shape(*more: str) -> Json:
    """The shape of a body with a version's members and the members `more` (of "name" and "publish")."""
    variable = {"properties": {"default": _VALUE, "description": {"string": {"maxLength": 512}}}, "required": []}
    variables = {
        "properties": {},
        "required": [],
        "others": {"object": variable},
        "maxProperties": limits.MAX_PROMPT_VARIABLES,
        "names": {"pattern": f"^{_NAME}$"},
    }
    defaults = {"properties": schema.members("CreateResponse", DEFAULTS), "required": []}
    properties = {
        "instructions": {"string": {}},
        "messages": {"array": {"maxItems": limits.MAX_PROMPT_MESSAGES, "items": {"ref": "MessageItem"}}},
        "variables": {"object": variables},
        "defaults": {"object": defaults},
        "name": {"string": {"minLength": 1, "maxLength": limits.MAX_PROMPT_NAME}},
        "publish": {"boolean": {}},
    }
    kept = {name: shape for name, shape in properties.items() if name in (*CONTENT, *more)}
    return {"object": {"properties": kept, "required": ["name"] if "name" in more else []}}


# --- what a version holds ---------------------------------------------------------------------------------------------
def check_members(body: object, *more: str) -> Json:
    """A body with a version's members and `more` (of "name" and "publish"), without its nulls. Raises `InvalidRequest`.

    The content itself is checked by `template`.
    """
    problem = schema.check_shape(_shape(*more), body)
    if problem is not None:
        raise InvalidRequest(problem.message, code=problem.code, param=problem.param)
    assert isinstance(body, dict)
    return {name: value for name, value in body.items() if value is not None}


def check_name(name: str) -> str:
    """A prompt's name, which one line must be able to show. Raises `InvalidRequest`."""
    if not name.strip() or len(name) > limits.MAX_PROMPT_NAME or not name.isprintable():
        raise InvalidRequest(
            f"Invalid 'name': a prompt's name has 1 to {limits.MAX_PROMPT_NAME} printable characters.",
            code="invalid_value",
            param="name",
        )
    return name


def template(body: Mapping[str, Any]) -> Json:
    """The content of a version as it is stored: all four members, and every variable that a text uses declared.

    `body` has passed `check_members`. Raises `InvalidRequest` for what no request could use.
    """
    content: Json = {
        "instructions": body.get("instructions"),
        "messages": [_without_nulls(message) for message in body.get("messages") or []],
        "variables": {name: _without_nulls(value or {}) for name, value in (body.get("variables") or {}).items()},
        "defaults": _without_nulls(body.get("defaults") or {}),
    }
    if not content["instructions"] and not content["messages"]:
        raise InvalidRequest(
            "A prompt has 'instructions' or 'messages'.", code="missing_required_parameter", param="instructions"
        )
    for name in _used(content):
        content["variables"].setdefault(name, {})
    if len(content["variables"]) > limits.MAX_PROMPT_VARIABLES:
        raise InvalidRequest(
            f"A prompt has at most {limits.MAX_PROMPT_VARIABLES} variables.",
            code="object_above_max_properties",
            param="variables",
        )
    size = len(msgspec.json.encode(content))
    if size > limits.MAX_PROMPT:
        raise InvalidRequest(
            f"The prompt is {size} bytes as JSON; at most {limits.MAX_PROMPT} are kept.", code="prompt_too_large"
        )
    _try(content)
    return content


def _without_nulls(value: Json) -> Json:
    return {name: inner for name, inner in value.items() if inner is not None}


def _used(content: Json) -> Iterator[str]:
    """The variables that the texts use."""
    for text in _texts(content):
        for found in _PLACE.finditer(text):
            yield found.group(1)


def _texts(content: Json) -> Iterator[str]:
    if content["instructions"]:
        yield content["instructions"]
    for message in content["messages"]:
        if isinstance(message["content"], str):
            yield message["content"]
        else:
            yield from (part["text"] for part in message["content"] if isinstance(part.get("text"), str))


def _try(content: Json) -> None:
    """Refuse defaults now that every request would be refused for: a tool without a name, a choice of no tool."""
    body = {"model": "any", "input": "any", **msgspec.json.decode(msgspec.json.encode(content["defaults"]))}
    try:
        requests.parse(body, {})
    except InvalidRequest as error:
        if error.param is not None:
            param = f"defaults.{error.param}"
            raise error.restated(param=param, message=error.message.replace(f"'{error.param}'", f"'{param}'")) from None
        raise


# --- how it becomes part of a request ---------------------------------------------------------------------------------
def resolve(body: Json, content: Json, version: int) -> Json:
    """A request's body with its prompt put in: what the request says itself goes before what the prompt says.

    `content` is a version's template. The prompt's messages go before the conversation, as instructions do: with
    messages, the new `instructions` are a list of items, and `input` may be left out. Raises `InvalidRequest` that
    names a variable as `prompt.variables.NAME`.
    """
    prompt = body["prompt"]
    given: Json = prompt.get("variables") or {}
    values = _values(content["variables"], given)
    _check_size(content, values)
    said = {name: value for name, value in body.items() if value is not None}
    resolved = {**content["defaults"], **said}
    instructions = said.get("instructions")
    if instructions is None and content["instructions"] is not None:
        instructions = _fill_text(content["instructions"], values)
    messages = [_fill_message(message, values) for message in content["messages"]]
    if messages:
        leading = [{"role": "developer", "content": instructions}] if instructions else []
        resolved["instructions"] = requests.instruction_items([*leading, *messages])
        resolved.setdefault("input", [])
    elif instructions is not None:
        resolved["instructions"] = instructions
    shown = {name: _full(value) for name, value in given.items()}
    resolved["prompt"] = {"id": prompt["id"], "version": str(version), "variables": shown}
    return resolved


def _full(value: str | Json) -> str | Json:
    """A variable as the published answers show it: an image always has its `detail`."""
    if isinstance(value, dict) and value["type"] == "input_image":
        return {**value, "detail": value.get("detail") or "auto"}
    return value


def _values(declared: Json, given: Json) -> Json:
    for name in given:
        if name not in declared:
            raise unknown_parameter(f"prompt.variables.{name[:100]}")
    values = {}
    for name, variable in declared.items():
        value = given.get(name)
        if value is None:
            value = variable.get("default")
        if value is None:
            raise missing_parameter(f"prompt.variables.{name}")
        values[name] = value
    return values


def _check_size(content: Json, values: Json) -> None:
    """A long value in many places could make any amount of text of a small request."""
    sizes = {name: len(msgspec.json.encode(value)) for name, value in values.items()}
    total = limits.MAX_PROMPT + sum(sizes[name] for name in _used(content))
    if total > limits.MAX_RESOLVED_PROMPT:
        raise InvalidRequest(
            f"With its variables put in, the prompt is larger than {limits.MAX_RESOLVED_PROMPT} bytes.",
            code="prompt_too_large",
            param="prompt.variables",
        )


def _fill_text(text: str, values: Json) -> str:
    """A text that has room for text only."""

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        inner = values[name]
        if isinstance(inner, str):
            return inner
        if inner["type"] == "input_text":
            plain: str = inner["text"]
            return plain
        raise InvalidRequest(
            f"Invalid type for 'prompt.variables.{name}': the prompt uses it where only text can be.",
            code="invalid_type",
            param=f"prompt.variables.{name}",
        )

    return _PLACE.sub(value, text)


def _fill_message(message: Json, values: Json) -> Json:
    content = message["content"]
    if message["role"] != "user":
        return {**message, "content": _map_texts(content, lambda text: _fill_text(text, values))}
    if isinstance(content, str):
        content = [{"type": "input_text", "text": content}]
    parts: list[Json] = []
    for part in content:
        parts += _fill_part(part, values) if part["type"] == "input_text" else [part]
    return {**message, "content": parts}


def _map_texts(content: str | list[Json], fill: Callable[[str], str]) -> str | list[Json]:
    if isinstance(content, str):
        return fill(content)
    return [{**part, "text": fill(part["text"])} if isinstance(part.get("text"), str) else part for part in content]


def _fill_part(part: Json, values: Json) -> list[Json]:
    """A user's text as one part, or as several where a variable is a part of its own."""
    parts: list[Json] = []
    text = ""
    pieces = _PLACE.split(part["text"])
    for index, piece in enumerate(pieces):
        # What stands between two places, then the name of a variable, and so on.
        value = values[piece] if index % 2 else piece
        if isinstance(value, str):
            text += value
            continue
        if text:
            parts.append({**part, "text": text})
        parts.append(value)
        text = ""
    if text or not parts:
        parts.append({**part, "text": text})
    return parts
