"""Playbooks of the Chat Completions machine."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.domain.errors import EngineFailed
from antiphon.protocol.events import MachineError
from antiphon.protocol.generation import (
    Batch,
    CallArguments,
    CallStart,
    Delta,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    Usage,
)
from support.machines import chat_machine

STOP = Finish("stop", Usage(5, 1, 2, 0))


def play(*facts: tuple[int, Delta], **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    machine = chat_machine(**options)
    events = machine.start()
    for fact in facts:
        events += machine.feed(fact)
    assert machine.ended
    return [event.body for event in events], machine.completion()


def deltas(chunks: list[dict[str, Any]], index: int = 0) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]


def test_text() -> None:
    chunks, completion = play((0, TextDelta("Hel")), (0, TextDelta("lo")), (0, STOP))
    assert deltas(chunks) == [
        {"role": "assistant", "content": None, "refusal": None},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    message = completion["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Hello", "refusal": None, "annotations": []}
    assert completion["usage"]["total_tokens"] == 7
    assert completion["usage"]["prompt_tokens_details"]["cached_tokens"] == 1


def test_parallel_calls_are_told_apart_by_index() -> None:
    chunks, completion = play(
        (0, CallStart("a", "c1")),
        (0, CallArguments("{}")),
        (0, CallStart("b", "c2")),
        (0, CallArguments("[")),
        (0, CallArguments("]")),
        (0, Finish("tool_calls")),
    )
    calls = [delta["tool_calls"][0] for delta in deltas(chunks) if "tool_calls" in delta]
    assert calls[0] == {"index": 0, "id": "c1", "type": "function", "function": {"name": "a", "arguments": ""}}
    assert [call["index"] for call in calls] == [0, 0, 1, 1, 1]
    assert "id" not in calls[1]
    message = completion["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"][1]["function"] == {"name": "b", "arguments": "[]"}
    assert completion["choices"][0]["finish_reason"] == "tool_calls"


def test_custom_calls_have_input() -> None:
    _, completion = play((0, CallStart("run", "c", "custom")), (0, CallArguments("ls")), (0, Finish("tool_calls")))
    assert completion["choices"][0]["message"]["tool_calls"] == [
        {"id": "c", "type": "custom", "custom": {"name": "run", "input": "ls"}}
    ]


def test_the_legacy_form_has_one_function_call() -> None:
    chunks, completion = play(
        (0, CallStart("a", "c")), (0, CallArguments("{}")), (0, Finish("tool_calls")), legacy=True
    )
    assert deltas(chunks)[1] == {"function_call": {"name": "a", "arguments": ""}}
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"
    assert completion["choices"][0]["message"]["function_call"] == {"name": "a", "arguments": "{}"}


def test_choices_run_side_by_side_and_usage_counts_the_prompt_once() -> None:
    chunks, completion = play(
        (0, TextDelta("a")),
        (1, TextDelta("b")),
        (1, Finish("stop", Usage(5, 0, 1))),
        (0, Finish("length", Usage(5, 5, 1))),
        choices=2,
        include_usage=True,
    )
    assert [choice["finish_reason"] for choice in completion["choices"]] == ["length", "stop"]
    assert completion["usage"]["prompt_tokens"] == 5
    assert completion["usage"]["completion_tokens"] == 2
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == completion["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_a_refusal_is_not_content() -> None:
    chunks, completion = play((0, RefusalDelta("No.")), (0, STOP))
    assert deltas(chunks)[1] == {"refusal": "No."}
    assert completion["choices"][0]["message"]["refusal"] == "No."
    assert completion["choices"][0]["message"]["content"] is None


def test_reasoning_has_the_field_that_clients_agreed_on() -> None:
    _, completion = play((0, ReasoningDelta("Hm")), (0, TextDelta("Yes")), (0, STOP))
    assert completion["choices"][0]["message"]["reasoning_content"] == "Hm"


def test_log_probabilities() -> None:
    token = TokenLogprob("Hi", -0.5, (72, 105))
    chunks, completion = play((0, TextDelta("Hi", (token,))), (0, STOP), show_logprobs=True)
    shown = {"token": "Hi", "logprob": -0.5, "bytes": (72, 105), "top_logprobs": []}
    assert chunks[1]["choices"][0]["logprobs"] == {"content": [shown], "refusal": None}
    assert completion["choices"][0]["logprobs"] == {"content": [shown], "refusal": None}


def test_a_fault_is_one_error_object() -> None:
    machine = chat_machine()
    machine.start()
    [event] = machine.fault(EngineFailed("The model crashed."))
    assert event.body["error"]["message"] == "The model crashed."
    assert machine.ended


@pytest.mark.parametrize("bad", [[(0, CallArguments("{}"))], [(0, STOP), (0, TextDelta("a"))]])
def test_what_has_no_row_in_the_table_is_refused(bad: list[tuple[int, Delta]]) -> None:
    machine = chat_machine(choices=1)
    machine.start()
    for fact in bad[:-1]:
        machine.feed(fact)
    with pytest.raises(MachineError):
        machine.feed(bad[-1])


def test_deltas_that_come_at_once_are_told_as_if_one_by_one() -> None:
    one_by_one = play((0, TextDelta("Hel")), (0, CallStart("f", "c1")), (0, CallArguments("{}")), (0, STOP))
    at_once = play((0, Batch((TextDelta("Hel"), CallStart("f", "c1"), CallArguments("{}")))), (0, STOP))
    assert at_once == one_by_one


def test_what_came_at_once_before_what_is_wrong_stays_said() -> None:
    machine = chat_machine()
    machine.start()
    with pytest.raises(MachineError):
        machine.feed((0, Batch((TextDelta("Hel"), CallArguments("{}")))))
    said, error = machine.fault(EngineFailed("It broke."))
    assert said.body["choices"][0]["delta"] == {"content": "Hel"}
    assert error.body["error"]["code"] == "engine_failed"
