"""How the tables of hostile bodies are written, and checked."""

from __future__ import annotations

import json
from typing import Any

from support.rawhttp import Wire

from .judge import judge_refusal

Case = tuple[Any, int, str | None, str | None]

USER = {"role": "user", "content": "hi"}
FUNCTION = {"type": "function", "name": "f"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "x"}
CHAT_CALL = {
    "role": "assistant",
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
MISSING, TYPE, VALUE, UNKNOWN = "missing_required_parameter", "invalid_type", "invalid_value", "unknown_parameter"
NO_VALUE, NO_PARAMETER = "unsupported_value", "unsupported_parameter"


def r(**members: Any) -> dict[str, Any]:
    """A request for a response."""
    return {"model": "gpt-5-mini", "input": "hi", "store": False, **members}


def items(*given: Any) -> dict[str, Any]:
    """One with these input items."""
    return r(input=list(given))


def parts(*content: Any, role: str = "user") -> dict[str, Any]:
    """One whose third item has these parts."""
    return items(USER, USER, {"role": role, "content": list(content)})


def c(**members: Any) -> dict[str, Any]:
    """A request for a chat completion."""
    return {"model": "gpt-5-mini", "messages": [USER], **members}


def messages(*given: Any) -> dict[str, Any]:
    """One with these messages."""
    return c(messages=list(given))


def tool(**members: Any) -> dict[str, Any]:
    """One with a function."""
    return c(tools=[{"type": "function", "function": {"name": "f", **members}}])


def check(wire: Wire, path: str, case: Case) -> None:
    """Ask with a case's body, and check status, code and param (a code or param of None is not looked at)."""
    body, status, code, param = case
    answer = wire.ask("POST", path, json.dumps(body).encode())
    error = judge_refusal(answer)
    assert answer.status == status, error
    assert code is None or error["code"] == code, error
    if param is not None or isinstance(body, list | str | int | None):
        assert error["param"] == param, error
