"""Tool choice, as every surface means it, checked against the tools that are there."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.domain.errors import InvalidRequest
from antiphon.protocol.generation import Tool, ToolChoice
from antiphon.protocol.refusals import missing_parameter


def check_names(tools: Sequence[Tool], param: str) -> None:
    """Two tools of one name could not be told apart when the model calls one."""
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.name in seen:
            raise InvalidRequest(
                f"Tool names must be unique: '{tool.name}' is given twice.",
                code="invalid_value",
                param=param.format(index=index),
            )
        seen.add(tool.name)


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
