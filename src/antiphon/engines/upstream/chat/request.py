"""From a `Generation` to the body of `POST /chat/completions`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from antiphon.domain.errors import InvalidRequest
from antiphon.engines.upstream.profiles import Profile
from antiphon.engines.upstream.request_fields import asked_by, drawn
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
    Tool,
    ToolCall,
    ToolResult,
)
from antiphon.protocol.refusals import unsupported_value

Json = dict[str, Any]

#: The one argument of a custom tool, for servers that know functions only.
CUSTOM_INPUT = "input"
_JSON = "Answer with one JSON object only, and no other text."
_SCHEMA = "Answer with JSON only, and no other text. It must fit this JSON Schema: "
_MUST_CALL = "Answer by calling a tool."
#: Members of answers that say nothing to a model when they are sent back.
_ANSWERED = frozenset({"annotations", "refusal", "reasoning_content", "reasoning", "index", "logprobs", "id", "status"})
#: Members of a chat request that are for this server: what is stored is stored here.
_OURS = frozenset({"model", "store", "metadata", "stream", "stream_options"})


def body_of(generation: Generation, profile: Profile, model: str) -> Json:
    """The body. Fields of ours go before fields that we do not know.

    Raises `InvalidRequest` for what this kind of server cannot be asked.
    """
    body: Json = dict(generation.extra) if profile.extra else {}
    body |= {"model": model, "messages": messages_of(generation, profile), "stream": generation.streamed}
    if generation.streamed and profile.stream_usage:
        body["stream_options"] = {"include_usage": True}
    body |= tools_of(generation, profile)
    body |= _output(generation, profile)
    body |= _sampling(generation, profile)
    if generation.effort is not None and profile.reasoning_effort:
        body["reasoning_effort"] = generation.effort
    if generation.verbosity is not None and profile.verbosity:
        body["verbosity"] = generation.verbosity
    return body | asked_by(generation, profile)


def passthrough_body(given: Mapping[str, Any], profile: Profile, model: str, *, streamed: bool) -> Json:
    """A client's own request, as it is sent on: with the upstream's name of the model, and without what is for us."""
    body = {name: value for name, value in given.items() if name not in _OURS and value is not None}
    body["model"] = model
    if streamed:
        body["stream"] = True
        if profile.stream_usage:
            body["stream_options"] = {**(given.get("stream_options") or {}), "include_usage": True}
    # One limit goes there, under the name that is read there.
    former, most = body.pop("max_tokens", None), body.pop("max_completion_tokens", None)
    if most is not None or former is not None:
        body[profile.max_tokens_field] = former if most is None else most
    if not profile.developer_role:
        body["messages"] = [
            {**message, "role": "system"} if message.get("role") == "developer" else message
            for message in body["messages"]
        ]
    return _bare(body, profile) if profile.strict else body


def _bare(body: Json, profile: Profile) -> Json:
    """The request without what a strict server is known to refuse, though the client may have it from an answer."""
    supported = {"user": profile.user, "safety_identifier": profile.safety_identifier, "verbosity": profile.verbosity}
    body = {name: value for name, value in body.items() if supported.get(name, True)}
    body["messages"] = [
        {name: value for name, value in message.items() if value is not None and name not in _ANSWERED}
        if message["role"] == "assistant"
        else message
        for message in body["messages"]
    ]
    return body


def speaks(given: Mapping[str, Any], profile: Profile) -> bool:
    """Whether a client's own request can be sent to this kind of server with `passthrough_body`'s changes alone."""
    if given.get("seed") is not None and profile.seed_field != "seed":
        return False
    if given.get("verbosity") not in (None, "medium") and profile.strict and not profile.verbosity:
        return False
    if profile.short_call_ids and any(message.get("role") == "tool" for message in given["messages"]):
        return False
    if not profile.names and any(message.get("name") for message in given["messages"]):
        return False
    known = {
        "reasoning_effort": profile.reasoning_effort,
        "logprobs": profile.logprobs,
        "logit_bias": profile.logit_bias,
    }
    return all(is_known or not given.get(name) for name, is_known in known.items())


def takes_content(generation: Generation, profile: Profile) -> bool:
    """Whether this kind of server takes all kinds of content that are in the conversation."""
    supported = {ImagePart: profile.images, AudioPart: profile.audio, FilePart: profile.files}
    return all(
        supported.get(type(part), True) for turn in generation.turns if isinstance(turn, Message) for part in turn.parts
    )


# --- the conversation -------------------------------------------------------------------------------------------------
def messages_of(generation: Generation, profile: Profile) -> list[Json]:
    """The turns as messages. What the assistant thought, said and called in one go is one message."""
    messages: list[Json] = []
    # The assistant's message that calls may still be added to, and reasoning that waits for one.
    answer: Json | None = None
    thought: list[str] = []
    for turn in generation.turns:
        if isinstance(turn, ReasoningTurn):
            thought.append(turn.text)
            answer = None
            continue
        if isinstance(turn, ToolCall) or (isinstance(turn, Message) and turn.role == "assistant"):
            if answer is None or isinstance(turn, Message):
                answer = {"role": "assistant", "content": None}
                if thought and profile.reasoning_field is not None:
                    answer[profile.reasoning_field] = "\n".join(thought)
                thought = []
                messages.append(answer)
            _add(answer, turn, profile)
            continue
        answer, thought = None, []
        messages.append(_result(turn, profile) if isinstance(turn, ToolResult) else _message(turn, profile))
    return _hinted(messages, _hints(generation, profile))


def _add(answer: Json, turn: Message | ToolCall, profile: Profile) -> None:
    if isinstance(turn, Message):
        answer |= {**_more(turn.extra, profile), "content": _content(turn, profile) if turn.parts else None}
        return
    call_id = _call_id(turn.call_id, profile)
    if turn.kind == "custom" and profile.custom_tools:
        call: Json = {"id": call_id, "type": "custom", "custom": {"name": turn.name, "input": turn.arguments}}
    else:
        arguments = turn.arguments if turn.kind == "function" else json.dumps({CUSTOM_INPUT: turn.arguments})
        call = {"id": call_id, "type": "function", "function": {"name": turn.name, "arguments": arguments}}
    answer.setdefault("tool_calls", []).append(_more(turn.extra, profile) | call)


def _more(extra: Mapping[str, Any], profile: Profile) -> Json:
    """Members that the published API does not have, for a server that may know them."""
    return dict(extra) if profile.extra else {}


def _result(turn: ToolResult, profile: Profile) -> Json:
    return {
        **_more(turn.extra, profile),
        "role": "tool",
        "tool_call_id": _call_id(turn.call_id, profile),
        "content": turn.output,
    }


def _call_id(call_id: str, profile: Profile) -> str:
    """A call's id as the server takes it. The same id always becomes the same one."""
    if not profile.short_call_ids or (len(call_id) == 9 and call_id.isascii() and call_id.isalnum()):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]


def _message(turn: Message, profile: Profile) -> Json:
    role = "system" if turn.role == "developer" and not profile.developer_role else turn.role
    message: Json = {**_more(turn.extra, profile), "role": role, "content": _content(turn, profile)}
    if turn.name is not None and profile.names:
        message["name"] = turn.name
    return message


def _content(turn: Message, profile: Profile) -> str | list[Json]:
    """Text where it is only text: not every server takes parts in every role."""
    plain = all(isinstance(part, TextPart | RefusalPart) for part in turn.parts)
    if plain and not any(isinstance(part, TextPart) and _more(part.extra, profile) for part in turn.parts):
        return turn.text
    return [_part(part, profile) for part in turn.parts]


def _part(part: Part, profile: Profile) -> Json:
    match part:
        case RefusalPart():
            return {"type": "text", "text": part.text}
        case TextPart():
            return {**_more(part.extra, profile), "type": "text", "text": part.text}
        case ImagePart() if profile.images:
            return {
                **_more(part.extra, profile),
                "type": "image_url",
                "image_url": {"url": part.url, "detail": part.detail},
            }
        case AudioPart() if profile.audio:
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        case FilePart() if profile.files:
            given = {"file_data": part.data, "file_id": part.file_id, "filename": part.filename}
            return {"type": "file", "file": {name: value for name, value in given.items() if value is not None}}
    what = {ImagePart: "images", AudioPart: "audio", FilePart: "files"}[type(part)]
    raise InvalidRequest(
        f"Invalid '{part.path}': this model does not support {what}.",
        code="unsupported_content",
        param=part.path or None,
    )


# --- what the answer must be ------------------------------------------------------------------------------------------
def _hints(generation: Generation, profile: Profile) -> list[str]:
    """What must be said in words, because the server has no field for it."""
    hints = [generation.hint] if generation.hint and not profile.verbosity else []
    output = generation.output
    if generation.tool_choice.mode == "required" and not (profile.tool_choice_required or profile.tool_choice_named):
        hints.append(_MUST_CALL)
    elif output.kind == "json_schema" and not (profile.json_schema and profile.asks_for_json(generation)):
        hints.append(_SCHEMA + msgspec.json.encode(output.schema or {}).decode())
    elif output.kind == "json_object" and not (profile.json_object and profile.asks_for_json(generation)):
        hints.append(_JSON)
    return hints


def _hinted(messages: list[Json], hints: list[str]) -> list[Json]:
    """Hints go into the first system message: many models know only one."""
    if not hints:
        return messages
    text = "\n".join(hints)
    first = messages[0] if messages else None
    if first is not None and first["role"] in {"system", "developer"} and isinstance(first["content"], str):
        return [{**first, "content": f"{first['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def tools_of(generation: Generation, profile: Profile) -> Json:
    """`tools`, and what there is to say of them. Only those that may be called are sent; so no other can be."""
    tools = generation.callable_tools()
    if not tools:
        return {}
    fields: Json = {"tools": [_tool(tool, profile) for tool in tools]}
    choice = generation.tool_choice
    if choice.mode == "required":
        if len(tools) == 1 and profile.tool_choice_named:
            kind = fields["tools"][0]["type"]
            fields["tool_choice"] = {"type": kind, kind: {"name": tools[0].name}}
        elif profile.tool_choice_required:
            fields["tool_choice"] = profile.required_word
    if not choice.parallel and profile.parallel_tool_calls:
        fields["parallel_tool_calls"] = False
    return fields


def _tool(tool: Tool, profile: Profile) -> Json:
    described = {"description": tool.description} if tool.description else {}
    if tool.kind == "custom" and profile.custom_tools:
        custom: Json = {"name": tool.name, **described}
        if tool.grammar is not None:
            grammar = {"syntax": tool.grammar.syntax, "definition": tool.grammar.definition}
            custom["format"] = {"type": "grammar", "grammar": grammar}
        return {"type": "custom", "custom": custom}
    parameters = tool.parameters or {"type": "object", "properties": {}}
    if tool.kind == "custom":
        text = {CUSTOM_INPUT: {"type": "string"}}
        parameters = {"type": "object", "properties": text, "required": [CUSTOM_INPUT]}
    more = _more(tool.extra, profile)
    function: Json = {**more.pop("function", {}), "name": tool.name, **described, "parameters": parameters}
    if tool.strict and tool.parameters is not None and profile.strict_tools:
        function["strict"] = True
    return {**more, "type": "function", "function": function}


def _output(generation: Generation, profile: Profile) -> Json:
    output = generation.output
    if output.kind == "text" or not profile.asks_for_json(generation):
        return {}
    if output.kind == "json_schema" and profile.json_schema:
        schema = {"name": output.name, "schema": output.schema or {}, "strict": output.strict}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"response_format": {"type": "json_object"}} if profile.json_object else {}


# --- how tokens are drawn ---------------------------------------------------------------------------------------------
def _sampling(generation: Generation, profile: Profile) -> Json:
    sampling = generation.sampling
    fields: Json = drawn(sampling, profile)
    if sampling.seed is not None:
        fields[profile.seed_field] = sampling.seed
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.max_tokens is not None:
        fields[profile.max_tokens_field] = sampling.max_tokens
    if sampling.logit_bias:
        if not profile.logit_bias:
            raise unsupported_value("logit_bias", "'logit_bias' is not supported with this model.")
        fields["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if sampling.top_logprobs is not None:
        if not profile.logprobs:
            raise unsupported_value("top_logprobs", "Log probabilities are not supported with this model.")
        fields |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    return fields
