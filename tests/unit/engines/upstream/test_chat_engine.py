"""The engine over Chat Completions: whose words are used when, what is enforced, and how a generation ends."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from antiphon.domain.errors import DeadlineExceeded, EngineUnavailable, InvalidRequest, OutputInvalid, UpstreamFailed
from antiphon.engines.upstream.engine import UpstreamEngine
from antiphon.engines.upstream.reply import Reply
from antiphon.engines.upstream.stream import AnswerStream
from antiphon.protocol.generation import (
    Batch,
    Delta,
    Finish,
    Generation,
    Grammar,
    ImagePart,
    Message,
    OutputFormat,
    Passthrough,
    PassthroughDelta,
    TextDelta,
    Tool,
    ToolChoice,
    Usage,
)
from contract.engine_contract import Run, asking, calls_of, collect, finish_of, text_of
from support.chat_engines import HASTY, chat_engine
from support.upstreams import (
    BreakOff,
    ChatUpstream,
    Json,
    Says,
    Stall,
    chat_upstream,
    chunk,
    completed,
    failing,
    saying,
    sse,
    streamed,
    usage_chunk,
)

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
ADD = Tool("add", "Adds.", SCHEMA)
BODY: Json = {"model": "theirs", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def upstream() -> Iterator[ChatUpstream]:
    with chat_upstream() as upstream:
        yield upstream


@pytest.fixture
def engine(run: Run, upstream: ChatUpstream) -> Iterator[UpstreamEngine]:
    upstream.behave = saying("Hel", "lo")
    with chat_engine(run, upstream.url, deadlines=HASTY) as engine:
        yield engine


def passthrough(**more: Any) -> Generation:
    body = {**BODY, **more}
    return asking("Hi", passthrough=Passthrough("chat", body), streamed=bool(body.get("stream")))


# --- whose words ------------------------------------------------------------------------------------------------------
def test_a_clients_own_words_are_sent_and_the_servers_are_passed_on(
    run: Run, upstream: ChatUpstream, engine: UpstreamEngine
) -> None:
    deltas = run(collect(engine, passthrough(stream=True, vendor={"x": 1}, store=False)))
    assert upstream.last == {
        "model": "up-model",
        "messages": BODY["messages"],
        "vendor": {"x": 1},
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert [delta.text for delta in deltas if isinstance(delta, PassthroughDelta)] == ["", "Hel", "lo", ""]
    assert finish_of(deltas) == Finish("stop", Usage(5, 0, 3))
    shown = run(collect(engine, passthrough(stream=True, stream_options={"include_usage": True})))
    assert PassthroughDelta(usage_chunk()) in shown


def test_a_whole_answer_is_passed_on_as_it_is(run: Run, upstream: ChatUpstream, engine: UpstreamEngine) -> None:
    [delta, finish] = run(collect(engine, passthrough()))
    assert isinstance(delta, PassthroughDelta)
    assert delta.text == "Hello"
    assert json.loads(delta.data)["choices"][0]["message"]["content"] == "Hello"
    assert finish == Finish("stop", Usage(5, 0, 3))


def test_a_server_that_does_not_stream_is_made_to(run: Run, upstream: ChatUpstream, engine: UpstreamEngine) -> None:
    upstream.behave = lambda _: completed({"content": "Hello"})
    [delta, _] = run(collect(engine, passthrough(stream=True)))
    assert isinstance(delta, PassthroughDelta)
    made = json.loads(delta.data)
    assert made["object"] == "chat.completion.chunk"
    assert made["choices"][0]["delta"] == {"role": "assistant", "content": "Hello"}
    assert made["choices"][0]["finish_reason"] == "stop"
    assert run(collect(engine, asking("Hi")))[0] == TextDelta("Hello")


@pytest.mark.parametrize("more", [{"tools": (ADD,)}, {"output": OutputFormat("json_object")}], ids=["tools", "output"])
def test_what_must_be_enforced_is_asked_in_our_words(
    run: Run, upstream: ChatUpstream, engine: UpstreamEngine, more: dict[str, Any]
) -> None:
    upstream.behave = saying("{}")
    deltas = run(collect(engine, asking("Hi", passthrough=Passthrough("chat", {**BODY, "x": 1}), **more)))
    assert text_of(deltas) == "{}"
    assert "x" not in upstream.last


def test_what_only_the_clients_own_words_can_say_is_refused_in_ours(run: Run, engine: UpstreamEngine) -> None:
    generation = asking("Hi", passthrough=Passthrough("chat", {**BODY, "web_search_options": {"a": 1}}), tools=(ADD,))
    for ask in (engine.generate(generation), engine.check(generation)):
        with pytest.raises(InvalidRequest) as caught:
            run(ask)
        assert caught.value.param == "web_search_options"


def test_content_that_is_not_taken_is_refused_also_in_the_clients_own_words(run: Run, upstream: ChatUpstream) -> None:
    with chat_engine(run, upstream.url, "deepseek") as engine:
        image = Message("user", (ImagePart("https://x.test/a.png", path="messages[0].content[0]"),))
        assert not engine.capabilities.images
        with pytest.raises(InvalidRequest, match="images"):
            run(engine.generate(asking(image, passthrough=Passthrough("chat", BODY))))
        with pytest.raises(InvalidRequest, match="images"):
            run(engine.check(asking(image, passthrough=Passthrough("chat", BODY))))


def test_another_surfaces_words_are_translated(run: Run, upstream: ChatUpstream, engine: UpstreamEngine) -> None:
    deltas = run(collect(engine, asking("Hi", passthrough=Passthrough("responses", {"input": "Hi"}))))
    assert text_of(deltas) == "Hello"


def test_what_comes_at_once_is_given_at_once_to_whom_wants_it(
    run: Run, upstream: ChatUpstream, engine: UpstreamEngine
) -> None:
    at_once = b"".join(sse(chunk({"content": "a"}), chunk({"content": "b"}), chunk(finish="stop")))
    upstream.behave = lambda _: Says([at_once], kind="text/event-stream")
    [batch, finish] = run(collect(engine, asking("Hi", batches=True)))
    assert batch == Batch((TextDelta("a"), TextDelta("b")))
    assert isinstance(finish, Finish)
    [batch, _] = run(collect(engine, msgspec.structs.replace(passthrough(stream=True), batches=True)))
    assert isinstance(batch, Batch)
    assert [delta.text for delta in batch.deltas if isinstance(delta, PassthroughDelta)] == ["a", "b", ""]
    upstream.behave = saying("Hi")
    assert isinstance(run(collect(engine, asking("Hi", batches=True)))[0], TextDelta)


def test_without_a_name_of_its_own_the_model_is_as_asked(run: Run, upstream: ChatUpstream) -> None:
    with chat_engine(run, upstream.url, model=None) as engine:
        for generation in (asking("Hi"), passthrough()):
            run(collect(engine, generation))
            assert upstream.last["model"] == "model"
        assert engine.name == "route"


# --- what is enforced -------------------------------------------------------------------------------------------------
def test_json_that_is_almost_right_is_repaired(run: Run, upstream: ChatUpstream, engine: UpstreamEngine) -> None:
    upstream.behave = saying("```json\n{'a': 1,}", "\n```")
    deltas = run(collect(engine, asking("Hi", output=OutputFormat("json_schema", "x", SCHEMA))))
    assert json.loads(text_of(deltas)) == {"a": 1}
    upstream.behave = saying("no")
    with pytest.raises(OutputInvalid):
        run(collect(engine, asking("Hi", output=OutputFormat("json_schema", "x", SCHEMA, strict=True))))


def test_a_call_that_must_be_made_is_found_in_the_text(
    run: Run, upstream: ChatUpstream, engine: UpstreamEngine
) -> None:
    upstream.behave = saying('{"name": "add", "arguments": {"a": 1}}')
    deltas = run(collect(engine, asking("Hi", tools=(ADD,), tool_choice=ToolChoice("required"))))
    assert calls_of(deltas) == [("add", '{"a": 1}')]


def test_a_custom_tool_on_a_server_without_any(run: Run, upstream: ChatUpstream, engine: UpstreamEngine) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "note", "arguments": '{"input": "hi"}'}}
    upstream.behave = lambda _: streamed(chunk({"tool_calls": [call]}), chunk(finish="tool_calls"))
    assert calls_of(run(collect(engine, asking("Hi", tools=(Tool("note", kind="custom"),))))) == [("note", "hi")]
    bound = Tool("note", kind="custom", grammar=Grammar("regex", "[a-z]+"))
    with pytest.raises(InvalidRequest, match="grammar"):
        run(engine.check(asking("Hi", tools=(bound,))))


def test_a_server_that_keeps_its_word_is_believed(run: Run, upstream: ChatUpstream) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "add", "arguments": '{"a":'}}
    more = {"index": 0, "function": {"arguments": "1}"}}
    upstream.behave = lambda _: streamed(
        chunk({"tool_calls": [call]}), chunk({"tool_calls": [more]}), chunk(finish="tool_calls")
    )
    with chat_engine(run, upstream.url, "openai") as engine:
        deltas = run(collect(engine, asking("Hi", tools=(ADD,), tool_choice=ToolChoice("required"))))
        assert len(deltas) == 4, "arguments come as they are made"
        body = {**BODY, "stream": True, "tools": [], "tool_choice": "required"}
        deltas = run(collect(engine, asking("Hi", tools=(ADD,), passthrough=Passthrough("chat", body))))
        assert isinstance(deltas[0], PassthroughDelta)
        assert finish_of(deltas).reason == "tool_calls"


# --- how it ends ------------------------------------------------------------------------------------------------------
async def until_fault(engine: UpstreamEngine, generation: Generation) -> tuple[list[Delta], Exception]:
    deltas: list[Delta] = []
    try:
        async for delta in await engine.generate(generation):
            deltas += [delta]
    except Exception as error:
        return deltas, error
    raise AssertionError("nothing went wrong")


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("tail", "code"),
    [
        ([b"data: {\n\n"], "upstream_invalid"),
        ([b'data: {"error": {"message": "x"}}\n\n'], "upstream_error"),
        ([BreakOff()], "upstream_error"),
        ([], "upstream_truncated"),
        ([Stall()], "upstream_timeout"),
    ],
)
def test_what_came_before_a_fault_is_given(
    run: Run, upstream: ChatUpstream, engine: UpstreamEngine, own: bool, tail: list[Any], code: str
) -> None:
    said = b"".join(sse(chunk({"content": "a"}), chunk({"content": "b"}), done=False))
    pieces = [said + tail[0]] if tail and isinstance(tail[0], bytes) else [said, *tail]
    upstream.behave = lambda _: Says(pieces, kind="text/event-stream")
    deltas, error = run(until_fault(engine, passthrough(stream=True) if own else asking("Hi")))
    assert isinstance(error, UpstreamFailed | DeadlineExceeded)
    assert error.code == code
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta | PassthroughDelta)] == ["a", "b"]


@pytest.mark.parametrize("tail", [BreakOff(), Stall()])
def test_an_answer_that_was_whole_but_for_its_usage_is_not_lost(
    run: Run, upstream: ChatUpstream, engine: UpstreamEngine, tail: Any
) -> None:
    pieces = [*sse(chunk({"content": "abcd"}), chunk(finish="stop"), done=False), tail]
    upstream.behave = lambda _: Says(pieces, kind="text/event-stream")
    finish = finish_of(run(collect(engine, asking("Hi"))))
    assert finish.reason == "stop"
    assert finish.usage.estimated
    assert finish.usage.output_tokens == 1


def test_refusals_come_before_the_stream(run: Run, upstream: ChatUpstream, engine: UpstreamEngine) -> None:
    upstream.behave = failing(400, {"message": "no", "param": "messages[0].content"})
    with pytest.raises(InvalidRequest) as caught:
        run(engine.generate(passthrough()))
    assert caught.value.param == "messages[0].content"
    with pytest.raises(InvalidRequest) as caught:
        run(engine.generate(asking("Hi")))
    assert caught.value.param is None, "it is a name of another surface, perhaps"
    upstream.behave = failing(400, {"message": "no", "param": "temperature"})
    with pytest.raises(InvalidRequest) as caught:
        run(engine.generate(asking("Hi")))
    assert caught.value.param == "temperature"


def test_closing_hangs_up(run: Run, upstream: ChatUpstream, engine: UpstreamEngine) -> None:
    upstream.behave = lambda _: Says([*sse(chunk({"content": "a"}), done=False), Stall()], kind="text/event-stream")

    async def main(steps: int) -> None:
        before = upstream.hung_up
        stream = await engine.generate(asking("Hi"))
        for _ in range(steps):
            await anext(stream)
        await stream.aclose()
        for _ in range(100):
            if upstream.hung_up > before:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the upstream goes on")

    for steps in (0, 1):
        run(main(steps))


def test_a_stopped_engine_says_so(run: Run, engine: UpstreamEngine) -> None:
    run(engine.stop())
    with pytest.raises(EngineUnavailable):
        run(engine.generate(asking("Hi")))
    run(engine.start())
    run(collect(engine, asking("Hi")))


def test_an_answer_leaves_nothing_to_the_garbage_collector(
    run: Run, upstream: ChatUpstream, engine: UpstreamEngine
) -> None:
    def left() -> list[object]:
        return [each for each in gc.get_objects() if isinstance(each, Reply | AnswerStream)]

    async def main() -> None:
        for generation in (asking("Hi"), passthrough(), passthrough(stream=True)):
            await collect(engine, generation)
            stream = await engine.generate(generation)
            await anext(stream)
            await stream.aclose()
        del stream
        # The end of a stream's connection may come a little after the end of its answer.
        for _ in range(100):
            if not left():
                return
            await asyncio.sleep(0.05)

    gc.collect()
    gc.disable()
    try:
        run(main())
        assert not left()
    finally:
        gc.enable()


# --- counting ---------------------------------------------------------------------------------------------------------
def test_tokens_as_vllm_counts_them(run: Run, upstream: ChatUpstream) -> None:
    upstream.behave = lambda _: Says([b'{"count": 42, "tokens": []}'])
    with chat_engine(run, upstream.url, "vllm") as engine:
        assert run(engine.count_tokens(asking("Hi", tools=(ADD,)))) == 42
        assert upstream.asked[-1].path == "/tokenize"
        assert upstream.last["tools"][0]["function"]["name"] == "add"
        upstream.behave = failing(404)
        assert 3 < run(engine.count_tokens(asking("Hi"))) < 20
