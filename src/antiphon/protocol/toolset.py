"""What requests of all surfaces have in common: tools, how they are chosen, output formats and sampling."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.domain.errors import InvalidRequest
from antiphon.protocol import structured
from antiphon.protocol.generation import Grammar, OutputFormat, Sampling, Tool, ToolCall, ToolChoice, ToolResult, Turn
from antiphon.protocol.numbers import number_or
from antiphon.protocol.refusals import missing_parameter


def function_tool(function: dict[str, Any], path: str, extra: Mapping[str, Any] | None = None) -> Tool:
    """The function that stands at `path` of a request, in either API's words. Raises `InvalidRequest`.

    Its schema is held to OpenAI's rules where it is strict. `extra`: members that only an upstream may know.
    """
    strict, parameters = function.get("strict") is True, function.get("parameters")
    if strict and parameters is not None:
        structured.check_strict(
            parameters,
            what=f"function '{function['name']}'",
            code="invalid_function_parameters",
            param=f"{path}.parameters",
        )
    return Tool(function["name"], function.get("description") or "", parameters, strict=strict, extra=extra or {})


def custom_tool(
    custom: dict[str, Any], grammar: Mapping[str, Any] | None, extra: Mapping[str, Any] | None = None
) -> Tool:
    """A custom tool, in either API's words. `grammar`: `syntax` and `definition` of its text; None: any text."""
    bound = Grammar(grammar["syntax"], grammar["definition"]) if grammar else None
    return Tool(custom["name"], custom.get("description") or "", kind="custom", grammar=bound, extra=extra or {})


def json_schema_format(given: Mapping[str, Any], param: str) -> OutputFormat:
    """An output format of the type "json_schema", in either API's words. `param`: where a request has its schema.

    Raises `InvalidRequest` for a strict schema that breaks OpenAI's rules.
    """
    schema, strict = given.get("schema") or {}, given.get("strict") is True
    if strict:
        what = f"response_format '{given['name']}'"
        structured.check_strict(schema, what=what, code="invalid_json_schema", param=param)
    return OutputFormat("json_schema", given["name"], schema, strict)


def common_sampling(body: Mapping[str, Any]) -> Sampling:
    """What both APIs say of how tokens are drawn under the same names. OpenAI's defaults where nothing is said."""
    return Sampling(
        temperature=number_or(body.get("temperature"), 1.0),
        top_p=number_or(body.get("top_p"), 1.0),
        frequency_penalty=number_or(body.get("frequency_penalty"), 0.0),
        presence_penalty=number_or(body.get("presence_penalty"), 0.0),
    )


def check_names(tools: Sequence[Tool], param: str) -> None:
    """Two tools of one name could not be told apart when the model calls one."""
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.name in seen:
            raise twice(tool.name, param.format(index=index))
        seen.add(tool.name)


def twice(name: str, param: str) -> InvalidRequest:
    """Two tools have one name."""
    return InvalidRequest(f"Tool names must be unique: '{name}' is given twice.", code="invalid_value", param=param)


def choice_of_mode(mode: str, tools: Sequence[Tool], *, parallel: bool) -> ToolChoice:
    """ "none", "auto" or "required". "required" without a tool to call is refused."""
    if mode == "required":
        if not tools:
            raise InvalidRequest(
                "Tool choice 'required' must be specified with 'tools' parameter.",
                code="invalid_value",
                param="tool_choice",
            )
        return ToolChoice("required", None, parallel)
    if mode == "none" or not tools:
        return ToolChoice("none", None, parallel)
    return ToolChoice("auto", None, parallel)


def choice_of_names(mode: str, names: Sequence[str], tools: Sequence[Tool], *, parallel: bool) -> ToolChoice:
    """Only these tools may be called ("auto"), or one of them must be ("required")."""
    known = {tool.name for tool in tools}
    for name in names:
        if name not in known:
            raise InvalidRequest(
                f"Tool choice '{name}' not found in 'tools' parameter.",
                code="invalid_value",
                param="tool_choice",
            )
    if not names:
        raise InvalidRequest(
            "Tool choice 'allowed_tools' must name at least one tool.",
            code="invalid_value",
            param="tool_choice.tools",
        )
    return ToolChoice("required" if mode == "required" else "auto", frozenset(names), parallel)


def chosen_name(name: object, param: str) -> str:
    """The name by which a tool choice refers to a tool. The published schemas leave these objects open."""
    if name is None:
        raise missing_parameter(param)
    if not isinstance(name, str):
        raise InvalidRequest(f"Invalid type for '{param}': expected a string.", code="invalid_type", param=param)
    return name


def check_calls(calls: Sequence[tuple[str, str]]) -> None:
    """Every tool result follows its call, and every call has its result.

    `calls` are ("call" | "result", call_id) in the order of the conversation. Raises `InvalidRequest` in the words that
    OpenAI uses for it.
    """
    open_calls: dict[str, None] = {}
    answered: set[str] = set()
    for kind, call_id in calls:
        if kind == "call":
            open_calls[call_id] = None
        elif call_id in open_calls:
            del open_calls[call_id]
            answered.add(call_id)
        elif call_id not in answered:
            raise InvalidRequest(
                f"No tool call found for function call output with call_id {call_id}.",
                code="invalid_value",
                param="input",
            )
    for call_id in open_calls:
        raise InvalidRequest(f"No tool output found for function call {call_id}.", code="invalid_value", param="input")


def arranged(conversation: Sequence[Turn]) -> list[Turn]:
    """The conversation with the results of calls directly after them, as chat servers and templates demand.

    Calls that stand together get their results together, in the order of the calls; what stood between comes after
    them. Of several results of one call the last one counts. A call without a result, and a result without a call, stay
    where they are.
    """
    answers, taken = _answers(conversation)
    if not taken:
        return list(conversation)
    made: list[Turn] = []
    waiting: list[Turn] = []
    for index, turn in enumerate(conversation):
        if isinstance(turn, ToolCall):
            if index in answers:
                waiting.append(answers[index])
        else:
            made += waiting
            waiting = []
            if index in taken:
                continue
        made.append(turn)
    return made + waiting


def _answers(conversation: Sequence[Turn]) -> tuple[dict[int, ToolResult], set[int]]:
    """The result of each call, and where results of calls stand. Some clients give many calls the same id: a result
    belongs to the first call of its id that has none yet, and else to the last one.
    """
    answers: dict[int, ToolResult] = {}
    taken: set[int] = set()
    waiting: dict[str, deque[int]] = {}
    latest: dict[str, int] = {}
    for index, turn in enumerate(conversation):
        if isinstance(turn, ToolCall):
            waiting.setdefault(turn.call_id, deque()).append(index)
        elif isinstance(turn, ToolResult) and turn.call_id in waiting:
            if waiting[turn.call_id]:
                latest[turn.call_id] = waiting[turn.call_id].popleft()
            answers[latest[turn.call_id]] = turn
            taken.add(index)
    return answers, taken
