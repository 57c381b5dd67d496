"""A further API of upstreams is one dialect: how to ask, and how to read. All else comes with the engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from antiphon.domain.errors import DeadlineExceeded, OutputInvalid, RateLimited, UpstreamFailed
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.dialect import AnswerParser, Dialect, Json
from antiphon.engines.upstream.engine import UpstreamEngine
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.protocol.generation import Delta, Finish, Generation, Message, OutputFormat, TextDelta, Usage
from contract.engine_contract import Run, asking, collect, finish_of, text_of
from support.chat_engines import HASTY, chat_engine
from support.upstreams import ChatUpstream, Says, Stall, chat_upstream, failing, sse

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FORMAT = OutputFormat("json_schema", "a", SCHEMA, strict=True)
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


class Lines(Dialect):
    """An API that takes `{"lines": […]}`, and answers `{"line": …}` events and a last one, `{"end": …}`."""

    path = "/lines"
    ends_with_last_event = True

    def body(self, generation: Generation, model: str) -> Json:
        lines = [turn.text for turn in generation.turns if isinstance(turn, Message)]
        return {"use": model, "lines": lines, "events": generation.streamed}

    def parser(self, generation: Generation, meter: OutputMeter) -> AnswerParser:
        return LinesParser(meter)


class LinesParser:
    """Reads the answer."""

    def __init__(self, meter: OutputMeter) -> None:
        self._meter = meter
        self.finished = False

    def feed(self, data: bytes, name: str = "message") -> list[Delta]:
        event = json.loads(data)
        self.finished = "end" in event
        self._meter.add(event.get("line", ""))
        return [TextDelta(event["line"])] if "line" in event else []

    def whole(self, data: bytes) -> list[Delta]:
        self.finished = True
        return [TextDelta(json.loads(data)["line"])]

    def finish(self) -> list[Delta]:
        if not self.finished:
            raise errors.truncated()
        return [Finish("stop", self._meter.usage(Usage(3, output_tokens=2)))]


def saying(*lines: str, end: bool = True) -> Says:
    events = [json.dumps({"line": line}).encode() for line in lines]
    return Says(sse(*events, *([b'{"end": 1}'] if end else []), done=False), kind="text/event-stream")


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
    upstream.behave = lambda _: saying("Hel", "lo")
    upstream.asked.clear()
    with chat_engine(run, upstream.url, dialect=Lines, deadlines=HASTY) as engine:
        yield engine


def test_it_is_asked_in_its_own_words_with_the_secret_and_the_trace(
    run: Run, upstream: ChatUpstream, engine: UpstreamEngine
) -> None:
    deltas = run(collect(engine, asking("Hi", headers=TRACE)))
    assert text_of(deltas) == "Hello"
    assert finish_of(deltas).usage == Usage(3, output_tokens=2)
    asked = upstream.asked[-1]
    assert (asked.path, asked.body) == ("/v1/lines", {"use": "up-model", "lines": ["Hi"], "events": True})
    headers = {name.lower(): value for name, value in asked.headers.items()}
    assert headers["authorization"].startswith("Bearer ")
    assert headers["traceparent"] == TRACE["traceparent"]


def test_a_whole_answer(run: Run, upstream: ChatUpstream, engine: UpstreamEngine) -> None:
    upstream.behave = lambda _: Says([b'{"line": "whole"}'])
    assert text_of(run(collect(engine, asking("Hi", streamed=False)))) == "whole"


def test_its_capabilities_follow_from_the_profile(engine: UpstreamEngine) -> None:
    assert engine.capabilities.constrains
    assert engine.capabilities.passthrough == frozenset()
    assert engine.capabilities.images


def test_schemas_are_enforced(run: Run, upstream: ChatUpstream, engine: UpstreamEngine) -> None:
    upstream.behave = lambda _: saying('{"a": 1', ",}")
    assert json.loads(text_of(run(collect(engine, asking("Hi", output=FORMAT))))) == {"a": 1}
    upstream.behave = lambda _: saying("no json at all")
    with pytest.raises(OutputInvalid):
        run(collect(engine, asking("Hi", output=FORMAT)))


def test_refusals_and_silence_and_broken_streams_are_errors_of_ours(
    run: Run, upstream: ChatUpstream, engine: UpstreamEngine
) -> None:
    upstream.behave = failing(429, retry_after="3")
    with pytest.raises(RateLimited):
        run(collect(engine, asking("Hi")))
    upstream.behave = lambda _: saying("Hel", end=False)
    with pytest.raises(UpstreamFailed):
        run(collect(engine, asking("Hi")))
    upstream.behave = lambda _: Says([b'data: {"line": "Hel"}\n\n', Stall()], kind="text/event-stream")
    with pytest.raises(DeadlineExceeded):
        run(collect(engine, asking("Hi")))


def test_its_tokens_are_estimated(run: Run, engine: UpstreamEngine) -> None:
    assert run(engine.count_tokens(asking("Hello there, you"))) > 0
