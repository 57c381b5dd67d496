"""The order of events: a legal stream passes, and each way to break it is caught."""

# ruff: noqa: E501 - a table of cases reads best with each case on one line

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from conformance.samples import Body, message, response, stream, text_part
from conformance.sequence import check_sequence
from conformance.spec import check_response_event

Break = Callable[[list[Body]], Any]


def numbered(events: list[Body]) -> list[Body]:
    return [event | {"sequence_number": number} for number, event in enumerate(events)]


def at(kind: str, events: list[Body], which: int = 0) -> int:
    """Where the event of a kind is."""
    return [n for n, event in enumerate(events) if event["type"] == f"response.{kind}"][which]


def of(kind: str, events: list[Body], which: int = 0) -> Body:
    return events[at(kind, events, which)]


def swap(events: list[Body], one: int, other: int) -> None:
    events[one], events[other] = events[other], events[one]


def test_a_legal_stream() -> None:
    check_sequence(stream())
    for event in stream():
        check_response_event(event)


def test_a_queued_stream() -> None:
    events = stream()
    events.insert(1, events[0] | {"type": "response.queued"})
    check_sequence(numbered(events))


def test_an_incomplete_stream() -> None:
    events = stream()
    events[-1]["type"] = "response.incomplete"
    details = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    events[-1]["response"].update(details)
    check_sequence(events)


def test_a_failure_may_cut_an_item_off() -> None:
    events = stream()[:21]
    output = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    failed = response(status="failed", output=output, usage=None, error={"code": "server_error", "message": "Sorry."})
    check_sequence(numbered([*events, {"type": "response.failed", "response": failed}]))


def test_steps_of_a_hosted_tool() -> None:
    call = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "in_progress",
        "action": {"type": "search", "query": "q"},
    }
    done = call | {"status": "completed"}
    head = stream()[:2]
    step = {"item_id": "ws_1", "output_index": 0}
    events = [
        *head,
        {"type": "response.output_item.added", "output_index": 0, "item": call},
        {"type": "response.web_search_call.searching", **step},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": response(output=[done])},
    ]
    check_sequence(numbered(events))
    events[3]["type"] = "response.file_search_call.searching"
    with pytest.raises(AssertionError, match="no event of such an item"):
        check_sequence(numbered(events))


RENUMBERED: list[tuple[str, Break]] = [
    ("not response.created", lambda e: e.pop(0)),
    ("created twice", lambda e: e.insert(1, e[0])),
    ("output before response.in_progress", lambda e: e.pop(1)),
    ("out of order", lambda e: e.insert(2, e[1])),
    ("out of order", lambda e: e.insert(3, e[1])),
    ("no event of a response", lambda e: e[1].update(type="response.cancelled")),
    ("the id has become", lambda e: e[-1]["response"].update(id="resp_2")),
    ("has output before", lambda e: e[0]["response"].update(output=[message()])),
    ("status is completed", lambda e: e[0]["response"].update(status="completed")),
    ("no terminal event", lambda e: e.pop()),
    ("after the terminal event", lambda e: e.append(e[-1])),
    ("without output_item.done", lambda e: swap(e, -1, -2)),
    ("status is failed", lambda e: e[-1]["response"].update(status="failed")),
    ("output is not what was streamed", lambda e: e[-1]["response"]["output"].pop()),
    ("output is not what was streamed", lambda e: e[-1]["response"]["output"].reverse()),
    ("output is not what was streamed", lambda e: e[-1]["response"]["output"][2].update(name="g")),
    ("items not completed", lambda e: (of("output_item.done", e)["item"].update(status="incomplete"), e[-1]["response"]["output"][0].update(status="incomplete"))),
    ("without output_item.done", lambda e: e.pop(at("output_item.done", e, 2))),
    ("no usage", lambda e: e[-1]["response"].update(usage=None)),
    ("not the sum", lambda e: e[-1]["response"]["usage"].update(total_tokens=13)),
    ("negative tokens", lambda e: e[-1]["response"]["usage"].update(input_tokens=-1, total_tokens=6)),
    ("more cached tokens", lambda e: e[-1]["response"]["usage"]["input_tokens_details"].update(cached_tokens=6)),
    ("more reasoning tokens", lambda e: e[-1]["response"]["usage"]["output_tokens_details"].update(reasoning_tokens=8)),
    ("error is", lambda e: e[-1]["response"].update(error={"code": "server_error", "message": "no"})),
    ("incomplete_details do not fit", lambda e: e[-1]["response"].update(incomplete_details={"reason": "content_filter"})),
    ("not the next one", lambda e: of("output_item.added", e, 1).update(output_index=2)),
    ("not the next one", lambda e: of("output_item.added", e, 1).update(output_index=0)),
    ("used twice", lambda e: of("output_item.added", e, 1)["item"].update(id="rs_1")),
    ("status is completed", lambda e: of("output_item.added", e)["item"].update(status="completed")),
    ("before it was streamed", lambda e: of("output_item.added", e, 1)["item"].update(content=[text_part("Hel")])),
    ("before they were streamed", lambda e: of("output_item.added", e, 2)["item"].update(arguments="{}")),
    ("there is no item 3", lambda e: of("output_text.delta", e).update(output_index=3)),
    ("item 0 is done", lambda e: of("output_text.delta", e).update(output_index=0)),
    ("item 1 is done", lambda e: e.insert(at("output_item.done", e, 1) + 1, of("output_item.done", e, 1))),
    ("is not that of the item", lambda e: of("output_text.delta", e).update(item_id="msg_2")),
    ("id has become", lambda e: of("output_item.done", e)["item"].update(id="rs_2")),
    ("call_id has become", lambda e: of("output_item.done", e, 2)["item"].update(call_id="call_2")),
    ("still in_progress", lambda e: of("output_item.done", e, 2)["item"].update(status="in_progress")),
    ("parts without done", lambda e: e.pop(at("content_part.done", e, 1))),
    ("summary has parts without done", lambda e: e.pop(at("reasoning_summary_part.done", e))),
    ("content is not what was streamed", lambda e: of("output_item.done", e, 1)["item"].update(content=[])),
    ("summary is not what was streamed", lambda e: of("output_item.done", e)["item"].update(summary=[])),
    ("there is no content part 0", lambda e: e.pop(at("content_part.added", e, 1))),
    ("content_index is 1", lambda e: of("content_part.added", e, 1).update(content_index=1)),
    ("summary_index is 1", lambda e: of("reasoning_summary_part.added", e).update(summary_index=1)),
    ("text before it was streamed", lambda e: of("content_part.added", e, 1).update(part=text_part("Hel"))),
    ("the part's text is not done", lambda e: e.pop(at("output_text.done", e))),
    ("its text is not what was streamed", lambda e: of("content_part.done", e, 1)["part"].update(text="Hell")),
    ("annotations are not those streamed", lambda e: of("content_part.done", e, 1)["part"].update(annotations=[{}])),
    ("logprobs are not those streamed", lambda e: of("content_part.done", e, 1)["part"].update(logprobs=[])),
    ("content part 0 is done", lambda e: e.insert(at("content_part.done", e, 1) + 1, of("output_text.delta", e))),
    ("after the text was done", lambda e: e.insert(at("output_text.done", e) + 1, of("output_text.delta", e))),
    ("do not join", lambda e: swap(e, at("output_text.delta", e), at("output_text.delta", e, 1))),
    ("do not join", lambda e: e.pop(at("output_text.delta", e))),
    ("do not join", lambda e: of("output_text.delta", e).update(delta="Hal")),
    ("do not join", lambda e: of("reasoning_text.done", e).update(text="Hm")),
    ("do not join", lambda e: of("function_call_arguments.delta", e).update(delta="{'a'")),
    ("logprobs are not those of the deltas", lambda e: of("output_text.done", e).update(logprobs=[])),
    ("name is not that", lambda e: of("function_call_arguments.done", e).update(name="g")),
    ("has no 'name'", lambda e: of("function_call_arguments.done", e).pop("name")),
    ("deltas without done", lambda e: e.pop(at("function_call_arguments.done", e))),
    ("without done arguments", lambda e: [e.pop(at("function_call_arguments.delta", e)) for _ in "12"] + [e.pop(at("function_call_arguments.done", e))]),
    ("its text is not what was streamed", lambda e: of("output_item.done", e, 2)["item"].update(arguments="{}")),
    ("no event of such an item", lambda e: of("output_text.delta", e).update(type="error")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "change"), RENUMBERED, ids=[f"{n}: {words}" for n, (words, _) in enumerate(RENUMBERED)]
)
def test_each_violation_is_caught(words: str, change: Break) -> None:
    events = copy.deepcopy(stream())
    change(events)
    with pytest.raises(AssertionError) as caught:
        check_sequence(numbered(events))
    assert words in str(caught.value)


@pytest.mark.parametrize("numbers", [lambda n: n + 1, lambda n: 2 * n, lambda n: min(n, 3), lambda n: None])
def test_sequence_numbers_are_dense_from_0(numbers: Callable[[int], int | None]) -> None:
    with pytest.raises(AssertionError, match="sequence_number is"):
        check_sequence([event | {"sequence_number": numbers(n)} for n, event in enumerate(stream())])


def test_annotations_are_dense() -> None:
    events = stream()
    place = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    note = {"type": "response.output_text.annotation.added", **place, "annotation_index": 0, "annotation": {"a": 1}}
    events.insert(at("output_text.done", events), note)
    for part in (of("content_part.done", events, 1)["part"], of("output_item.done", events, 1)["item"]["content"][0]):
        part["annotations"] = [{"a": 1}]
    check_sequence(numbered(events))
    note["annotation_index"] = 1
    with pytest.raises(AssertionError, match="annotation_index is not dense"):
        check_sequence(numbered(events))
