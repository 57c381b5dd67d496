"""From a `Generation` to the body of `POST /responses`: in our words, or in the client's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.domain.ids import new_id
from antiphon.engines.upstream.profiles import Profile
from antiphon.engines.upstream.request_fields import asked_by, drawn
from antiphon.protocol.generation import (
    FilePart,
    Generation,
    ImagePart,
    Message,
    OutputFormat,
    Part,
    ReasoningTurn,
    RefusalPart,
    TextPart,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from antiphon.protocol.refusals import unsupported_value

Json = dict[str, Any]

#: Members that count as input (published specification, `TokenCountsBody`).
_COUNTED = frozenset(
    {
        *("model", "input", "instructions", "tools", "tool_choice", "text", "reasoning", "truncation"),
        "parallel_tool_calls",
    }
)


def body_of(generation: Generation, profile: Profile, model: str) -> Json:
    """The body. Nothing is to be stored there: the whole conversation is sent each time.

    Raises `InvalidRequest` for what this API cannot be asked.
    """
    body: Json = dict(generation.extra) if profile.extra else {}
    body |= {"model": model, "input": _input(generation, profile), "store": False, "stream": generation.streamed}
    body |= _tools(generation)
    text: Json = {}
    if generation.verbosity is not None and profile.verbosity:
        text["verbosity"] = generation.verbosity
    if generation.output.kind != "text":
        text["format"] = _format(generation.output)
    if text:
        body["text"] = text
    if generation.effort is not None and profile.reasoning_effort:
        body["reasoning"] = {"effort": generation.effort}
    return body | asked_by(generation, profile) | _sampling(generation, profile)


def passthrough_body(given: Mapping[str, Any], profile: Profile, model: str, *, streamed: bool) -> Json:
    """A client's own request, as it is sent on: with the upstream's name of the model, and to be forgotten there."""
    body = dict(given)
    if not _takes_reasoning_text(profile):
        body["input"] = [sent for item in body["input"] if (sent := _without_text(item)) is not None]
    return body | {"model": model, "store": False, "stream": streamed}


def counted(body: Json) -> Json:
    """What of a request counts as input."""
    return {name: value for name, value in body.items() if name in _COUNTED}


def _takes_reasoning_text(profile: Profile) -> bool:
    """OpenAI takes its own sealed reasoning back, and no text of others."""
    return profile.name != "openai"


def _without_text(item: Json) -> Json | None:
    if item.get("type") != "reasoning":
        return item
    return {**item, "content": []} if item.get("encrypted_content") else None


# --- the conversation -------------------------------------------------------------------------------------------------
def _input(generation: Generation, profile: Profile) -> list[Json]:
    custom = {turn.call_id for turn in generation.turns if isinstance(turn, ToolCall) and turn.kind == "custom"}
    turns = [
        turn
        for turn in (generation.turns if profile.verbosity else generation.spoken())
        if not isinstance(turn, ReasoningTurn) or (turn.text and _takes_reasoning_text(profile))
    ]
    return [_item(turn, custom, profile) for turn in turns]


def _item(turn: Turn, custom: set[str], profile: Profile) -> Json:
    match turn:
        case Message(role="assistant"):
            content = [_assistant_part(part) for part in turn.parts]
            return {"type": "message", "role": "assistant", "content": content, "status": "completed"}
        case Message():
            role = "system" if turn.role == "developer" and not profile.developer_role else turn.role
            return {"type": "message", "role": role, "content": [_part(part, profile) for part in turn.parts]}
        case ToolCall(kind="custom"):
            return {"type": "custom_tool_call", "call_id": turn.call_id, "name": turn.name, "input": turn.arguments}
        case ToolCall():
            return {"type": "function_call", "call_id": turn.call_id, "name": turn.name, "arguments": turn.arguments}
        case ToolResult():
            kind = "custom_tool_call_output" if turn.call_id in custom else "function_call_output"
            return {"type": kind, "call_id": turn.call_id, "output": turn.output}
        case ReasoningTurn():
            text = {"type": "reasoning_text", "text": turn.text}
            return {"type": "reasoning", "id": new_id("rs_"), "summary": [], "content": [text]}


def _assistant_part(part: Part) -> Json:
    if isinstance(part, RefusalPart):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": getattr(part, "text", ""), "annotations": []}


def _part(part: Part, profile: Profile) -> Json:
    match part:
        case TextPart() | RefusalPart():
            return {"type": "input_text", "text": part.text}
        case ImagePart() if profile.images:
            name = "image_url" if ":" in part.url else "file_id"
            return {"type": "input_image", name: part.url, "detail": part.detail}
        case FilePart() if profile.files:
            given = {"file_data": part.data, "file_id": part.file_id, "filename": part.filename}
            return {"type": "input_file", **{name: value for name, value in given.items() if value is not None}}
    what = {ImagePart: "images", FilePart: "files"}.get(type(part), "audio")
    raise InvalidRequest(
        f"Invalid '{part.path}': this model does not support {what}.",
        code="unsupported_content",
        param=part.path or None,
    )


# --- what the answer must be ------------------------------------------------------------------------------------------
def _tools(generation: Generation) -> Json:
    if not generation.tools:
        return {}
    choice = generation.tool_choice
    fields: Json = {"tools": [_tool(tool) for tool in generation.tools]}
    if not choice.parallel:
        fields["parallel_tool_calls"] = False
    if choice.names is None:
        fields["tool_choice"] = choice.mode
        return fields
    named = [{"type": tool.kind, "name": tool.name} for tool in generation.tools if tool.name in choice.names]
    if choice.mode == "required" and len(named) == 1:
        fields["tool_choice"] = named[0]
    else:
        fields["tool_choice"] = {"type": "allowed_tools", "mode": choice.mode, "tools": named}
    return fields


def _tool(tool: Tool) -> Json:
    described = {"description": tool.description} if tool.description else {}
    if tool.kind == "custom":
        custom: Json = {"type": "custom", "name": tool.name, **described}
        if tool.grammar is not None:
            syntax, definition = tool.grammar.syntax, tool.grammar.definition
            custom["format"] = {"type": "grammar", "syntax": syntax, "definition": definition}
        return custom
    # Left out, `strict` would be true.
    parameters = tool.parameters or {"type": "object", "properties": {}}
    strict = tool.strict and tool.parameters is not None
    return {"type": "function", "name": tool.name, **described, "parameters": parameters, "strict": strict}


def _format(output: OutputFormat) -> Json:
    if output.kind == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "name": output.name, "schema": output.schema or {}, "strict": output.strict}


# --- how tokens are drawn ---------------------------------------------------------------------------------------------
def _sampling(generation: Generation, profile: Profile) -> Json:
    """Without what this API does not have: a seed is a wish, and stop sequences are looked for here."""
    sampling = generation.sampling
    if sampling.logit_bias:
        raise unsupported_value("logit_bias", "'logit_bias' is not supported with this model.")
    fields: Json = drawn(sampling, profile)
    if sampling.max_tokens is not None:
        fields["max_output_tokens"] = max(limits.LEAST_OUTPUT, sampling.max_tokens)
    if sampling.top_logprobs is not None:
        fields |= {"top_logprobs": sampling.top_logprobs, "include": ["message.output_text.logprobs"]}
    return fields
