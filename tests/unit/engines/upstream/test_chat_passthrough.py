"""A server's own words, put right where clients would fall over them: judged by the official SDK's own accumulator."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from antiphon.domain.errors import UpstreamFailed
from antiphon.engines.upstream.chat.passthrough import ChatPassthroughParser
from antiphon.engines.upstream.scrubber import Scrubber
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.protocol.generation import Delta, Finish, PassthroughDelta, Usage
from conformance.spec import check_chat_chunk
from support.call_pieces import OSLO, ROME, WAYS, piece
from support.upstreams import ENVELOPE, Json, chunk, usage_chunk

SECRET = "sk-secret-0123456789"
FIRST = chunk({"role": "assistant", "content": ""})
END, CALLED = chunk(finish="stop"), chunk(finish="tool_calls")


def machine(*, most: int | None = None, **options: Any) -> ChatPassthroughParser:
    settings: Json = {"show_usage": False, "model": "asked", "tools": ("get_weather", "get_time"), **options}
    return ChatPassthroughParser(Scrubber(SECRET, "up.example"), OutputMeter(lambda: 7, most), **settings)


def streamed(*events: bytes | Json, **options: Any) -> tuple[list[Json], Finish]:
    """The chunks that a client gets, each checked against the specification."""
    answer = machine(**options)
    deltas: list[Delta] = []
    for event in events:
        deltas += answer.feed(event if isinstance(event, bytes) else json.dumps(event).encode())
    deltas += answer.finish()
    *said, finish = deltas
    assert isinstance(finish, Finish)
    chunks = [json.loads(delta.data) for delta in said if isinstance(delta, PassthroughDelta)]
    for each in chunks:
        check_chat_chunk(each)
    return chunks, finish


def accumulated(chunks: list[Json]) -> Json:
    """What the official SDK's stream helper makes of them."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for each in chunks:
        list(state.handle_chunk(ChatCompletionChunk.model_validate(each)))
    return state.current_completion_snapshot.to_dict()


def message(*events: bytes | Json, **options: Any) -> Json:
    """The one message that comes of it. Each official client must understand it."""
    whole = accumulated(streamed(*events, **options)[0])
    [choice] = whole["choices"]
    assert choice["index"] == 0
    assert choice["message"]["role"] == "assistant"
    return {**choice["message"], "finish_reason": choice["finish_reason"]}


def calls(*pieces: Json) -> bytes:
    return chunk({"tool_calls": list(pieces)})


def called(said: Json) -> list[tuple[str, str]]:
    ids = [call["id"] for call in said["tool_calls"]]
    assert len(set(ids)) == len(ids)
    assert all(ids)
    assert all(call["type"] == "function" for call in said["tool_calls"])
    return [(call["function"]["name"], call["function"]["arguments"]) for call in said["tool_calls"]]


# --- chunks -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "events",
    [
        [{"choices": [{"delta": {"content": "Hello!"}}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}],
        [chunk({"role": "", "content": "Hel"}), chunk({"role": "assistant", "content": "lo!"}), END],
        [chunk({"role": None, "content": "Hel"}), chunk({"role": "model", "content": "lo!"}), END],
        [chunk({"content": "Hello!"}, index=1), chunk({}, finish="stop", index=1)],
        [{**ENVELOPE, "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}}]}, END],
        [{**ENVELOPE, "created": 1.5, "choices": [{"index": "0", "delta": {"content": "Hello!"}}]}, END],
        [{**ENVELOPE, "id": 7, "object": "x", "model": None, "choices": [{"delta": {"content": "Hello!"}}]}, END],
        [{**ENVELOPE, "choices": {"index": 0, "delta": {"content": "Hello!"}}}, END],
        [chunk({"content": [{"type": "text", "text": "Hello!"}]}), END],
        [chunk({"content": "Hel"}), chunk({"content": "x"}, index=3), chunk({"content": "lo!"}), END],
        [chunk({"content": "Hello!", "tool_calls": [], "refusal": None, "reasoning_content": None}), END],
        [chunk({"content": "Hel"}, finish=""), chunk({"content": "lo!"}, logprobs=None), END],
    ],
)
def test_whatever_is_left_out_or_odd_the_client_gets_whole_chunks(events: list[Any]) -> None:
    said = message(*events)
    assert (said["content"], said["finish_reason"]) == ("Hello!", "stop")


@pytest.mark.parametrize(
    ("word", "reason"),
    [("eos_token", "stop"), ("STOP", "stop"), ("append_and_unlock", "stop"), ("MAX_TOKENS", "length"), ("SAFETY",
     "content_filter"), ("tool_use", "tool_calls"), ("whatever", "stop")],
)  # fmt: skip
def test_words_for_the_end_become_the_published_ones(word: str, reason: str) -> None:
    assert message(FIRST, chunk({"content": "a"}), chunk(finish=word))["finish_reason"] == reason


def test_one_envelope_is_made_up_and_kept() -> None:
    chunks, _ = streamed({"choices": [{"delta": {"content": "a"}}]}, {"choices": [{"finish_reason": "stop"}]})
    assert len({each["id"] for each in chunks}) == 1
    assert {(each["model"], each["object"]) for each in chunks} == {("asked", "chat.completion.chunk")}


def test_unknown_members_go_on_with_what_is_put_right() -> None:
    odd = {"provider": {"a": 1}, "choices": [{"delta": {"content": "a", "x": [1]}, "y": 2}]}
    [first, _], _ = streamed(odd, END)
    assert first["provider"] == {"a": 1}
    assert first["choices"][0]["y"] == 2
    assert first["choices"][0]["delta"]["x"] == [1]


def test_what_is_right_is_passed_on_byte_by_byte() -> None:
    answer = machine()
    events = [FIRST, *(chunk({"content": f"w{n} "}) for n in range(20)), chunk({"content": '"\\\n'}), END]
    assert [
        delta.data for event in events for delta in answer.feed(event) if isinstance(delta, PassthroughDelta)
    ] == events


def test_chunks_known_by_their_bytes_are_no_others() -> None:
    """What looks like the chunks before it, and is not, is looked into."""
    plain = chunk({"content": "word"})
    for odd in (
        plain.replace(b'"word"', b'"a", "tool_calls": [{"id": "x", "function": {"name": "get_time"}}]'),
        plain.replace(b'"word"', b'"a\\ud83d"'),
        plain.replace(b'"word"', b'"a\\"b"'),
        plain.replace(b'"word"', b'"a", "role": "assistant"'),
    ):
        answer = machine()
        answer.feed(FIRST)
        for _ in range(3):
            answer.feed(plain)
        [delta] = answer.feed(odd)
        assert isinstance(delta, PassthroughDelta)
        check_chat_chunk(json.loads(delta.data))
    answer = machine()
    answer.feed(FIRST)
    answer.feed(plain)
    with pytest.raises(UpstreamFailed):
        answer.feed(plain.replace(b'"word"', b'"a\xff"'))


@pytest.mark.parametrize("noise", [None, "abcdef"])
def test_texts_of_chunks_known_by_their_bytes(noise: str | None) -> None:
    more = {} if noise is None else {"obfuscation": noise}
    texts = ["", "a", "ü日本", "two words", "tab\t", "\u200d", "x" * 300]
    answer = machine()
    answer.feed(FIRST)
    answer.feed(chunk({"content": "word"}, **more))
    for text in texts:
        data = json.dumps({**json.loads(chunk({"content": text}, **more))}, ensure_ascii=False).encode()
        [delta] = answer.feed(data)
        assert delta == PassthroughDelta(data, text)


# --- characters -------------------------------------------------------------------------------------------------------
def raw(text: str) -> bytes:
    return chunk({"content": "TEXT"}).replace(b"TEXT", text.encode())


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([r"A\ud83d", r"\ude00B"], "A😀B"),
        ([r"A\ud83d", "", r"\ude00B"], "A😀B"),
        ([r"A\ud83d\ude00", r"\ud83d", r"\ude00"], "A😀😀"),
        ([r"A\ud83d", "B"], "A\ufffdB"),
        ([r"A\ud83d"], "A\ufffd"),
        ([r"\ude00A"], "\ufffdA"),
        ([r"A\ud83dB", "C"], "A\ufffdBC"),
    ],
)
def test_halves_of_characters(pieces: list[str], text: str) -> None:
    assert message(FIRST, *map(raw, pieces), END)["content"] == text


def test_halves_of_characters_in_arguments() -> None:
    one = calls(piece("HERE", "get_weather", index=0, id="a", type="function"))
    said = message(FIRST, one.replace(b"HERE", rb"{\"a\": \"\ud83d"), calls(piece("HERE", index=0)).replace(
        b"HERE", rb"\ude00\"}"), CALLED)  # fmt: skip
    assert called(said) == [("get_weather", '{"a": "😀"}')]


# --- calls ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pieces", WAYS)
def test_which_call_a_piece_belongs_to(pieces: list[Json]) -> None:
    expected = [("get_weather", OSLO), ("get_weather", ROME)]
    one_by_one = message(FIRST, *(calls(each) for each in pieces), CALLED)
    made = [(name, json.dumps(json.loads(arguments), separators=(",", ":"))) for name, arguments in called(one_by_one)]
    assert made == expected
    assert one_by_one["finish_reason"] == "tool_calls"


def test_well_formed_calls_are_passed_on_byte_by_byte() -> None:
    answer = machine()
    events = [FIRST, *(calls(piece("", "get_weather", index=n, id=f"c{n}", type="function")) for n in (0, 1)),
              *(calls({"index": n, "function": {"arguments": text}}) for text in ('{"a', '":1}') for n in (0, 1)),
              CALLED]  # fmt: skip
    assert [
        delta.data for event in events for delta in answer.feed(event) if isinstance(delta, PassthroughDelta)
    ] == events


@pytest.mark.parametrize("arguments", ["", None, " "])
def test_a_call_without_arguments_is_called_with_none(arguments: str | None) -> None:
    said = message(FIRST, calls(piece(arguments, "get_time", index=0, id="a", type="function")), CALLED)
    assert [(name, text.strip()) for name, text in called(said)] == [("get_time", "{}")]
    legacy = message(FIRST, chunk({"function_call": {"name": "f", "arguments": arguments}}), chunk(
        finish="function_call"))  # fmt: skip
    assert legacy["function_call"]["arguments"].strip() == "{}"


@pytest.mark.parametrize("cut", ['{"path": "/home', '{"path": "/home"', '{"path":', '{"a": {"b": 1}'])
def test_a_call_that_is_cut_off_is_incomplete_whatever_its_server_says(cut: str) -> None:
    said = message(FIRST, calls(piece(cut, "get_weather", index=0, id="a", type="function")), CALLED)
    assert said["finish_reason"] == "length"
    assert called(said) == [("get_weather", cut)]


def test_too_many_calls_are_refused() -> None:
    answer = machine()
    answer.feed(FIRST)
    many = [piece("{}", "get_time", index=number, id=str(number)) for number in range(2_000)]
    with pytest.raises(UpstreamFailed):
        answer.feed(calls(*many))


def test_a_call_without_a_name_is_refused() -> None:
    with pytest.raises(UpstreamFailed, match="without a name"):
        streamed(FIRST, calls(piece(OSLO, index=0, id="a")), CALLED)


# --- usage ------------------------------------------------------------------------------------------------------------
LAST = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
SAID = [FIRST, chunk({"content": "twelve chars"}), END]


@pytest.mark.parametrize(
    ("events", "expected", "estimated"),
    [
        ([*SAID, usage_chunk()], LAST, False),
        ([*SAID, {**ENVELOPE, "usage": LAST}], LAST, False),
        ([*SAID, {**ENVELOPE, "choices": None, "usage": LAST}], LAST, False),
        ([*SAID[:2], chunk(finish="stop", usage=LAST)], LAST, False),
        ([*SAID, usage_chunk({"prompt_tokens": 5.0, "completion_tokens": "3", "total_tokens": 8.0})], LAST, False),
        ([*SAID, usage_chunk({"input_tokens": 5, "output_tokens": 3, "total_tokens": 8})], LAST, False),
        ([*SAID, usage_chunk({"prompt_tokens": 5, "total_tokens": 8})], LAST, False),
        ([*SAID, usage_chunk({**LAST, "total_tokens": 99})], LAST, False),
        (SAID, {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}, True),
        ([*SAID, usage_chunk({**LAST, "completion_tokens": 2**70})], LAST, False),
        ([*SAID, usage_chunk({"prompt_tokens": 5, "completion_tokens": 2**70})], {"completion_tokens": 3}, True),
        ([*SAID, usage_chunk({"prompt_tokens": 5, "total_tokens": 2**70})], {"completion_tokens": 3}, True),
        ([*SAID, usage_chunk({**LAST, "prompt_tokens": -5})], LAST, False),
        ([*SAID, usage_chunk({"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5})], {"prompt_tokens": 5,
         "completion_tokens": 3}, True),
        ([*SAID, usage_chunk({"prompt_tokens": 0, "completion_tokens": 3, "total_tokens": 3})], {"prompt_tokens": 7},
         True),
        ([*SAID, {**ENVELOPE, "choices": [], "usage": None}], {"completion_tokens": 3}, True),
        ([*SAID, {**ENVELOPE, "choices": [], "usage": "lots"}], {"completion_tokens": 3}, True),
    ],
)  # fmt: skip
def test_whoever_asks_for_usage_gets_it_once_at_the_end(events: list[Any], expected: Json, estimated: bool) -> None:
    chunks, finish = streamed(*events, show_usage=True)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"].items() >= expected.items()
    assert [each for each in chunks[:-1] if each.get("usage")] == []
    assert finish.usage.estimated == estimated
    assert finish.usage.input_tokens == chunks[-1]["usage"]["prompt_tokens"]
    assert finish.usage.output_tokens == chunks[-1]["usage"]["completion_tokens"]
    assert accumulated(chunks)["usage"] is not None
    assert not any(each["choices"] == [] for each in streamed(*events)[0])


def test_an_answer_that_goes_on_and_on_ends_as_one_that_is_out_of_tokens() -> None:
    answer = machine(most=10)
    answer.feed(FIRST)
    said = 0
    while not answer.finished:
        said += 12
        last = answer.feed(chunk({"content": "twelve chars"}))[-1]
        assert said < 10_000
    assert isinstance(last, PassthroughDelta)
    assert json.loads(last.data)["choices"][0]["finish_reason"] == "length"
    [finish] = answer.finish()
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.usage) == ("length", Usage(7, output_tokens=said // 4, estimated=True))


# --- whole completions ------------------------------------------------------------------------------------------------
def completion(said: Json, *, finish: Any = "stop", **more: Any) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": LAST,
            **more}  # fmt: skip


def whole(body: Json, **options: Any) -> tuple[Json, Finish]:
    answer = machine(streamed=False, **options)
    [delta] = answer.whole(json.dumps(body).encode())
    [finish] = answer.finish()
    assert isinstance(delta, PassthroughDelta)
    assert isinstance(finish, Finish)
    made = json.loads(delta.data)
    ChatCompletion.model_validate(made)
    return made, finish


def test_a_whole_answer_is_passed_on_as_it_came() -> None:
    answer = machine(streamed=False)
    for said in (
        {"content": "a", "x": 1},
        {"content": None, "tool_calls": [piece("{}", "f", id="a", type="function")]},
    ):
        data = json.dumps(completion(said)).encode()
        assert answer.whole(data)[0] == PassthroughDelta(data, answer_text(said))
        answer = machine(streamed=False)


def answer_text(said: Json) -> str:
    return said["content"] or "f{}"


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "Hello!"}}]},
        completion({"content": "Hello!", "role": None}, finish=None),
        completion({"content": "Hello!"}, finish="eos_token", created=1.7, id=None, object="text_completion"),
        completion({"content": [{"type": "text", "text": "Hello!"}]}),
        {**completion({}), "choices": {"message": {"content": "Hello!"}, "finish_reason": "stop"}},
        {"choices": [{"delta": {"content": "Hello!"}, "finish_reason": {"type": "stop"}}]},
    ],
)
def test_a_whole_answer_is_put_right(body: Json) -> None:
    made, finish = whole(body)
    assert made["object"] == "chat.completion"
    [choice] = made["choices"]
    assert (choice["index"], choice["finish_reason"], finish.reason) == (0, "stop", "stop")
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == "Hello!"
    assert made["usage"]["total_tokens"] == finish.usage.input_tokens + finish.usage.output_tokens


@pytest.mark.parametrize("same", [True, False])
def test_calls_of_a_whole_answer_are_as_many_as_they_are(same: bool) -> None:
    more = {"id": "a", "index": 0} if same else {}
    pieces = [piece("", "get_time", **more), piece({"a": 1}, "get_time", **more), piece("", "get_time", **more)]
    made, _ = whole(completion({"content": None, "tool_calls": pieces}, finish="tool_calls"))
    message = made["choices"][0]["message"]
    assert [text for _, text in called(message)] == ["{}", '{"a": 1}', "{}"]
    assert not any("index" in call for call in message["tool_calls"])


def test_a_whole_call_that_is_cut_off() -> None:
    pieces = [piece('{"path": "/ho', "get_weather", id="a", type="function")]
    made, finish = whole(completion({"content": None, "tool_calls": pieces}, finish="tool_calls"))
    assert (made["choices"][0]["finish_reason"], finish.reason) == ("length", "length")


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 2**63, "completion_tokens": 1}, "x", {}, LAST | {"x": 1}])
def test_usage_of_a_whole_answer_is_what_is_billed(usage: Any) -> None:
    made, finish = whole(completion({"content": "Hello!"}, usage=usage))
    assert made["usage"]["prompt_tokens"] == finish.usage.input_tokens
    assert made["usage"]["completion_tokens"] == finish.usage.output_tokens > 0
    assert finish.usage.estimated == (not isinstance(usage, dict) or "x" not in usage)


def test_a_whole_answer_for_who_wants_a_stream_becomes_chunks() -> None:
    said = {"content": "Hi", "tool_calls": [piece("", "get_time")]}
    answer = machine(show_usage=True)
    deltas = [*answer.whole(json.dumps(completion(said, finish="tool_calls")).encode()), *answer.finish()]
    chunks = [json.loads(delta.data) for delta in deltas if isinstance(delta, PassthroughDelta)]
    for each in chunks:
        check_chat_chunk(each)
    made = accumulated(chunks)
    assert made["choices"][0]["message"]["content"] == "Hi"
    assert called(made["choices"][0]["message"]) == [("get_time", "{}")]
    assert made["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["total_tokens"] == 8


# --- secrets ----------------------------------------------------------------------------------------------------------
def test_the_secret_of_the_server_is_masked_in_what_it_says() -> None:
    said = message(FIRST, chunk({"content": "word"}), chunk({"content": f"my key is {SECRET}!"}), END)
    assert said["content"] == "wordmy key is ***!"
    made, _ = whole(completion({"content": SECRET, "debug": {"key": SECRET}}))
    assert SECRET not in json.dumps(made)
