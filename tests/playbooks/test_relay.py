"""Playbooks of a relayed response: what another server says, and what comes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from antiphon.domain.errors import AntiphonError, UpstreamFailed
from antiphon.protocol.events import Event, MachineError
from antiphon.protocol.generation import Finish, PassthroughDelta, TextDelta, Usage
from antiphon.protocol.responses.ending import Steered
from antiphon.protocol.responses.machine import ResponseMachine
from antiphon.protocol.responses.table import ItemDelta
from conformance.samples import call, message, reasoning, response, stream
from conformance.sequence import check_sequence
from conformance.spec import check_response_event
from support.hosted import CITED, SEALED, SEARCH, said, searching
from support.machines import names, response_machine

Body = dict[str, Any]
STOP = Finish("stop", Usage(5, 2, 7, 1))


def passthrough(event: Body) -> PassthroughDelta:
    return PassthroughDelta(json.dumps(event).encode())


def relayed(events: list[Body], end: Finish | None = STOP, **options: Any) -> tuple[ResponseMachine, list[Event]]:
    """Feed a machine with a stream; the specification is checked if it comes to its end."""
    machine = response_machine(**options)
    out = machine.start()
    for event in events:
        out += machine.feed(passthrough(event))
    if end is not None:
        out += machine.feed(end)
        check(out)
    return machine, out


def check(events: list[Event]) -> None:
    bodies = [event.body for event in events]
    check_sequence(bodies)
    for body in bodies:
        check_response_event(body)


def broken(events: list[Body]) -> list[Event]:
    """The stream up to what cannot be, and its clean end."""
    machine = response_machine()
    out = machine.start()
    try:
        for event in events:
            out += machine.feed(passthrough(event))
        out += machine.feed(STOP)
    except UpstreamFailed as error:
        out += machine.fault(error)
    assert machine.error is not None, "nothing was found to be wrong"
    assert machine.error.code == "upstream_invalid"
    check(out)
    assert out[-1].type == "response.failed"
    return out


def without(kind: str, events: list[Body]) -> list[Body]:
    return [event for event in events if not event["type"].startswith(f"response.{kind}")]


def test_hosted_tools_and_annotations_are_passed_on_as_they_are() -> None:
    machine, out = relayed(searching())
    assert names(out)[:4] == ["created", "in_progress", "output_item.added", "output_item.done"]
    assert names(out)[5:8] == [f"web_search_call.{step}" for step in ("in_progress", "searching", "completed")]
    assert machine.output == [SEALED, SEARCH, said()]
    final = out[-1].body["response"]
    assert (final["id"], final["model"], final["service_tier"]) == ("resp_0", "m", "priority")
    assert final["usage"]["total_tokens"] == 12
    assert {event.body["response"]["id"] for event in out if "response" in event.body} == {"resp_0"}


def test_our_words_about_the_response_stay_ours() -> None:
    body = {"instructions": "Be brief.", "metadata": {"a": "b"}, "store": False}
    _, out = relayed(searching(instructions="theirs", metadata={}, store=True), body=body)
    final = out[-1].body["response"]
    assert (final["instructions"], final["metadata"], final["store"]) == ("Be brief.", {"a": "b"}, False)


def test_a_rich_stream_stays_the_same() -> None:
    machine, out = relayed(stream())
    assert [event.type for event in out] == [event["type"] for event in stream()]
    assert machine.output == stream()[-1]["response"]["output"]


def test_padding_is_as_the_client_wants_it() -> None:
    _, plain = relayed(searching())
    assert not any("obfuscation" in event.body for event in plain)
    _, padded = relayed(searching(), obfuscate=True)
    pads = [event.body["obfuscation"] for event in padded if event.type.endswith(".delta")]
    assert pads[0] == "abc"
    assert pads[1]


def test_an_answer_after_a_compaction_goes_on_behind_it() -> None:
    machine = response_machine()
    out = machine.start()
    out += machine.feed(ItemDelta({"id": "cmp_1", "type": "compaction", "encrypted_content": "x"}))
    for event in searching():
        out += machine.feed(passthrough(event))
    out += machine.feed(STOP)
    check(out)
    assert [item["type"] for item in machine.output] == ["compaction", "reasoning", "web_search_call", "message"]


def test_what_is_not_known_is_passed_on() -> None:
    events = searching()
    news = {"type": "response.web_search_call.dreaming", "item_id": "ws_up1", "output_index": 1, "of": ["sheep"]}
    newer = {"type": "response.mood", "mood": {"good": True}, "response_id": "resp_up", "event_type": 1, "self": 2}
    machine = response_machine()
    out = machine.start()
    out += machine.feed(ItemDelta({"id": "cmp_1", "type": "compaction", "encrypted_content": "x"}))
    for event in (*events[:7], news, newer, *events[7:]):
        out += machine.feed(passthrough(event))
    out += machine.feed(STOP)
    assert [event.body["sequence_number"] for event in out] == list(range(len(out)))
    passed = {event.type: event.body for event in out}
    assert passed["response.web_search_call.dreaming"]["output_index"] == 2
    assert passed["response.web_search_call.dreaming"]["of"] == ["sheep"]
    mood = passed["response.mood"]
    assert (mood["mood"], mood["response_id"], mood["event_type"], mood["self"]) == ({"good": True}, "resp_0", 1, 2)


def test_an_item_of_a_type_that_is_not_known_is_kept() -> None:
    item = {"type": "dream_call", "id": "dr_1", "status": "completed", "sheep": 3}
    events = searching()[:2]
    events += [
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress"}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response(output=[item])},
    ]
    machine = response_machine()
    out = machine.start()
    for event in events:
        out += machine.feed(passthrough(event))
    out += machine.feed(STOP)
    check_sequence([event.body for event in out])
    assert machine.output == [item]


# --- what is left out -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "left_out",
    [
        *(
            "content_part.added",
            "output_text.done",
            "content_part.done",
            "output_text.annotation",
            "reasoning_text.done",
        ),
        *("reasoning_summary_text", "reasoning_summary_part", "function_call_arguments", "output_item.done"),
        *("content_part", "output_text.delta", "reasoning_summary_part.done", "function_call_arguments.delta"),
        *("reasoning_text.done", "web_search_call", "created", "in_progress", "reasoning"),
    ],
)
@pytest.mark.parametrize("events", [stream(), searching()], ids=["plain", "hosted"])
def test_what_is_left_out_is_put_in(events: list[Body], left_out: str) -> None:
    output = events[-1]["response"]["output"]
    bare = without(left_out, events)
    if left_out == "content_part":
        bare = without("output_text", without("reasoning_text", bare))
    machine, _ = relayed(bare)
    assert [_bare(item) for item in machine.output] == [_bare(item) for item in output]


@pytest.mark.parametrize("events", [stream(), searching()], ids=["plain", "hosted"])
def test_an_answer_may_come_with_its_end_alone(events: list[Body]) -> None:
    machine, _ = relayed(events[-1:])
    assert machine.output == events[-1]["response"]["output"]


def _bare(item: Body) -> Body:
    """An item without the log probabilities, which only deltas may have told."""
    copy: Body = json.loads(json.dumps(item))
    for part in copy.get("content") or []:
        part.pop("logprobs", None)
    return copy


def test_names_of_open_responses_are_understood() -> None:
    events = [{**event, "type": event["type"].replace("reasoning_text", "reasoning")} for event in stream()]
    _, out = relayed(events)
    assert [event.type for event in out] == [event["type"] for event in stream()]


def test_items_side_by_side_are_done_in_order() -> None:
    first, second = call(id="fc_1", call_id="call_1"), call(id="fc_2", call_id="call_2")
    adds = [
        {"type": "response.output_item.added", "output_index": index, "item": {**item, "arguments": ""}}
        for index, item in enumerate((first, second))
    ]
    dones = [
        {"type": "response.output_item.done", "output_index": index, "item": item}
        for index, item in enumerate((first, second))
    ]
    end = {"type": "response.completed", "response": response(output=[first, second])}
    machine, out = relayed([*adds, dones[1], dones[0], end])
    assert machine.output == [first, second]
    done = [event.body["item"]["id"] for event in out if event.type == "response.output_item.done"]
    assert done == ["fc_1", "fc_2"]


DELTA = {"type": "response.output_text.delta", "item_id": "msg_1", "content_index": 0, "delta": "Hello"}
CALLED = call(id="fc_1", call_id="call_1", arguments="")


def ending(*output: Body, **members: Any) -> Body:
    return {"type": "response.completed", "response": response(output=list(output), **members)}


@pytest.mark.parametrize(
    "events",
    [
        [{**DELTA, "output_index": 0}, ending(message())],
        [DELTA, ending(message())],
        [{**DELTA, "output_index": "0"}, ending(message())],
        [{**DELTA, "output_index": 0.0}, ending(message())],
        [{"type": DELTA["type"], "delta": "Hello"}, ending(message())],
        [{**DELTA, "output_index": 0, "delta": "Hel"}, {**DELTA, "output_index": 0, "delta": "lo"}, ending(message())],
        [{"type": "response.output_text.done", "output_index": 0, "item_id": "msg_1", "text": "Hello"},
         ending(message())],
        [{"type": "response.content_part.added", "output_index": 0, "item_id": "msg_1", "content_index": 0,
          "part": {"type": "output_text", "text": ""}}, DELTA, ending(message())],
        [{"type": "response.output_item.done", "output_index": 0, "item": message()}, ending(message())],
        [{"type": "response.output_item.done", "item": message()}, ending(message())],
        [DELTA, {"type": "response.output_item.added", "output_index": 0, "item": message(content=[])},
         ending(message())],
        [DELTA, {"type": "response.output_item.done", "item": message()}, ending(message())],
    ],
)  # fmt: skip
def test_an_item_whose_beginning_is_left_out_begins_with_its_first_event(events: list[Body]) -> None:
    machine, out = relayed(events)
    assert machine.output[0]["content"][0]["text"] == "Hello"
    assert names(out)[:5] == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
    ]


def test_reasoning_whose_beginning_is_left_out() -> None:
    said = {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "H."}
    item = reasoning(summary=[{"type": "summary_text", "text": "H."}], content=None)
    machine, _ = relayed([said, ending(item)])
    assert machine.output[0]["summary"] == [{"type": "summary_text", "text": "H."}]


@pytest.mark.parametrize("piece", [None, {"type": "response.function_call_arguments.delta", "output_index": 0,
                                          "item_id": "fc_1", "delta": '{"a"'}])  # fmt: skip
def test_a_call_whose_beginning_is_left_out_comes_with_its_end(piece: Body | None) -> None:
    done = {"type": "response.output_item.done", "output_index": 0, "item": call()}
    machine, _ = relayed([*([piece] if piece else []), done, ending(call())])
    assert machine.output == [call()]


@pytest.mark.parametrize("steps", [(), ("delta",), ("done",), ("item",), ("delta", "done", "item")])
def test_a_call_without_arguments_is_called_with_none(steps: tuple[str, ...]) -> None:
    where = {"output_index": 0, "item_id": "fc_1"}
    known = {
        "delta": {"type": "response.function_call_arguments.delta", **where, "delta": ""},
        "done": {"type": "response.function_call_arguments.done", **where, "arguments": "", "name": "f"},
        "item": {"type": "response.output_item.done", "output_index": 0, "item": CALLED},
    }
    added = {"type": "response.output_item.added", "output_index": 0, "item": CALLED}
    machine, _ = relayed([added, *(known[step] for step in steps), ending(CALLED)])
    assert machine.output[0]["arguments"] == "{}"


def test_two_calls_with_one_id_can_be_told_apart() -> None:
    first, second = call(id="fc_1"), call(id="fc_2", arguments='{"a": 2}')
    dones = [
        {"type": "response.output_item.done", "output_index": index, "item": item}
        for index, item in enumerate((first, second))
    ]
    machine, _ = relayed([*dones, ending(first, second)])
    assert [item["arguments"] for item in machine.output] == ['{"a": 1}', '{"a": 2}']
    assert machine.output[0]["call_id"] == "call_1"
    assert machine.output[1]["call_id"] != "call_1"


def test_a_call_that_is_cut_off_is_incomplete_whatever_its_server_says() -> None:
    machine, _ = relayed([ending(call(arguments='{"path": "/ho'))], Finish("length", Usage(5, 2, 7, 1)))
    assert machine.output[0]["status"] == "incomplete"
    assert machine.snapshot()["status"] == "incomplete"


@pytest.mark.parametrize("count", [2**63, 2**40, -1])
def test_counts_that_cannot_be_are_not_shown(count: int) -> None:
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": count, "output_tokens": 1, "total_tokens": count + 1, **details}
    _, out = relayed(searching(usage=usage))
    assert out[-1].body["response"]["usage"]["total_tokens"] == 12


# --- what cannot be ---------------------------------------------------------------------------------------------------
HEAD = searching()[:2]


@pytest.mark.parametrize(
    "events",
    [
        [],
        [{"type": "response.completed", "response": None}],
        [{"type": "response.completed", "response": response()}, searching()[2]],
        [{"type": "response.output_item.done", "output_index": 0, "item": message()}],
        [{"type": "response.output_item.added", "output_index": -1, "item": message()}],
        [{"type": "response.output_item.added", "output_index": True, "item": message()}],
        [{"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "role": "user"}}],
        [{"type": "response.output_item.added", "output_index": 0, "item": {"type": "function_call", "name": "f"}}],
        [{"type": "response.output_item.added", "output_index": 0, "item": "x"}],
        [searching()[2], searching()[2]],
        [searching()[2], {**searching()[3], "item": SEARCH}],
        [{"type": "response.output_text.delta", "item_id": "x", "output_index": 0, "content_index": 0, "delta": "a"}],
        [*stream()[2:6], {**stream()[4], "delta": "more"}],
        [*stream()[2:5], {**stream()[5], "text": "other"}],
        [*stream()[12:15], {**stream()[15], "delta": 3}],
        [*stream()[12:15], {**stream()[15], "logprobs": [1]}],
        [{"type": "response.web_search_call.searching", "item_id": "ws", "output_index": 0}],
        [{"type": "response.a\nb"}],
        [{"type": 5}],
        [{"type": "error", "code": "x", "message": "y"}],
        [*searching()[2:3], {"type": "response.completed", "response": response(output=[])}],
    ],
)  # fmt: skip
def test_nonsense_ends_in_one_clean_failure(events: list[Body]) -> None:
    broken([*HEAD, *events])


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 500])
def test_what_is_no_event_is_refused(data: bytes) -> None:
    machine = response_machine()
    out = machine.start()
    with pytest.raises(UpstreamFailed) as refused:
        machine.feed(PassthroughDelta(data))
    check([*out, *machine.fault(refused.value)])


def test_what_was_right_before_it_went_wrong_is_said() -> None:
    out = broken([*searching()[:13], {"type": "error"}])
    assert [item["id"] for item in out[-1].body["response"]["output"]] == ["rs_up1", "ws_up1", "msg_up1"]
    assert out[-1].body["response"]["output"][2]["status"] == "incomplete"


def test_a_native_answer_is_native_to_its_end() -> None:
    machine, _ = relayed(searching()[:12], end=None)
    with pytest.raises(MachineError):
        machine.feed(TextDelta("neutral"))
    assert not machine.ended


# --- other ends -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("length", range(2, 18))
@pytest.mark.parametrize("end", ["cancel", "fault", "restored"])
def test_it_may_end_anywhere(length: int, end: str) -> None:
    machine, out = relayed(searching()[:length], end=None)
    if end == "restored":
        again = response_machine()
        again.restore([event.body for event in out])
        machine = again
    out += machine.fault(AntiphonError("Sorry.")) if end == "fault" else machine.cancel()
    check_sequence([event.body for event in out])
    assert machine.ended


def test_incomplete() -> None:
    events = searching()[:13]
    details = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    events.append({"type": "response.incomplete", "response": response(output=[SEALED, SEARCH], **details)})
    machine, out = relayed(events, Finish("length", Usage(5, 2, 7, 1)))
    assert out[-1].body["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert machine.output[-1]["status"] == "incomplete"


@pytest.mark.parametrize(("code", "shown"), [("rate_limit_exceeded", "rate_limit_exceeded"), ("x y", "server_error")])
def test_published_codes_of_failures_are_kept(code: str, shown: str) -> None:
    machine, out = relayed(searching()[:12], end=None)
    out += machine.fault(UpstreamFailed("Sorry.", code=code))
    check(out)
    assert out[-1].body["response"]["error"]["code"] == shown


def test_it_can_be_steered_where_nothing_waits() -> None:
    machine, out = relayed([*HEAD, *stream()[2:15]], end=None)
    assert machine.steerable
    out += machine.feed(Steered())
    check_sequence([event.body for event in out])
    calling, _ = relayed([*HEAD, *stream()[2:21]], end=None)
    assert not calling.steerable


# --- ids --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("theirs", ["msg_up1", "msg known", "m" * 600, "", 7, None])
def test_ids_that_cannot_be_ours_are_made_here(theirs: Any) -> None:
    events = json.loads(json.dumps(searching()).replace('"msg_up1"', json.dumps(theirs)))
    taken = {"msg_up1"}
    machine, _ = relayed(events, reserved_ids=taken)
    assert machine.output[-1]["id"] == "msg_1"
    assert machine.output[-1]["content"] == [CITED]


def test_one_id_twice() -> None:
    events = searching()
    more = [json.loads(json.dumps(event).replace('"output_index": 2', '"output_index": 3')) for event in events[9:17]]
    end = {**events[17], "response": response(output=[SEALED, SEARCH, said(), said()])}
    machine, _ = relayed([*events[:17], *more, end])
    assert [item["id"] for item in machine.output] == ["rs_up1", "ws_up1", "msg_up1", "msg_1"]


def test_counts_that_do_not_add_up_are_not_shown() -> None:
    _, out = relayed(searching(usage={"input_tokens": 1, "output_tokens": 1, "total_tokens": 9}))
    assert out[-1].body["response"]["usage"]["total_tokens"] == 12


def test_reasoning_that_is_whole_at_once() -> None:
    item = reasoning(encrypted_content="x")
    end = {"type": "response.completed", "response": response(output=[item])}
    machine, out = relayed([*HEAD, end])
    assert machine.output == [item]
    assert "reasoning_summary_text.delta" in names(out)
