"""What a Responses server says, as neutral deltas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.domain.errors import AntiphonError, InvalidRequest, RateLimited, UpstreamFailed
from antiphon.engines.upstream.responses.answer import ResponsesParser
from antiphon.engines.upstream.responses.passthrough import ResponsesPassthroughParser
from antiphon.engines.upstream.scrubber import Scrubber
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    PassthroughDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    Usage,
)
from conformance.samples import call, message, reasoning, response, stream
from support.examples import examples
from support.hosted import searching

Body = dict[str, Any]
SECRET = "sk-upstream-secret-0123456789"
USED = Usage(input_tokens=5, cached_tokens=2, output_tokens=7, reasoning_tokens=1)
GUESSED = Usage(input_tokens=9, output_tokens=2, estimated=True)


def answer(*stops: str) -> ResponsesParser:
    return ResponsesParser(Scrubber(SECRET, "up.example"), OutputMeter(lambda: 9), stops)


def told(events: list[Body], *stops: str) -> list[Delta]:
    events_of = answer(*stops)
    deltas: list[Delta] = []
    for event in events:
        deltas += events_of.feed(json.dumps(event).encode())
        if events_of.finished:
            break
    return deltas + events_of.finish()


def event(kind: str, index: int = 0, **fields: Any) -> Body:
    return {"type": f"response.{kind}", "output_index": index, **fields}


def end(*output: Body, **members: Any) -> Body:
    return {"type": "response.completed", "response": response(output=list(output), **members)}


def test_a_rich_stream() -> None:
    token = TokenLogprob("Hel", -0.5, (72, 101, 108))
    assert told(stream()) == [
        # The reasoning's summary came first, so its text says nothing new.
        ReasoningDelta("H."),
        TextDelta("Hel", (token,)),
        TextDelta("lo", (TokenLogprob("lo", -0.5, (108, 111)),)),
        CallStart("f", "call_1"),
        CallArguments('{"a"'),
        CallArguments(": 1}"),
        Finish("tool_calls", USED, "default"),
    ]


def test_hosted_tools_are_left_out() -> None:
    assert told(searching()) == [TextDelta("Cats "), TextDelta("sleep."), Finish("stop", USED, "priority")]


@pytest.mark.parametrize("whole", [False, True])
def test_a_response_that_comes_with_its_end(whole: bool) -> None:
    last = end(reasoning(), message(), call())
    deltas = [ReasoningDelta("Hm."), TextDelta("Hello"), CallStart("f", "call_1"), CallArguments('{"a": 1}')]
    if whole:
        events = answer()
        assert events.whole(json.dumps(last["response"]).encode()) == deltas
        assert events.finish() == [Finish("tool_calls", USED, "default")]
    else:
        assert told([last]) == [*deltas, Finish("tool_calls", USED, "default")]


def test_calls_side_by_side_come_one_after_the_other() -> None:
    one, other = call(arguments="12"), call(arguments="34", id="fc_2", call_id="call_2", name="g")
    events = [
        event("output_item.added", 0, item={**one, "arguments": ""}),
        event("output_item.added", 1, item={**other, "arguments": ""}),
        event("function_call_arguments.delta", 1, delta="3"),
        event("function_call_arguments.delta", 0, delta="1"),
        event("output_item.done", 1, item=other),
        event("output_item.done", 0, item=one),
        end(one, other),
    ]
    assert told(events)[:-1] == [
        *(CallStart("f", "call_1"), CallArguments("1"), CallArguments("2")),
        *(CallStart("g", "call_2"), CallArguments("3"), CallArguments("4")),
    ]


def test_a_custom_call_and_a_refusal() -> None:
    custom = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "note", "input": "hi"}
    no = message(content=[{"type": "refusal", "refusal": "No."}])
    events = [
        event("refusal.delta", 0, delta="No."),
        event("output_item.done", 0, item=no),
        event("output_item.added", 1, item={**custom, "input": ""}),
        event("custom_tool_call_input.delta", 1, delta="hi"),
        event("output_item.done", 1, item=custom),
        end(no, custom),
    ]
    assert told(events) == [
        RefusalDelta("No."),
        CallStart("note", "c", "custom"),
        CallArguments("hi"),
        Finish("tool_calls", USED, "default"),
    ]


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("new", "length")]
)
def test_what_is_incomplete(reason: str, finish: str) -> None:
    last = {**end(), "type": "response.incomplete"}
    last["response"] |= {"status": "incomplete", "incomplete_details": {"reason": reason}}
    assert told([event("output_text.delta", delta="a"), last])[-1] == Finish(finish, USED, "default")  # type: ignore[arg-type]


def test_usage_that_is_not_told_is_estimated() -> None:
    events = [event("output_text.delta", delta="eight ch"), end(usage=None)]
    assert told(events)[-1] == Finish("stop", GUESSED, "default")


def test_it_ends_before_a_stop() -> None:
    events = [event("output_text.delta", delta=text) for text in ("one ST", "OP two")]
    assert told([*events, end()], "STOP") == [TextDelta("one "), Finish("stop", Usage(9, 0, 3, estimated=True))]
    held = told([*events[:1], end()], "STOP")
    assert held == [TextDelta("one "), TextDelta("ST"), Finish("stop", USED, "default")]


def test_a_stream_that_only_ends() -> None:
    with pytest.raises(UpstreamFailed) as caught:
        told([event("output_text.delta", delta="a")])
    assert caught.value.code == "upstream_truncated"


@pytest.mark.parametrize(
    "events", [answer, lambda: ResponsesPassthroughParser(Scrubber(SECRET, "up.example"), OutputMeter(lambda: 9))]
)
@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": SECRET}, RateLimited, "rate_limit_exceeded"),
        ({"type": "error", "error": {"type": "server_error", "message": SECRET}}, UpstreamFailed, "upstream_error"),
        ({"type": "response.failed", "response": {"error": {"code": "invalid_prompt", "message": SECRET}}},
         InvalidRequest, "invalid_prompt"),
        ({"type": "response.failed", "response": {"error": None}}, UpstreamFailed, "upstream_error"),
        ({"type": "response.failed", "response": 3}, UpstreamFailed, "upstream_error"),
        ({"type": "response.completed", "response": {"status": "in_progress"}}, UpstreamFailed, "upstream_invalid"),
        ({"type": "response.completed"}, UpstreamFailed, "upstream_invalid"),
    ],
)  # fmt: skip
def test_errors(events: Any, said: Body, kind: type[AntiphonError], code: str) -> None:
    with pytest.raises(kind) as caught:
        events().feed(json.dumps(said).encode())
    assert caught.value.code == code
    assert SECRET not in caught.value.message


WHOLE = message()


def passthrough(*events: Body | bytes, name: str = "message") -> list[Delta]:
    machine = ResponsesPassthroughParser(Scrubber(SECRET, "up.example"), OutputMeter(lambda: 9))
    data = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in events]
    return [*(delta for each in data for delta in machine.feed(each, name)), *machine.finish()]


@pytest.mark.parametrize("status", ["completed", "incomplete", None])
def test_the_end_may_be_told_in_other_words(status: str | None) -> None:
    last = {"type": "response.done", "response": {"status": status, "output": [WHOLE], "usage": None}}
    reason = "length" if status == "incomplete" else "stop"
    assert told([last])[:-1] == [TextDelta("Hello")]
    assert told([last])[-1] == Finish(reason, Usage(9, 0, 2, estimated=True))  # type: ignore[arg-type]
    [event, finish] = passthrough(last)
    assert isinstance(event, PassthroughDelta)
    made = json.loads(event.data)
    assert (made["type"], made["response"]["status"]) == (f"response.{status or 'completed'}", status or "completed")
    assert finish == Finish(reason, Usage(9, 0, 2, estimated=True))  # type: ignore[arg-type]


def test_a_type_may_stand_in_the_events_own_line_alone() -> None:
    machine = answer()
    assert machine.feed(b'{"output_index": 0, "delta": "a"}', "response.output_text.delta") == [TextDelta("a")]
    events = ResponsesPassthroughParser(Scrubber(SECRET, "up.example"), OutputMeter(lambda: 9))
    [delta] = events.feed(b'{"output_index": 0, "delta": "a"}', "response.output_text.delta")
    assert isinstance(delta, PassthroughDelta)
    assert json.loads(delta.data)["type"] == "response.output_text.delta"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7}, Usage(5, 0, 7)),
        ({"input_tokens": 5.0, "output_tokens": "7", "total_tokens": 12}, Usage(5, 0, 7)),
        ({"input_tokens": 5, "total_tokens": 12}, Usage(5, 0, 7)),
        ({"input_tokens": 2**64, "output_tokens": 7}, Usage(9, 0, 2, estimated=True)),
        ({"input_tokens": -1, "output_tokens": 7}, Usage(9, 0, 2, estimated=True)),
        ({"input_tokens": 5, "output_tokens": 0}, Usage(5, 0, 2, estimated=True)),
        ({}, Usage(9, 0, 2, estimated=True)),
        ("x", Usage(9, 0, 2, estimated=True)),
    ],
)
def test_usage_in_other_words_or_beyond_belief(usage: Any, expected: Usage) -> None:
    for deltas in (told([end(WHOLE, usage=usage)]), passthrough(end(WHOLE, usage=usage))):
        assert isinstance(deltas[-1], Finish)
        assert deltas[-1].usage == expected


def test_halves_of_characters() -> None:
    pieces = [json.dumps(event("output_text.delta", delta="HERE")).encode() for _ in range(2)]
    data = [pieces[0].replace(b"HERE", rb"A\ud83d"), pieces[1].replace(b"HERE", rb"\ude00B")]
    machine = answer()
    assert [delta for each in data for delta in machine.feed(each)] == [TextDelta("A"), TextDelta("😀B")]
    assert [delta.text for delta in passthrough(*data, end()) if isinstance(delta, PassthroughDelta)] == [
        "A",
        "😀B",
        "",
    ]


def test_an_answer_that_goes_on_and_on_ends_as_one_that_is_out_of_tokens() -> None:
    for machine in (
        ResponsesParser(Scrubber(SECRET, "up.example"), OutputMeter(lambda: 9, 10)),
        ResponsesPassthroughParser(Scrubber(SECRET, "up.example"), OutputMeter(lambda: 9, 10)),
    ):
        said, deltas = 0, []
        while not machine.finished:
            said += 12
            deltas = machine.feed(json.dumps(event("output_text.delta", delta="twelve chars")).encode())
            assert said < 10_000
        assert machine.finish() == [Finish("length", Usage(9, 0, said // 4, estimated=True))]
        if isinstance(deltas[-1], PassthroughDelta):
            assert json.loads(deltas[-1].data)["type"] == "response.incomplete"


def test_calls_are_told_apart_and_called_with_something() -> None:
    bare = [{**call(arguments=""), "id": None, "call_id": call_id} for call_id in ("x", "x", None)]
    deltas = told([end(*bare)])
    starts = [delta for delta in deltas if isinstance(delta, CallStart)]
    assert len({start.call_id for start in starts}) == 3
    assert [delta.text for delta in deltas if isinstance(delta, CallArguments)] == ["{}"] * 3
    cut = call(arguments='{"path": "/ho')
    for made in (told([end(cut)]), passthrough(end(cut))):
        assert isinstance(made[-1], Finish)
        assert made[-1].reason == "length"


def test_items_without_places_or_beginnings() -> None:
    bare = [{key: value for key, value in each.items() if key != "output_index"} for each in (
        event("output_text.delta", delta="Hel", item_id="m"), event("output_text.delta", delta="lo", item_id="m"),
        event("function_call_arguments.delta", delta='{"a"', item_id="f"),
        event("output_item.done", item=call(id="f")))]  # fmt: skip
    assert told([*bare, end(message(id="m"), call(id="f"))])[:-1] == [
        *(TextDelta("Hel"), TextDelta("lo"), CallStart("f", "call_1"), CallArguments('{"a": 1}')),
    ]


def test_native_events_are_passed_on_from_the_first_that_says_something() -> None:
    events = ResponsesPassthroughParser(Scrubber(SECRET, "up.example"), OutputMeter(lambda: 9))
    given = [json.dumps(event).encode() for event in searching()]
    deltas = [delta for data in given for delta in events.feed(data)]
    assert [delta.data for delta in deltas if isinstance(delta, PassthroughDelta)] == given[2:]
    assert "".join(delta.text for delta in deltas if isinstance(delta, PassthroughDelta)) == "Cats sleep."
    assert events.finish() == [Finish("stop", USED, "priority")]


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "item", "delta", "status", "output", "id"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=examples(200), deadline=None)
@given(st.integers(0, 24), st.sampled_from(["item", "delta", "output_index", "type", "response", "logprobs"]), anything)
def test_whatever_is_changed_it_is_an_answer_or_a_clean_error(at: int, name: str, value: Any) -> None:
    events = stream()
    events[at] = {**events[at], name: value}
    try:
        deltas = told(events)
    except AntiphonError:
        return
    assert isinstance(deltas[-1], Finish)
    calling = False
    for delta in deltas:
        calling = calling or isinstance(delta, CallStart)
        assert calling or not isinstance(delta, CallArguments)
