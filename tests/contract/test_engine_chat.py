"""An engine over Chat Completions keeps the engine's contract: with llama.cpp's own server, and with a scripted one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from antiphon.domain.errors import ContextLengthExceeded, UpstreamFailed
from antiphon.engines.upstream.engine import UpstreamEngine
from antiphon.protocol.generation import (
    Delta,
    Message,
    OutputFormat,
    Passthrough,
    PassthroughDelta,
    Sampling,
    TextDelta,
    TextPart,
    Tool,
    ToolChoice,
)
from contract.engine_contract import EngineContract, Run, asking, calls_of, collect, finish_of, text_of
from contract.llama import CODER, loop
from models import model_path
from support.chat_engines import chat_engine, llama_server
from support.shallow import shallow_model
from support.upstreams import Json, Says, chat_upstream, chunk, streamed, usage_chunk

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool("get_weather", "The weather of a city.", SCHEMA)


def passthrough(engine_says: list[Delta]) -> list[Json]:
    return [json.loads(delta.data) for delta in engine_says if isinstance(delta, PassthroughDelta)]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with loop() as run:
        yield run


class TestLlamaServer(EngineContract):
    """A real upstream."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, run: Run) -> Iterator[UpstreamEngine]:
        with (
            llama_server(run, shallow_model()) as (url, key),
            chat_engine(run, url, "llama-server", secret=key) as engine,
        ):
            yield engine

    def test_it_streams_with_log_probabilities(self, run: Run, engine: UpstreamEngine) -> None:
        sampling = Sampling(max_tokens=8, temperature=0.0, top_logprobs=2)
        deltas = run(collect(engine, asking("Tell me a long story.", sampling=sampling)))
        texts = [delta for delta in deltas if isinstance(delta, TextDelta)]
        assert len(texts) > 4
        tokens = [token for delta in texts for token in delta.logprobs]
        assert "".join(token.token for token in tokens) == text_of(deltas)
        assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in tokens)

    def test_a_whole_answer_is_the_same(self, run: Run, engine: UpstreamEngine) -> None:
        sampling = Sampling(max_tokens=8, temperature=0.0)
        generation = asking("Count to ten.", sampling=sampling)
        watched = run(collect(engine, generation))
        whole = run(collect(engine, asking("Count to ten.", sampling=sampling, streamed=False)))
        assert text_of(whole) == text_of(watched)
        assert sum(isinstance(delta, TextDelta) for delta in whole) == 1
        assert finish_of(whole).usage.output_tokens == finish_of(watched).usage.output_tokens

    def test_a_clients_own_words(self, run: Run, engine: UpstreamEngine) -> None:
        body = {"model": "mine", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 6, "top_k": 1}
        for streamed_ in (True, False):
            given = {**body, "stream": True} if streamed_ else body
            deltas = run(collect(engine, asking("Hi", passthrough=Passthrough("chat", given), streamed=streamed_)))
            assert all(isinstance(delta, PassthroughDelta) for delta in deltas[:-1])
            assert finish_of(deltas).usage.output_tokens == 6
            assert not finish_of(deltas).usage.estimated
            said = passthrough(deltas)
            assert all(each["choices"] for each in said)
            assert len(said) > 4 if streamed_ else len(said) == 1

    def test_a_prompt_that_is_too_long(self, run: Run, engine: UpstreamEngine) -> None:
        with pytest.raises(ContextLengthExceeded) as caught:
            run(collect(engine, asking("word " * 3000)))
        assert caught.value.param is None

    def test_json_is_held_to_its_schema(self, run: Run, engine: UpstreamEngine) -> None:
        generation = asking(
            "Berlin is a city. Name it.",
            output=OutputFormat("json_schema", "place", SCHEMA),
            sampling=Sampling(max_tokens=96),
        )
        deltas = run(collect(engine, generation))
        if finish_of(deltas).reason == "stop":
            assert set(json.loads(text_of(deltas))) == {"city"}


class TestTools:
    """A real upstream with a model that can call tools."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, run: Run) -> Iterator[UpstreamEngine]:
        with (
            llama_server(run, model_path(CODER), context=1536) as (url, key),
            chat_engine(run, url, "llama-server", secret=key) as engine,
        ):
            yield engine

    @pytest.mark.parametrize("names", [None, frozenset({"get_weather"})])
    def test_a_call_that_must_be_made_is_made(
        self, run: Run, engine: UpstreamEngine, names: frozenset[str] | None
    ) -> None:
        generation = asking(
            Message("user", (TextPart("What is the weather in Paris?"),)),
            tools=(WEATHER,),
            tool_choice=ToolChoice("required", names),
            sampling=Sampling(max_tokens=128, temperature=0.0),
        )
        deltas = run(collect(engine, generation))
        assert finish_of(deltas).reason == "tool_calls"
        [(name, arguments)] = calls_of(deltas)
        assert name == "get_weather"
        assert set(json.loads(arguments)) == {"city"}


class TestScripted(EngineContract):
    """A scripted upstream, which is never tired."""

    @staticmethod
    def behave(body: Json) -> Says:
        if body["messages"][-1]["content"].endswith("story."):
            return streamed(
                *(piece for n in range(400) for piece in (chunk({"content": f"word {n} "}),)), chunk(finish="length")
            )
        return streamed(chunk({"content": "Hello"}), chunk({"content": " you"}), chunk(finish="stop"), usage_chunk())

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, run: Run) -> Iterator[UpstreamEngine]:
        with chat_upstream(cls.behave) as upstream, chat_engine(run, upstream.url) as engine:
            yield engine

    def test_tokens_are_counted_as_they_are_charged(self, run: Run, engine: UpstreamEngine) -> None:
        """Servers of this kind do not count; then it is an estimate, which grows with the prompt."""
        short, long = (run(engine.count_tokens(asking("word " * size))) for size in (10, 1000))
        assert 10 <= short <= 40
        assert 900 <= long <= 1500

    def test_stopping_ends_a_stream_that_stalls(self, run: Run) -> None:
        from support.upstreams import Stall, sse

        stalling = Says([*sse(chunk({"content": "a"}), done=False), Stall()], kind="text/event-stream")

        async def main(engine: UpstreamEngine) -> None:
            stream = await engine.generate(asking("Hi"))
            await anext(stream)
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.05)
            await engine.stop()
            with pytest.raises(UpstreamFailed):
                await waiting

        with chat_upstream(lambda _: stalling) as upstream, chat_engine(run, upstream.url) as engine:
            run(main(engine))
