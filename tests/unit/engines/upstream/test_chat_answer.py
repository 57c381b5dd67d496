"""From a server's chunks to deltas: every mapping, and every oddity of servers that are almost alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain.errors import (
    AntiphonError,
    ContextLengthExceeded,
    InvalidRequest,
    Overloaded,
    RateLimited,
    UpstreamFailed,
)
from antiphon.engines.upstream.chat.answer import ChatParser
from antiphon.engines.upstream.chat.passthrough import ChatPassthroughParser
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
    Usage,
)
from support.call_pieces import WAYS
from support.upstreams import Json, chunk, usage_chunk

SCRUBBER = Scrubber("sk-secret-0123456789", "up.example")


def counted() -> OutputMeter:
    return OutputMeter(lambda: 7)


def answer(*chunks: bytes, disguised: tuple[str, ...] = (), tools: tuple[str, ...] = ()) -> list[Delta]:
    machine = ChatParser(SCRUBBER, counted(), disguised, tools)
    return [*(delta for each in chunks for delta in machine.feed(each)), *machine.finish()]


def whole(message: Json, finish: str | None = "stop", **more: Any) -> list[Delta]:
    body = {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}
    machine = ChatParser(SCRUBBER, counted())
    return [*machine.whole(json.dumps(body).encode()), *machine.finish()]


def call(index: int | None, name: str | None = None, arguments: Any = None, call_id: str | None = None) -> Json:
    made: Json = {"type": "function", "function": {"name": name, "arguments": arguments}, "id": call_id, "index": index}
    return {name: value for name, value in made.items() if value is not None}


def calls(*pieces: Json) -> bytes:
    return chunk({"tool_calls": list(pieces)})


END = chunk(finish="stop")
CALLED = chunk(finish="tool_calls")


def finish(deltas: list[Delta]) -> Finish:
    last = deltas[-1]
    assert isinstance(last, Finish)
    return last


# --- text -------------------------------------------------------------------------------------------------------------
def test_text_reasoning_and_refusals() -> None:
    deltas = answer(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "Hm"}),
        chunk({"reasoning": "."}),
        chunk({"content": "Yes", "reasoning": None}),
        chunk({"content": None, "refusal": "No"}),
        END,
        usage_chunk(),
    )
    assert deltas == [
        *(ReasoningDelta("Hm"), ReasoningDelta("."), TextDelta("Yes"), RefusalDelta("No")),
        Finish("stop", Usage(input_tokens=5, output_tokens=3)),
    ]


def test_a_text_in_parts() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
    deltas = answer(chunk({"content": [thinking, {"type": "text", "text": "Yes"}]}), END)
    assert deltas[:-1] == [ReasoningDelta("Hm"), TextDelta("Yes")]


def test_log_probabilities_wait_for_the_text_they_belong_to() -> None:
    def token(text: str, **more: Any) -> Json:
        return {"token": text, "logprob": -0.5, "bytes": None, "top_logprobs": [], **more}

    first = {"choices": [{"delta": {"content": ""}, "logprobs": {"content": [token("é")]}}]}
    top = [{"token": "?", "logprob": -2.0, "bytes": [63]}]
    second = {"choices": [{"delta": {"content": "é!"}, "logprobs": {"content": [token("!", top_logprobs=top)]}}]}
    deltas = answer(json.dumps(first).encode(), json.dumps(second).encode(), END)
    text = deltas[0]
    assert isinstance(text, TextDelta)
    assert [(each.token, each.bytes) for each in text.logprobs] == [("é", (0xC3, 0xA9)), ("!", (33,))]
    assert [each.bytes for each in text.logprobs[1].top_logprobs] == [(63,)]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
        ("eos", "stop"),
        ("tool_calls", "stop"),
    ],
)
def test_reasons(word: str, reason: str) -> None:
    assert finish(answer(chunk({"content": "a"}), chunk(finish=word))).reason == reason


def test_other_choices_are_passed_over() -> None:
    deltas = answer(chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk(finish="length", index=1), END)
    assert deltas[:-1] == [TextDelta("a")]
    assert finish(deltas).reason == "stop"


# --- usage ------------------------------------------------------------------------------------------------------------
def test_usage_with_all_its_parts() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 5, "cache_write_tokens": 20, "image_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 4, "accepted_prediction_tokens": 2},
    }
    assert finish(answer(chunk({"content": "a"}), END, usage_chunk(usage))).usage == Usage(100, 60, 50, 30, 20, 5, 4)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8}, Usage(9, 8, 1)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 99}}, Usage(9, 9, 1)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": None}, Usage(9, 0, 1)),
        # What makes no sense is estimated: the prompt as told, and a token for every four characters.
        ({"prompt_tokens": -1, "completion_tokens": 1}, Usage(7, 0, 2, estimated=True)),
        ({"prompt_tokens": "many"}, Usage(7, 0, 2, estimated=True)),
    ],
)
def test_odd_usage(usage: Json, expected: Usage) -> None:
    assert finish(answer(chunk({"content": "abcdefgh"}), END, usage_chunk(usage))).usage == expected


def test_usage_in_the_last_chunk_of_the_text() -> None:
    last = chunk({"content": "a"}, finish="stop", usage={"prompt_tokens": 2, "completion_tokens": 1})
    assert finish(answer(last)).usage == Usage(2, 0, 1)


# --- calls ------------------------------------------------------------------------------------------------------------
def test_a_call_comes_in_pieces() -> None:
    deltas = answer(
        chunk({"content": "Let me see."}),
        calls(call(0, "add", "", "call_1")),
        calls(call(0, arguments='{"a"')),
        calls(call(0, arguments=": 1}")),
        CALLED,
    )
    assert deltas == [
        *(TextDelta("Let me see."), CallStart("add", "call_1"), CallArguments('{"a"'), CallArguments(": 1}")),
        Finish("tool_calls", finish(deltas).usage),
    ]


def test_calls_side_by_side_come_one_after_the_other() -> None:
    deltas = answer(
        calls(call(0, "one", "", "a"), call(1, "two", "", "b")),
        calls(call(1, arguments='{"x":')),
        calls(call(0, arguments='{"y":')),
        calls(call(1, arguments="2}"), call(0, arguments="1}")),
        CALLED,
    )
    assert joined(deltas) == [("one", "a", '{"y":1}'), ("two", "b", '{"x":2}')]


def test_the_next_call_is_passed_on_as_soon_as_the_last_one_is_whole() -> None:
    machine = ChatParser(SCRUBBER, counted())
    machine.feed(calls(call(0, "one", "{}", "a")))
    assert machine.feed(calls(call(1, "two", '{"x"', "b"))) == [CallStart("two", "b"), CallArguments('{"x"')]
    with pytest.raises(UpstreamFailed, match="complete") as caught:
        machine.feed(calls(call(0, arguments="!")))
    assert caught.value.code == "upstream_invalid"


def joined(deltas: list[Delta]) -> list[tuple[str, str, str]]:
    made: list[tuple[str, str, str]] = []
    for delta in deltas:
        if isinstance(delta, CallStart):
            made.append((delta.name, delta.call_id, ""))
        elif isinstance(delta, CallArguments):
            made[-1] = (*made[-1][:2], made[-1][2] + delta.text)
    return made


def test_whole_calls_in_one_chunk_without_ids_or_indices() -> None:
    deltas = answer(calls(call(None, "one", {"a": "é"}), call(None, "two", '{"b": 2}')), END)
    [(first, first_id, first_args), (second, second_id, second_args)] = joined(deltas)
    assert (first, json.loads(first_args), second, second_args) == ("one", {"a": "é"}, "two", '{"b": 2}')
    assert first_id.startswith("call_")
    assert first_id != second_id
    assert finish(deltas).reason == "tool_calls"


def test_an_index_that_is_used_twice_is_two_calls() -> None:
    deltas = answer(calls(call(0, "one", "{}", "a")), calls(call(0, "two", "{}", "b")), CALLED)
    assert [name for name, _, _ in joined(deltas)] == ["one", "two"]


def test_a_name_and_id_that_are_repeated_are_one_call() -> None:
    deltas = answer(calls(call(0, "one", '{"a":', "x")), calls(call(0, "one", "1}", "x")), CALLED)
    assert joined(deltas) == [("one", "x", '{"a":1}')]


def test_a_name_that_comes_late() -> None:
    assert joined(answer(calls(call(0, None, "{}", "x")), calls(call(0, "one")), CALLED)) == [("one", "x", "{}")]
    with pytest.raises(UpstreamFailed, match="without a name"):
        answer(calls(call(0, None, "{}", "x")), CALLED)


@pytest.mark.parametrize("pieces", WAYS)
def test_which_call_a_piece_belongs_to(pieces: list[Json]) -> None:
    deltas = answer(*(calls(each) for each in pieces), CALLED, tools=("get_weather", "get_time"))
    made = [(name, json.loads(arguments)) for name, _, arguments in joined(deltas)]
    assert made == [("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Rome"})]
    assert len({call_id for _, call_id, _ in joined(deltas)}) == 2
    assert finish(deltas).reason == "tool_calls"


@pytest.mark.parametrize("arguments", ["", None, " "])
def test_a_call_without_arguments_is_called_with_none(arguments: str | None) -> None:
    pieces = [calls(call(0, "one", arguments, "a")), calls(call(1, "two", "", "b"))]
    assert [json.loads(text) for _, _, text in joined(answer(*pieces, CALLED))] == [{}, {}]
    assert joined(answer(pieces[0], chunk(finish="length")))[0][2].strip() == ""


def test_a_call_that_is_cut_off_is_incomplete_whatever_its_server_says() -> None:
    deltas = answer(calls(call(0, "one", '{"path": "/ho', "a")), CALLED)
    assert finish(deltas).reason == "length"
    assert joined(deltas) == [("one", "a", '{"path": "/ho')]


@pytest.mark.parametrize(("pieces", "text"), [((rb"A\ud83d", rb"\ude00B"), "A😀B"), ((rb"A\ud83d", b"B"), "A\ufffdB")])
def test_halves_of_characters(pieces: tuple[bytes, ...], text: str) -> None:
    deltas = answer(*(chunk({"content": "HERE"}).replace(b"HERE", piece) for piece in pieces), END)
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == text


def test_an_answer_that_goes_on_and_on_ends_as_one_that_is_out_of_tokens() -> None:
    machine = ChatParser(SCRUBBER, OutputMeter(lambda: 7, 10))
    said = 0
    while not machine.finished:
        said += 12
        machine.feed(chunk({"reasoning": "twelve chars"}))
        assert said < 10_000
    assert machine.finish() == [Finish("length", Usage(7, output_tokens=said // 4, estimated=True))]


def test_the_deprecated_function_call() -> None:
    deltas = answer(
        chunk({"function_call": {"name": "add", "arguments": "{"}}),
        chunk({"function_call": {"arguments": "}"}}),
        chunk(finish="function_call"),
    )
    assert [(name, arguments) for name, _, arguments in joined(deltas)] == [("add", "{}")]
    assert finish(deltas).reason == "tool_calls"


def test_custom_tools_real_and_disguised() -> None:
    real = chunk({"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "note", "input": "h"}}]})
    more = chunk({"tool_calls": [{"index": 0, "custom": {"input": "i"}}]})
    assert answer(real, more, CALLED)[:-1] == [CallStart("note", "a", "custom"), CallArguments("h"), CallArguments("i")]
    pieces = [calls(call(0, "note", '{"input": "h', "a")), calls(call(0, arguments='i"}')), CALLED]
    assert answer(*pieces, disguised=("note",))[:-1] == [CallStart("note", "a", "custom"), CallArguments("hi")]
    assert answer(calls(call(0, "note", "plain", "a")), CALLED, disguised=("note",))[1] == CallArguments("plain")


def test_what_is_said_after_a_call_comes_after_it() -> None:
    deltas = answer(
        calls(call(0, "one", '{"a":', "x")),
        chunk({"content": "\n"}),
        chunk({"content": "Done."}),
        calls(call(0, arguments="1}")),
        CALLED,
    )
    assert deltas[:-1] == [CallStart("one", "x"), CallArguments('{"a":'), CallArguments("1}"), TextDelta("Done.")]


# --- whole answers ----------------------------------------------------------------------------------------------------
def test_a_whole_answer() -> None:
    message = {"content": "Hi", "reasoning_content": "Hm", "tool_calls": [call(None, "add", "{}", "x")]}
    deltas = whole(message, "tool_calls", usage={"prompt_tokens": 2, "completion_tokens": 1})
    assert deltas == [
        *(ReasoningDelta("Hm"), TextDelta("Hi"), CallStart("add", "x"), CallArguments("{}")),
        Finish("tool_calls", Usage(2, 0, 1)),
    ]
    assert finish(whole({"content": "Hi"}, None)).reason == "stop"


@pytest.mark.parametrize(
    "body", [b"{}", b'{"choices": []}', b"[]", b"null", b"<html>", b'{"choices": 7}', b"\xff", b""]
)
def test_a_whole_answer_that_is_none(body: bytes) -> None:
    for machine in (ChatParser(SCRUBBER, counted()), ChatPassthroughParser(SCRUBBER, counted(), show_usage=True)):
        with pytest.raises(UpstreamFailed) as caught:
            machine.whole(body)
        assert caught.value.code == "upstream_invalid"


# --- streams that break -----------------------------------------------------------------------------------------------
def test_a_stream_that_is_cut_off() -> None:
    with pytest.raises(UpstreamFailed) as caught:
        answer(chunk({"content": "a"}))
    assert caught.value.code == "upstream_truncated"
    with pytest.raises(UpstreamFailed):
        answer()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "boom", "type": "server_error"}, UpstreamFailed),
        ({"message": "boom", "code": 502}, UpstreamFailed),
        ({"message": "slow down", "code": "rate_limit_exceeded"}, RateLimited),
        ({"message": "slow down", "code": "429"}, RateLimited),
        ({"message": "busy", "type": "overloaded_error"}, Overloaded),
        ({"message": "bad", "type": "invalid_request_error"}, InvalidRequest),
        ({"message": "prompt is too long", "type": "server_error"}, ContextLengthExceeded),
        ({"message": "no money", "type": "insufficient_quota"}, UpstreamFailed),
        ("boom", UpstreamFailed),
        ([1], UpstreamFailed),
    ],
)
def test_an_error_in_the_stream(error: Any, kind: type[AntiphonError]) -> None:
    for data in ({"error": error}, {"error": error, "choices": "odd"}):
        with pytest.raises(kind):
            answer(chunk({"content": "a"}), json.dumps(data).encode())


def test_reasons_that_are_faults() -> None:
    with pytest.raises(UpstreamFailed):
        answer(chunk({"content": "a"}), chunk(finish="error"))
    with pytest.raises(Overloaded):
        answer(chunk({"content": "a"}), chunk(finish="insufficient_system_resource"))


def test_errors_that_are_null_are_none() -> None:
    assert answer(chunk({"content": "a"}, error=None), END)[0] == TextDelta("a")


# --- in the server's own words ----------------------------------------------------------------------------------------
def passthrough(*chunks: bytes, show_usage: bool = False, tools: tuple[str, ...] = ()) -> list[Delta]:
    machine = ChatPassthroughParser(SCRUBBER, counted(), show_usage=show_usage, model="asked", tools=tools)
    return [*(delta for each in chunks for delta in machine.feed(each)), *machine.finish()]


FIRST = chunk({"role": "assistant", "content": ""})


def test_chunks_are_passed_on_as_they_came() -> None:
    odd = (
        b'{ "model": "m", "object":"chat.completion.chunk","created":1, "id":"x", "choices":[{"index":0, '
        b'"delta":{"content":"Hi","x":[1]},"finish_reason":null}], "provider": {"a": 1e2} }'
    )
    deltas = passthrough(FIRST, odd, END, usage_chunk())
    assert deltas == [
        PassthroughDelta(FIRST),
        PassthroughDelta(odd, "Hi"),
        PassthroughDelta(END),
        Finish("stop", Usage(5, 0, 3)),
    ]


def test_the_chunk_with_the_usage_is_shown_to_whom_asked_for_it() -> None:
    assert passthrough(FIRST, chunk({"content": "a"}), END, usage_chunk(), show_usage=True)[3] == PassthroughDelta(
        usage_chunk()
    )


def test_pings_are_not_passed_on() -> None:
    assert len(passthrough(b'{"type": "ping"}', b'{"choices": []}', chunk({"content": "a"}), END)) == 3


def test_the_text_of_a_chunk_is_all_that_it_says() -> None:
    deltas = passthrough(
        chunk({"reasoning_content": "Hm", "content": "a"}),
        chunk({"refusal": "No"}),
        calls(call(0, "add", "{}", "x")),
        chunk({"tool_calls": [{"index": 1, "custom": {"name": "note", "input": "hi"}}]}),
        chunk({"function_call": {"name": "f", "arguments": "{}"}}),
        CALLED,
    )
    assert [delta.text for delta in deltas if isinstance(delta, PassthroughDelta)] == [
        "Hma",
        "No",
        "add{}",
        "notehi",
        "f{}",
        "",
    ]
    # 19 characters; the server has told nothing of its usage.
    assert finish(deltas) == Finish("tool_calls", Usage(7, 0, 5, estimated=True))


def test_a_chunk_of_several_lines_becomes_one_line() -> None:
    [delta, _] = passthrough(json.dumps(json.loads(chunk({"content": "a\nb"}, finish="stop")), indent=1).encode())
    assert isinstance(delta, PassthroughDelta)
    assert b"\n" not in delta.data
    assert json.loads(delta.data)["choices"][0]["delta"]["content"] == "a\nb"


def test_a_native_stream_that_is_cut_off() -> None:
    with pytest.raises(UpstreamFailed):
        passthrough(chunk({"content": "a"}))


# --- anything ---------------------------------------------------------------------------------------------------------
text = st.one_of(st.none(), st.text(max_size=3))
pieces = st.fixed_dictionaries(
    {},
    optional={
        "index": st.one_of(st.none(), st.integers(-2, 3)),
        "id": text,
        "function": st.one_of(
            st.none(), st.fixed_dictionaries({"name": text, "arguments": st.one_of(text, st.just("{}"))})
        ),
        "custom": st.one_of(st.none(), st.fixed_dictionaries({"name": text, "input": text})),
    },
)
saids = st.fixed_dictionaries(
    {},
    optional={
        "content": text,
        "reasoning": text,
        "refusal": text,
        "tool_calls": st.lists(pieces, max_size=3),
        "function_call": st.fixed_dictionaries({"name": text, "arguments": text}),
    },
)
chunks_ = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"index": st.integers(0, 1), "delta": saids}), max_size=2)}
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "content", "error", "usage", "index", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.lists(st.one_of(chunks_, anything), max_size=8), st.booleans())
def test_whatever_comes_makes_a_legal_sequence_or_a_clean_error(said: list[Any], ended: bool) -> None:
    data = [json.dumps(each).encode() for each in said] + [END] * ended
    for machine in (ChatParser(SCRUBBER, counted()), ChatPassthroughParser(SCRUBBER, counted(), show_usage=True)):
        deltas: list[Delta] = []
        try:
            for each in data:
                deltas += machine.feed(each)
            deltas += machine.finish()
        except AntiphonError:
            continue
        assert [isinstance(delta, Finish) for delta in deltas] == [False] * (len(deltas) - 1) + [True]
        in_call = False
        for delta in deltas:
            if isinstance(delta, CallStart):
                in_call = True
                assert delta.name
                assert delta.call_id
            elif isinstance(delta, CallArguments):
                assert in_call
                assert delta.text
            else:
                in_call = False
