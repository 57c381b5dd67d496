"""The order of calls and their results, whatever stands between them."""

from __future__ import annotations

import pytest

from antiphon.protocol.generation import Message, ReasoningTurn, TextPart, ToolCall, ToolResult, Turn
from antiphon.protocol.toolset import arranged


def call(call_id: str) -> ToolCall:
    return ToolCall(call_id, "f", "{}")


def result(call_id: str, output: str = "") -> ToolResult:
    return ToolResult(call_id, output or call_id.upper())


def user(text: str) -> Message:
    return Message("user", (TextPart(text),))


A, B, HURRY, THOUGHT = call("a"), call("b"), user("hurry"), ReasoningTurn("hm")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([A, B, result("a"), HURRY, result("b")], [A, B, result("a"), result("b"), HURRY]),
        ([A, HURRY, result("a")], [A, result("a"), HURRY]),
        ([A, B, result("b"), result("a")], [A, B, result("a"), result("b")]),
        ([A, THOUGHT, B, result("a"), result("b")], [A, result("a"), THOUGHT, B, result("b")]),
        # The last result counts.
        ([A, result("a", "soon"), HURRY, result("a", "done")], [A, result("a", "done"), HURRY]),
        # Ids that are used again.
        ([A, result("a", "1"), HURRY, A, result("a", "2")], [A, result("a", "1"), HURRY, A, result("a", "2")]),
        ([A, A, result("a", "1"), result("a", "2")], [A, A, result("a", "1"), result("a", "2")]),
        # What has no counterpart stays where it is.
        ([A, HURRY, B, result("b")], [A, HURRY, B, result("b")]),
        ([result("a"), HURRY], [result("a"), HURRY]),
        ([result("a"), A, HURRY], [result("a"), A, HURRY]),
        ([HURRY], [HURRY]),
        ([], []),
    ],
)
def test_results_stand_directly_after_their_calls(given: list[Turn], expected: list[Turn]) -> None:
    assert arranged(given) == expected
