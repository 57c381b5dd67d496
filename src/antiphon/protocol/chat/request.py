"""From a checked `POST /chat/completions` body to what the driver needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from antiphon.domain.errors import InvalidRequest
from antiphon.protocol import toolset
from antiphon.protocol.chat import messages
from antiphon.protocol.generation import (
    Generation,
    OutputFormat,
    Sampling,
    Tool,
    ToolChoice,
    Turn,
)
from antiphon.protocol.numbers import make_whole
from antiphon.protocol.refusals import Unserved, check_count, unsupported_parameter, unsupported_value
from antiphon.protocol.unknown import unread

Json = dict[str, Any]

_REFUSED = {
    "audio": "is not supported with this model",
    "moderation": "is not supported by this server",
    "web_search_options": "is not supported with this model",
}
#: Members of tools, and of their functions, that are read here.
_READ = frozenset({"function", "custom", "type"})
_FUNCTION = frozenset({"name", "description", "parameters", "strict"})
#: Members that the schema knows as integers.
_INTEGERS = ("max_completion_tokens", "max_tokens", "n", "seed", "top_logprobs")


class ChatRequest(msgspec.Struct, frozen=True):
    """One `POST /chat/completions`, understood.

    `legacy_functions`: answer with `function_call`, as a request with `functions` expects. `unserved`: the refusal of
    what no engine of ours can be asked, which is left out; a server that gets the request as it is may know it.
    """

    model: str
    stream: bool
    store: bool
    choices: int
    include_usage: bool
    obfuscate: bool
    show_logprobs: bool
    legacy_functions: bool
    turns: list[Turn]
    tools: tuple[Tool, ...]
    tool_choice: ToolChoice
    output: OutputFormat
    sampling: Sampling
    extra: Mapping[str, Any]
    body: Json
    unserved: Unserved | None = None

    def generation(self, engine_model: str, choice: int) -> Generation:
        """What the engine is asked for one choice. With a seed, each choice has its own, or all would be the same."""
        sampling = self.sampling
        if sampling.seed is not None and choice:
            sampling = msgspec.structs.replace(sampling, seed=sampling.seed + choice)
        return Generation(
            model=engine_model,
            turns=tuple(self.turns),
            tools=self.tools,
            tool_choice=self.tool_choice,
            output=self.output,
            sampling=sampling,
            effort=self.body.get("reasoning_effort"),
            extra=self.extra,
            streamed=self.stream,
            affinity=self.body.get("prompt_cache_key"),
            tier=self.body.get("service_tier"),
            verbosity=self.body.get("verbosity"),
            user=self.body.get("user"),
            safety_identifier=self.body.get("safety_identifier"),
        )


def parse(body: Json, extra: Mapping[str, Any]) -> ChatRequest:
    """Understand a body that has passed the published schema. Raises `InvalidRequest` naming what cannot be served."""
    make_whole(body, _INTEGERS)
    check_count("messages", body["messages"])
    stream = bool(body.get("stream"))
    if body.get("stream_options") and not stream:
        raise InvalidRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            code="invalid_value",
            param="stream_options",
        )
    options = body.get("stream_options") or {}
    functions = [{"type": "function", "function": function} for function in body.get("functions") or []]
    given = body.get("tools") or functions
    unserved: list[Unserved] = []
    turns = messages.turns(body["messages"], unserved)
    tools = tuple(_tools(given, unserved))
    toolset.check_names(tools, "tools[{index}].function.name" if body.get("tools") else "functions[{index}].name")
    return ChatRequest(
        model=body["model"],
        stream=stream,
        store=body.get("store") is True,
        choices=body.get("n") or 1,
        include_usage=bool(options.get("include_usage")),
        obfuscate=options.get("include_obfuscation") is not False,
        show_logprobs=bool(body.get("logprobs")),
        legacy_functions=bool(functions) and not body.get("tools"),
        turns=turns,
        tools=tools,
        tool_choice=_tool_choice(body, tools, unserved, legacy=bool(functions)),
        output=_output(body.get("response_format"), unserved),
        sampling=_sampling(body),
        extra=extra,
        body=body,
        unserved=unserved[0] if unserved else None,
    )


def check_neutral(body: Json) -> None:
    """Raise `InvalidRequest` for what only an upstream that speaks this very API can do."""
    for name, why in _REFUSED.items():
        if body.get(name):
            raise unsupported_parameter(name, why)
    if "audio" in (body.get("modalities") or ()):
        raise unsupported_value("modalities", "Audio output is not supported with this model.")


def _tools(given: Sequence[Json], unserved: list[Unserved]) -> Iterator[Tool]:
    """The tools that can be called. `unserved` gets the refusals of others."""
    for index, tool in enumerate(given):
        if tool["type"] in ("function", "custom"):
            yield _tool(tool, index)
        else:
            text = f"Tools of type '{tool['type']}' are not supported with this model; 'function' and 'custom' are."
            unserved.append(unsupported_value(f"tools[{index}].type", text))


def _tool(tool: Json, index: int) -> Tool:
    extra = unread(tool, _READ)
    if tool["type"] == "custom":
        custom = tool["custom"]
        grammar = (custom.get("format") or {}).get("grammar")
        return toolset.custom_tool(custom, grammar, extra)
    function = tool["function"]
    if more := unread(function, _FUNCTION):
        extra = {**extra, "function": more}
    return toolset.function_tool(function, f"tools[{index}].function", extra)


def _tool_choice(body: Json, tools: Sequence[Tool], unserved: list[Unserved], *, legacy: bool) -> ToolChoice:
    try:
        return _chosen(body, tools, legacy=legacy)
    except Unserved as refusal:
        unserved.append(refusal)
    except InvalidRequest as error:
        if not unserved:
            raise
        # What is to be called may be what was left out.
        unserved.append(Unserved(error.message, code=error.code, param=error.param))
    return ToolChoice()


def _chosen(body: Json, tools: Sequence[Tool], *, legacy: bool) -> ToolChoice:
    # The legacy form knows one call at a time.
    parallel = body.get("parallel_tool_calls") is not False and not (legacy and not body.get("tools"))
    choice = body.get("tool_choice")
    if choice is None and body.get("function_call") is not None:
        choice = body["function_call"]
        if isinstance(choice, dict):
            return toolset.choice_of_names("required", [choice["name"]], tools, parallel=False)
    if choice is None or isinstance(choice, str):
        return toolset.choice_of_mode(choice or "auto", tools, parallel=parallel)
    if choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        names = [
            _name_of(tool, f"tool_choice.allowed_tools.tools[{index}]") for index, tool in enumerate(allowed["tools"])
        ]
        return toolset.choice_of_names(allowed["mode"], names, tools, parallel=parallel)
    return toolset.choice_of_names("required", [_name_of(choice, "tool_choice")], tools, parallel=parallel)


def _name_of(choice: Json, path: str) -> str:
    kind = choice.get("type")
    kind = kind if isinstance(kind, str) else "function"
    if kind not in ("function", "custom"):
        raise unsupported_value(f"{path}.type", f"Tool choice '{kind}' is not supported with this model.")
    inner = choice.get(kind)
    return toolset.chosen_name(inner.get("name") if isinstance(inner, dict) else None, f"{path}.{kind}.name")


def _output(response_format: Json | None, unserved: list[Unserved]) -> OutputFormat:
    match (response_format or {}).get("type", "text"):
        case "json_schema":
            assert response_format is not None
            return toolset.json_schema_format(response_format["json_schema"], "response_format")
        case "json_object":
            return OutputFormat("json_object")
        case "text":
            pass
        case other:
            text = f"The response format '{other}' is not supported with this model."
            unserved.append(unsupported_value("response_format.type", text))
    return OutputFormat()


def _sampling(body: Json) -> Sampling:
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise InvalidRequest(
            "Invalid 'top_logprobs': 'logprobs' must be set to true to use it.",
            code="invalid_value",
            param="top_logprobs",
        )
    stop = body.get("stop") or ()
    return msgspec.structs.replace(
        toolset.common_sampling(body),
        seed=body.get("seed"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        logit_bias=_logit_bias(body.get("logit_bias") or {}),
        max_tokens=_max_tokens(body),
        top_logprobs=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
    )


def _max_tokens(body: Json) -> int | None:
    """The output limit, by its name or by its former one."""
    most: int | None = body.get("max_completion_tokens")
    former: int | None = body.get("max_tokens")
    if most is not None and former is not None and most != former:
        raise InvalidRequest(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            code="mutually_exclusive_parameters",
            param="max_tokens",
        )
    return former if most is None else most


def _logit_bias(bias: Mapping[str, float]) -> dict[int, float]:
    made = {}
    for token, value in bias.items():
        if not (token.isascii() and token.isdigit() and len(token) <= 9):
            raise InvalidRequest(
                f"Invalid key in 'logit_bias': {token[:40]}. You should only be submitting non-negative integers.",
                code="invalid_value",
                param="logit_bias",
            )
        made[int(token)] = float(value)
    return made
