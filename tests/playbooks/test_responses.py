"""Playbooks of the Responses machine: what goes in, and exactly what comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from antiphon.domain.errors import EngineFailed
from antiphon.protocol.events import Event, MachineError
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
    TopLogprob,
    Usage,
)
from antiphon.protocol.responses.ending import Steered, Warmed
from support.machines import names, response_machine

BEGIN = ["created", "in_progress"]
OPEN_TEXT = ["output_item.added", "content_part.added"]
CLOSE_TEXT = ["output_text.done", "content_part.done", "output_item.done"]
STOP = Finish("stop", Usage(5, 1, 2, 0))


def play(*deltas: Delta, **options: Any) -> list[Event]:
    machine = response_machine(**options)
    events = machine.start()
    for delta in deltas:
        events += machine.feed(delta)
    return events


def test_text() -> None:
    events = play(TextDelta("Hel"), TextDelta("lo"), STOP)
    assert names(events) == [
        *BEGIN,
        *OPEN_TEXT,
        "output_text.delta",
        "output_text.delta",
        *CLOSE_TEXT,
        "completed",
    ]
    assert [event.body["sequence_number"] for event in events] == list(range(len(events)))
    final = events[-1].body["response"]
    assert final["output"] == [
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"}],
        }
    ]
    assert final["usage"]["total_tokens"] == 7
    assert final["status"] == "completed"
    assert final["completed_at"] == final["created_at"] + 1


def test_an_event_keeps_the_state_it_was_made_in() -> None:
    events = play(TextDelta("Hello"), STOP)
    assert events[0].body["response"]["output"] == []
    assert events[0].body["response"]["status"] == "in_progress"
    assert events[2].body["item"]["content"] == []
    assert events[3].body["part"]["text"] == ""


def test_a_call_streams_its_arguments_and_ends_with_its_name() -> None:
    events = play(
        CallStart("add", "call_a"), CallArguments('{"a":'), CallArguments("1}"), Finish("tool_calls", Usage(3, 0, 4))
    )
    assert names(events)[2:] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    done = events[-3].body
    assert (done["name"], done["arguments"], done["item_id"]) == ("add", '{"a":1}', "fc_1")
    assert events[-1].body["response"]["output"][0]["call_id"] == "call_a"


def test_text_then_two_calls_are_three_items() -> None:
    events = play(
        TextDelta("Let me see."),
        CallStart("a", "c1"),
        CallArguments("{}"),
        CallStart("b", "c2"),
        CallArguments("{}"),
        Finish("tool_calls"),
    )
    output = events[-1].body["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
    added = [event.body["output_index"] for event in events if event.type == "response.output_item.added"]
    assert added == [0, 1, 2]


def test_a_custom_call_has_input_in_place_of_arguments() -> None:
    events = play(CallStart("run", "c1", "custom"), CallArguments("ls"), CallArguments(" -l"), Finish("tool_calls"))
    assert names(events)[3:] == [
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "completed",
    ]
    assert events[-1].body["response"]["output"][0]["input"] == "ls -l"


def test_refusal_and_text_are_parts_of_one_message() -> None:
    events = play(TextDelta("Well, "), RefusalDelta("no."), STOP)
    message = events[-1].body["response"]["output"][0]
    assert [part["type"] for part in message["content"]] == ["output_text", "refusal"]
    indexes = [event.body["content_index"] for event in events if event.type == "response.content_part.added"]
    assert indexes == [0, 1]


def test_reasoning_comes_before_the_message_as_an_item_of_its_own() -> None:
    events = play(ReasoningDelta("Hmm"), TextDelta("Yes"), Finish("stop", Usage(1, 0, 2, 1)))
    output = events[-1].body["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message"]
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "Hmm"}]
    assert events[-1].body["response"]["usage"]["output_tokens_details"] == {"reasoning_tokens": 1}


@pytest.mark.parametrize(("reason", "shown"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_is_incomplete_and_so_is_its_last_item_only(reason: Any, shown: str) -> None:
    events = play(CallStart("a", "c1"), CallArguments("{}"), TextDelta("Once upon"), Finish(reason))
    final = events[-1].body["response"]
    assert events[-1].type == "response.incomplete"
    assert final["incomplete_details"] == {"reason": shown}
    assert [item["status"] for item in final["output"]] == ["completed", "incomplete"]


def test_no_token_at_all_is_an_empty_message() -> None:
    events = play(STOP)
    assert names(events) == [*BEGIN, *OPEN_TEXT, *CLOSE_TEXT, "completed"]


def test_a_fault_closes_what_is_open_and_ends_as_failed() -> None:
    machine = response_machine()
    machine.start()
    machine.feed(TextDelta("Hel"))
    events = machine.fault(EngineFailed("The model crashed."))
    assert names(events) == [*CLOSE_TEXT, "failed"]
    final = events[-1].body["response"]
    assert final["status"] == "failed"
    assert final["error"] == {"code": "server_error", "message": "The model crashed."}
    assert final["output"][0]["status"] == "incomplete"
    assert final["usage"] is None


def test_cancelling_keeps_what_was_made_and_says_so_in_the_nearest_event_there_is() -> None:
    machine = response_machine()
    machine.start()
    machine.feed(TextDelta("Hel"))
    assert names(machine.cancel()) == [*CLOSE_TEXT, "incomplete"]
    assert machine.ended
    assert machine.snapshot()["status"] == "cancelled"
    assert machine.snapshot()["output"][0]["content"][0]["text"] == "Hel"


def test_only_ids_finished_items_and_ends_must_be_kept() -> None:
    machine = response_machine()

    def keeps(events: list[Event]) -> bool:
        unsaved, machine.unsaved = machine.unsaved, False
        return bool(events) and unsaved

    assert keeps(machine.start())
    assert not keeps(machine.feed(TextDelta("a")))
    assert keeps(machine.feed(CallStart("f", "c")))
    assert not keeps(machine.feed(CallArguments("{}")))
    assert keeps(machine.feed(Finish("tool_calls")))


def test_log_probabilities_are_shown_only_when_asked_for() -> None:
    token = TokenLogprob("Hi", -0.5, (72, 105), (TopLogprob("Hi", -0.5, (72, 105)), TopLogprob("Yo", -2.0, (89, 111))))
    shown = play(TextDelta("Hi", (token,)), STOP, show_logprobs=True)
    assert shown[4].body["logprobs"][0]["top_logprobs"][1] == {"token": "Yo", "logprob": -2.0, "bytes": (89, 111)}
    assert len(shown[-1].body["response"]["output"][0]["content"][0]["logprobs"]) == 1
    hidden = play(TextDelta("Hi", (token,)), STOP)
    assert hidden[4].body["logprobs"] == []


def test_padding_brings_deltas_to_full_blocks() -> None:
    events = play(TextDelta("x" * 5), TextDelta("x" * 16), STOP, obfuscate=True)
    pads = [event.body["obfuscation"] for event in events if event.type == "response.output_text.delta"]
    assert [len(pad) for pad in pads] == [11, 16]
    assert "obfuscation" not in events[-1].body


@pytest.mark.parametrize("bad", [[CallArguments("{}")], [TextDelta("a"), CallArguments("{}")], [STOP, TextDelta("a")]])
def test_what_has_no_row_in_the_table_is_refused(bad: list[Delta]) -> None:
    with pytest.raises(MachineError):
        play(*bad)


def test_a_background_response_is_queued_first() -> None:
    machine = response_machine()
    events = machine.queue()
    assert names(events) == ["created", "queued"]
    assert {event.body["response"]["status"] for event in events} == {"queued"}
    begun = machine.start()
    assert names(begun) == ["in_progress"]
    assert begun[0].body["response"]["status"] == "in_progress"


SCRIPTS: list[list[Delta]] = [
    [],
    [TextDelta("Hel"), TextDelta("lo")],
    [TextDelta("Well, "), RefusalDelta("no.")],
    [ReasoningDelta("Hm"), TextDelta("Yes")],
    [TextDelta("a"), CallStart("f", "c1"), CallArguments('{"a"')],
    [CallStart("f", "c1"), CallArguments("{}"), CallStart("run", "c2", "custom"), CallArguments("ls")],
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_machine_restored_from_its_events_goes_on_as_if_nothing_had_happened(script: list[Delta]) -> None:
    first, second = response_machine(), response_machine()
    said = first.queue() + first.start()
    for delta in script:
        said += first.feed(delta)
    second.restore([event.body for event in said])
    assert second.state is first.state
    assert second.begun == bool(script)
    rest: list[Delta] = [CallArguments("}")] if script and isinstance(script[-1], CallArguments) else [TextDelta("!")]
    for delta in [*rest, STOP]:
        mine, theirs = first.feed(delta), second.feed(delta)
        assert [event.type for event in mine] == [event.type for event in theirs]
        assert [event.body["sequence_number"] for event in mine] == [event.body["sequence_number"] for event in theirs]
    texts = [json.dumps(machine.snapshot()["output"]).replace("_1", "_n") for machine in (first, second)]
    if not script or isinstance(script[-1], TextDelta | CallArguments):
        assert texts[0] == texts[1]


# --- ended by the client ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("said", "closed"),
    [
        ([], []),
        ([TextDelta("a")], CLOSE_TEXT),
        ([RefusalDelta("a")], ["refusal.done", "content_part.done", "output_item.done"]),
        ([ReasoningDelta("a")], ["reasoning_text.done", "content_part.done", "output_item.done"]),
    ],
)
def test_steered(said: list[Delta], closed: list[str]) -> None:
    machine = response_machine()
    machine.start()
    for delta in said:
        machine.feed(delta)
    events = machine.feed(Steered())
    assert names(events) == [*closed, "incomplete"]
    final = events[-1].body["response"]
    assert (final["status"], final["incomplete_details"]) == ("incomplete", {"reason": "steered"})
    assert [item["status"] for item in final["output"]] == ["incomplete"] * len(said)


def test_a_call_cannot_be_steered() -> None:
    machine = response_machine()
    machine.start()
    machine.feed(CallStart("add", "call_1"))
    with pytest.raises(MachineError):
        machine.feed(Steered())


def test_a_warm_up_says_nothing() -> None:
    machine = response_machine()
    events = [*machine.start(), *machine.feed(Warmed(Usage(5, 0, 0, 0)))]
    assert names(events) == [*BEGIN, "completed"]
    final = events[-1].body["response"]
    assert (final["status"], final["output"], final["usage"]["input_tokens"]) == ("completed", [], 5)


def test_deltas_that_come_at_once_are_told_as_if_one_by_one() -> None:
    one_by_one = play(TextDelta("Hel"), TextDelta("lo"), CallStart("f", "c1"), CallArguments("{}"), STOP)
    at_once = play(Batch((TextDelta("Hel"), TextDelta("lo"), CallStart("f", "c1"), CallArguments("{}"))), STOP)
    assert at_once == one_by_one


def test_what_came_at_once_before_what_is_wrong_stays_said() -> None:
    machine = response_machine()
    events = machine.start()
    with pytest.raises(MachineError):
        machine.feed(Batch((TextDelta("Hel"), CallArguments("{}"))))
    events += machine.fault(EngineFailed("It broke."))
    assert names(events) == [*BEGIN, *OPEN_TEXT, "output_text.delta", *CLOSE_TEXT, "failed"]
    assert [event.body["sequence_number"] for event in events] == list(range(len(events)))
