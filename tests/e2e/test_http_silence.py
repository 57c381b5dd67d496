"""Streams that have nothing to say for a while: proxies and clients see that they live, and who is gone is let go."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import openai
import pytest

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, EngineFailed
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Delta, Finish, Generation, TextDelta, Usage
from support.gate import ScriptGate, until
from support.rawhttp import Wire
from support.serving import Serving, serving

BEAT = b": \n\n"
FINISH = Finish("stop", Usage(1, 0, 1))
CHAT = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True}
RESPONSES = {"model": "gpt-5-mini", "input": "hi", "stream": True, "store": False}
SURFACES = [("/v1/chat/completions", CHAT), ("/v1/responses", RESPONSES)]


class Slow(ScriptedEngine):
    """Waits at a gate before it admits a generation, and then does what the test wants."""

    def __init__(self) -> None:
        capabilities = Capabilities(context_tokens=10_000, continues=True)
        super().__init__(lambda _: self.then, capabilities=capabilities)
        self._gates: list[ScriptGate] = []
        self.then: list[Step] = [TextDelta("word"), FINISH]

    def gate(self, *then: Step) -> ScriptGate:
        """A gate before the next generation, and what it says then; at first an error: it is refused with that."""
        self._gates.append(ScriptGate())
        self.then = list(then) or [TextDelta("word"), FINISH]
        return self._gates[-1]

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """See the port."""
        if self._gates:
            await self._gates.pop(0).step().wait()
        if isinstance(self.then[0], AntiphonError):
            raise self.then[0]
        return await super().generate(generation)


@pytest.fixture(scope="module")
def engine() -> Slow:
    return Slow()


@pytest.fixture(scope="module")
def served(engine: Slow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(engine, tmp_path_factory.mktemp("silence")) as server:
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAM_HEARTBEAT", 0.06)


def asked(wire: Wire, path: str, body: object, **headers: str | None) -> None:
    data = json.dumps(body).encode()
    wire.send(wire.head("POST", path, {name.replace("_", "-"): value for name, value in headers.items()}, len(data)))
    wire.send(data)


def in_flight(wire: Wire) -> int:
    found = re.search(rb"^antiphon_requests_in_flight (\d+)", wire.ask("GET", "/metrics").body, re.MULTILINE)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize(("path", "body"), SURFACES)
@pytest.mark.parametrize("key", [None, "once"])
def test_a_stream_that_waits_for_its_first_word_beats(
    served: Serving, engine: Slow, quick: None, path: str, body: object, key: str | None
) -> None:
    gate = engine.gate()
    with Wire(served.url, served.headers) as wire:
        asked(wire, path, body, Idempotency_Key=key and f"{key}{path}")
        status, headers = wire.read_head()
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert [wire.read_chunk() for _ in range(3)] == [BEAT] * 3
        gate.open()
        assert wire.read_until(b"[DONE]").count(b"word") >= 1
        assert wire.read_chunk() == b""
        if key is not None:
            again = wire.ask("POST", path, body, Idempotency_Key=f"{key}{path}")
            assert again.headers["idempotency-replayed"] == "true"
            assert BEAT not in again.body


@pytest.mark.parametrize(("path", "body"), SURFACES)
def test_an_error_after_a_beat_is_the_streams_last_event(
    served: Serving, engine: Slow, quick: None, path: str, body: object
) -> None:
    gate = engine.gate(EngineFailed("It broke."))
    with Wire(served.url, served.headers) as wire:
        asked(wire, path, body, Idempotency_Key=f"broken{path}")
        assert wire.read_head()[0] == 200
        assert wire.read_chunk() == BEAT
        gate.open()
        got = wire.read_until(b"[DONE]").replace(BEAT, b"")
        assert wire.read_chunk() == b""
        assert b"engine_failed" in got
        assert wire.ask("GET", "/v1/models").status == 200
        engine.then = [TextDelta("word"), FINISH]
        assert b"word" in wire.ask("POST", path, body, Idempotency_Key=f"broken{path}").body, "a failure was kept"


def test_an_error_before_any_beat_has_its_own_status(served: Serving, engine: Slow) -> None:
    gate = engine.gate(EngineFailed("It broke."))
    with Wire(served.url, served.headers) as wire:
        asked(wire, *SURFACES[0])
        gate.open()
        assert wire.read().status == 500


@pytest.mark.parametrize("fails", [False, True])
def test_the_official_sdk_passes_over_beats(served: Serving, engine: Slow, quick: None, fails: bool) -> None:
    client = served.client()
    for ask in (
        lambda: client.chat.completions.create(**CHAT),  # type: ignore[call-overload]
        lambda: client.responses.create(**RESPONSES),  # type: ignore[call-overload]
    ):
        between = ScriptGate()
        gate = engine.gate(*([EngineFailed("It broke.")] if fails else [between.step(), TextDelta("word"), FINISH]))
        stream = ask()  # returns once the head is there: a beat has come
        gate.open()
        if not fails:
            between.open()
        events = []
        try:
            events = [event.model_dump_json() for event in stream]
        except openai.APIError as error:
            events = [str(error)]
        assert ("word" in "".join(events)) != fails
        assert ("It broke" in "".join(events)) == fails


def test_a_silence_in_the_middle_beats_too(served: Serving, engine: Slow, quick: None) -> None:
    pause = ScriptGate()
    gate = engine.gate(TextDelta("one"), pause.step(), TextDelta("two"), FINISH)
    with Wire(served.url, served.headers) as wire:
        asked(wire, *SURFACES[0])
        gate.open()
        wire.read_head()
        assert b"one" in wire.read_until(b"one")
        assert wire.read_until(BEAT)
        pause.open()
        assert b"two" in wire.read_until(b"[DONE]")


def test_a_stream_goes_on_without_beats_where_it_speaks(served: Serving, engine: Slow) -> None:
    engine.then = [TextDelta("word"), FINISH]
    with Wire(served.url, served.headers) as wire:
        assert BEAT not in wire.ask("POST", *SURFACES[0]).body


def test_who_follows_a_response_without_news_has_the_head_at_once_and_is_let_go(tmp_path: Path) -> None:
    engine = Slow()
    pause = ScriptGate()
    engine.then = [TextDelta("one"), pause.step(), TextDelta("two"), FINISH]
    with serving(engine, tmp_path) as served, Wire(served.url, served.headers) as wire:
        response = wire.ask("POST", "/v1/responses", {**RESPONSES, "store": True, "background": True, "stream": False})
        path = f"/v1/responses/{response.json()['id']}?stream=true"
        assert pause.arrived.wait(10)
        with Wire(served.url, served.headers) as first:
            first.send(first.head("GET", path, {}, None))
            first.read_head()
            got = first.read_until(b'"delta":"one"')
        newest = max(int(number) for number in re.findall(rb'"sequence_number":(\d+)', got))
        before = in_flight(wire)
        followers = [Wire(served.url, served.headers) for _ in range(20)]
        for follower in followers:
            follower.send(follower.head("GET", f"{path}&starting_after={newest}", {}, None))
            assert follower.read_head()[0] == 200
        assert in_flight(wire) >= before + 19
        for follower in followers:
            follower.close()
        until(lambda: in_flight(wire) <= before, "those who hung up are counted no more")
        refused = wire.ask("GET", "/v1/responses/resp_x?stream=true")
        assert refused.status == 404
        pause.open()
