"""Which calls count as made already."""

from __future__ import annotations

from antiphon.engines.llama.plan import _calls_made, call_key
from antiphon.protocol.generation import Generation, Message, TextPart, ToolCall, ToolResult, Turn

ASKED = Message("user", (TextPart("Weather?"),))
TALK = Message("assistant", (TextPart("Let me see."),))
CALLED = ToolCall("c1", "weather", '{"b": 1, "a": 2}')
QUERY = ToolCall("c2", "sql", "select 1", "custom")
RESULT = ToolResult("c1", "sunny")


def made(*turns: Turn) -> frozenset[tuple[str, str]]:
    return _calls_made(Generation("m", turns))


def test_calls_since_the_question_count_once_a_tool_has_answered() -> None:
    keys = {call_key("weather", {"a": 2, "b": 1}), call_key("sql", {"input": "select 1"})}
    assert made(ASKED, TALK, CALLED, QUERY, RESULT) == keys
    assert made(ASKED, CALLED, RESULT, QUERY, RESULT) == keys


def test_a_new_question_makes_all_calls_new() -> None:
    assert made(ASKED, CALLED, RESULT, TALK, ASKED) == frozenset()
    assert made(ASKED, CALLED, RESULT, ASKED, QUERY, RESULT) == {call_key("sql", {"input": "select 1"})}


def test_without_a_result_there_is_nothing_to_repeat() -> None:
    assert made() == made(ASKED) == made(ASKED, CALLED) == frozenset()
