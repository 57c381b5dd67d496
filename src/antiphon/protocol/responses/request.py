"""From a checked request body to what the driver needs: a generation, the items to keep, the object to answer with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from antiphon.domain.errors import InvalidRequest
from antiphon.domain.ids import new_id
from antiphon.protocol import toolset
from antiphon.protocol.generation import (
    Generation,
    Message,
    OutputFormat,
    Sampling,
    TextPart,
    ToolChoice,
    Turn,
)
from antiphon.protocol.numbers import make_whole
from antiphon.protocol.refusals import (
    Unserved,
    check_count,
    check_id,
    missing_parameter,
    unsupported_parameter,
    unsupported_value,
)
from antiphon.protocol.responses import compaction, tools
from antiphon.protocol.responses import items as item_rules
from antiphon.protocol.responses.item_types import full_tool
from antiphon.protocol.responses.items import Json
from antiphon.protocol.responses.tools import Offered

#: Parameters that nothing here serves yet, and why each is refused rather than ignored.
_REFUSED = {"background_options": "is not supported by this server"}
#: The same, but a server behind this one may serve them.
_UNSERVED = {
    "access_programs": "is not available on this server",
    "moderation": "is not supported by this server",
}
#: Members that the schema knows as integers.
_INTEGERS = ("max_output_tokens", "max_tool_calls", "top_logprobs")


class ResponseRequest(msgspec.Struct, frozen=True):
    """One `POST /responses`, understood. `items` are the input items to store (references not resolved yet).

    `offered`: the tools that a model of ours can be given, and what of the request no engine of ours can do: only a
    server that gets the request as it is may serve that.
    """

    model: str
    stream: bool
    store: bool
    previous_response_id: str | None
    conversation: str | None
    items: list[Json]
    obfuscate: bool
    show_logprobs: bool
    truncate: bool
    seal_thoughts: bool
    effort: str | None
    instructions: str | list[Json] | None
    offered: Offered
    tool_choice: ToolChoice
    output: OutputFormat
    sampling: Sampling
    extra: Mapping[str, Any]
    body: Json
    compact: compaction.CompactionPolicy | None = None

    def generation(self, engine_model: str, conversation: Sequence[Turn]) -> Generation:
        """What the engine is asked: instructions first, then the whole conversation."""
        # A prompt with messages has made a list of the instructions.
        listed = self.instructions if isinstance(self.instructions, list) else []
        order = self.instructions if isinstance(self.instructions, str) else ""
        system: list[Turn] = [Message("system", (TextPart(order),))] if order else []
        system += item_rules.turns(listed, path="instructions")
        return Generation(
            model=engine_model,
            turns=(*system, *toolset.arranged(conversation)),
            tools=self.offered.tools,
            tool_choice=self.tool_choice,
            output=self.output,
            sampling=self.sampling,
            effort=self.effort,
            extra=self.extra,
            streamed=bool(self.body.get("stream")),
            affinity=self.body.get("prompt_cache_key"),
            tier=self.body.get("service_tier"),
            verbosity=(self.body.get("text") or {}).get("verbosity"),
            user=self.body.get("user"),
            safety_identifier=self.body.get("safety_identifier"),
        )


def parse(body: Json, extra: Mapping[str, Any]) -> ResponseRequest:
    """Understand a body that has passed the published schema. `extra` are top-level fields the schema does not know.

    Raises `InvalidRequest` for what the API allows and this server cannot serve, naming the parameter.
    """
    make_whole(body, _INTEGERS)
    for name, why in _REFUSED.items():
        if body.get(name):
            raise unsupported_parameter(name, why)
    if not body.get("model"):
        raise missing_parameter("model")
    conversation = conversation_of(body)
    if body.get("previous_response_id") is not None:
        check_id(body["previous_response_id"], "resp_", "previous_response_id")
    if body.get("input") is None:
        if conversation is None:
            raise missing_parameter("input")
        # What is in the conversation already is answered.
        body["input"] = []
    sent = compaction.without_trigger(body["input"])
    check_count("input", sent)
    if body.get("max_tool_calls") is not None and body["max_tool_calls"] < 1:
        raise InvalidRequest(
            f"Invalid 'max_tool_calls': integer below minimum value. Expected a value >= 1, but got "
            f"{body['max_tool_calls']} instead.",
            code="integer_below_min_value",
            param="max_tool_calls",
        )
    offered, choice = _tools(body)
    output = OutputFormat()
    try:
        output = output_format((body.get("text") or {}).get("format"))
    except Unserved as refusal:
        offered = msgspec.structs.replace(offered, unserved=offered.unserved or refusal)
    return ResponseRequest(
        model=body["model"],
        stream=bool(body.get("stream")),
        store=body.get("store") is not False,
        previous_response_id=body.get("previous_response_id"),
        conversation=conversation,
        items=item_rules.normalize_input(sent),
        obfuscate=(body.get("stream_options") or {}).get("include_obfuscation") is not False,
        show_logprobs="message.output_text.logprobs" in (body.get("include") or ()),
        truncate=body.get("truncation") == "auto",
        seal_thoughts="reasoning.encrypted_content" in (body.get("include") or ()),
        effort=(body.get("reasoning") or {}).get("effort"),
        instructions=body.get("instructions"),
        offered=offered,
        tool_choice=choice,
        output=output,
        sampling=_sampling(body),
        extra=extra,
        body=body,
        compact=compaction.compaction_policy(body),
    )


def _tools(body: Json) -> tuple[Offered, ToolChoice]:
    """The tools that can be called here, and how they are chosen."""
    offered = tools.offer(body.get("tools") or [])
    parallel = body.get("parallel_tool_calls") is not False
    unserved = [unsupported_parameter(name, why) for name, why in _UNSERVED.items() if body.get(name)]
    choice = ToolChoice(parallel=parallel)
    try:
        choice = tools.choose(body.get("tool_choice"), offered, parallel=parallel)
    except Unserved as refusal:
        unserved.append(refusal)
    if unserved and offered.unserved is None:
        offered = msgspec.structs.replace(offered, unserved=unserved[0])
    return offered, choice


def conversation_of(body: Json) -> str | None:
    """The id of the conversation that a response is asked for in. Raises `InvalidRequest` if it follows another too."""
    conversation: str | Json | None = body.get("conversation")
    if conversation is not None and body.get("previous_response_id") is not None:
        raise InvalidRequest(
            "Mutually exclusive parameters: 'conversation' and 'previous_response_id'. Ensure you are only providing "
            "one of them.",
            code="mutually_exclusive_parameters",
            param="conversation",
        )
    conversation = conversation["id"] if isinstance(conversation, dict) else conversation
    return None if conversation is None else check_id(conversation, "conv_", "conversation")


def instruction_items(messages: list[Json]) -> list[Json]:
    """Messages of a prompt as the items that `instructions` then are."""
    return [{**item, "type": "message"} for item in item_rules.normalize_input(messages)]


def _sampling(body: Json) -> Sampling:
    wanted = "message.output_text.logprobs" in (body.get("include") or ())
    return msgspec.structs.replace(
        toolset.common_sampling(body),
        max_tokens=body.get("max_output_tokens"),
        top_logprobs=(body.get("top_logprobs") or 0) if wanted else None,
    )


def output_format(text_format: Json | None) -> OutputFormat:
    """What `text.format` asks for. Raises `InvalidRequest` for a strict schema that breaks the rules of strict mode."""
    match (text_format or {}).get("type", "text"):
        case "json_schema":
            assert text_format is not None
            return toolset.json_schema_format(text_format, "text.format.schema")
        case "json_object":
            return OutputFormat("json_object")
        case "text":
            return OutputFormat()
        case other:
            raise unsupported_value("text.format.type", f"Output of the format '{other}' is not supported.")


# --- the answer's object ----------------------------------------------------------------------------------------------
def new_response(request: ResponseRequest, model: str, created_at: int) -> Json:
    """The Response object as created: everything echoed, nothing made yet.

    It has every member that either published specification requires (`ResponseResource` of Open Responses requires
    more than `Response` of OpenAI).
    """
    body = request.body
    reasoning = body.get("reasoning") or {}
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": created_at,
        "status": "in_progress",
        "background": bool(body.get("background")),
        "completed_at": None,
        "error": None,
        "frequency_penalty": request.sampling.frequency_penalty,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "model": model,
        "output": [],
        "parallel_tool_calls": request.tool_choice.parallel,
        "presence_penalty": request.sampling.presence_penalty,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "prompt_cache_retention": body.get("prompt_cache_retention"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": body.get("safety_identifier"),
        # There is one tier here, whatever was asked for.
        "service_tier": "default",
        "store": request.store,
        "temperature": request.sampling.temperature,
        "text": _echo_text(body.get("text")),
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [full_tool(tool) for tool in body.get("tools") or []],
        "top_logprobs": body.get("top_logprobs") or 0,
        "top_p": request.sampling.top_p,
        "truncation": body.get("truncation") or "disabled",
        "usage": None,
        "metadata": body.get("metadata") or {},
        **({"conversation": {"id": request.conversation}} if request.conversation is not None else {}),
        **({"prompt": body["prompt"]} if body.get("prompt") else {}),
        # Not nullable in the published schema.
        **({"user": body["user"]} if body.get("user") is not None else {}),
    }


def _echo_text(text: Json | None) -> Json:
    text_format = (text or {}).get("format") or {"type": "text"}
    if text_format["type"] == "json_schema":
        text_format = {
            "type": "json_schema",
            "description": text_format.get("description"),
            "name": text_format["name"],
            "schema": text_format["schema"],
            "strict": text_format.get("strict") is True,
        }
    return {"format": text_format, "verbosity": (text or {}).get("verbosity") or "medium"}
