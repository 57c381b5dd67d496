"""Stops and crashes with background responses over an upstream, which cannot go on in the middle of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from bench.chaos_server import Process, running

from antiphon.domain import limits
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Finish, Generation, Progress, TextDelta, Usage
from conformance.sequence import check_sequence
from e2e.test_background import bodies, stream_bytes, until_ended
from support.gate import ScriptGate, until
from support.serving import Serving, serving

STOP = Finish("stop", Usage(1, 0, 2))


def upstream(script: Sequence[Step], *, continues: bool = False) -> ScriptedEngine:
    return ScriptedEngine(lambda _: script, capabilities=Capabilities(context_tokens=10_000, continues=continues))


def stop_in_the_middle(engine: ScriptedEngine, gate: ScriptGate, path: Path, **options: Any) -> str:
    """Tell a server to stop while its engine is at the gate; the gate is opened a moment later. The response's id."""
    with serving(engine, path, **options) as served:
        made = served.client().responses.create(model="gpt-5-mini", input="hi", background=True)
        assert gate.arrived.wait(10)
        until(lambda: has_begun(served, made.id), "it is begun")
        served.call(lambda: asyncio.get_running_loop().call_later(1.0, gate._event.set))
    return made.id


def has_begun(served: Serving, response_id: str) -> bool:
    return served.client().responses.retrieve(response_id).status == "in_progress"


def test_a_server_that_stops_lets_it_come_to_its_end(tmp_path: Path) -> None:
    gate = ScriptGate()
    engine = upstream([TextDelta("a"), gate.step(), TextDelta("b"), STOP])
    response_id = stop_in_the_middle(engine, gate, tmp_path, drain_timeout=20.0)
    with serving(upstream([]), tmp_path) as served:
        response = served.client().responses.retrieve(response_id)
        assert (response.status, response.output_text) == ("completed", "ab")
    assert engine.closed == 0


def test_what_takes_longer_than_the_drain_fails_with_the_reason(tmp_path: Path) -> None:
    gate = ScriptGate()
    engine = upstream([TextDelta("a"), gate.step(), TextDelta("b"), STOP])
    response_id = stop_in_the_middle(engine, gate, tmp_path, drain_timeout=0.2)
    with serving(upstream([]), tmp_path) as served:
        response = until_ended(served.client(), response_id)
        assert response.status == "failed"
        assert "cannot go on" in response.error.message
        check_sequence(bodies(stream_bytes(served, response_id)))


def test_what_can_be_gone_on_with_does_not_hold_the_stop_up(tmp_path: Path) -> None:
    gate = ScriptGate()
    steps = [TextDelta("a"), gate.step(), TextDelta("b"), STOP]
    response_id = stop_in_the_middle(upstream(steps, continues=True), gate, tmp_path, drain_timeout=600.0)
    with serving(upstream([TextDelta("a"), TextDelta("-"), TextDelta("b"), STOP], continues=True), tmp_path) as served:
        assert until_ended(served.client(), response_id).output_text in {"a-b", "ab"}


@pytest.mark.parametrize("continues", [True, False])
def test_after_a_crash_what_had_shown_nothing_is_begun_again(tmp_path: Path, continues: bool) -> None:
    with running(Process(tmp_path, pace=60.0, words=5, continues=continues)) as server:
        served = Serving(server.url, server.key, None, None, None)  # type: ignore[arg-type]  # a client needs no more
        made = [served.client().responses.create(model="gpt-5-mini", input="hi", background=True).id for _ in range(10)]
        until(lambda: all(has_begun(served, each) for each in made), "they are begun")
        server.kill()
    with running(Process(tmp_path, pace=0.0, words=5, continues=continues)) as server:
        served = Serving(server.url, server.key, None, None, None)  # type: ignore[arg-type]  # as above
        for each in made:
            assert until_ended(served.client(), each).output_text == "w0 w1 w2 w3 w4 "
            check_sequence(bodies(stream_bytes(served, each)))


def test_a_long_answer_is_gone_on_with_and_followed_from_its_start(tmp_path: Path) -> None:
    """More events than a page, and than were once kept."""
    count = 9_000
    gate = ScriptGate()
    many = [TextDelta(f"w{number} ") for number in range(count)]

    def script(_: Generation) -> Sequence[Step]:
        return [*many, gate.step(), TextDelta("end"), STOP]

    with serving(_Quick(script), tmp_path) as served:
        made = served.client().responses.create(model="gpt-5-mini", input="hi", background=True)
        assert gate.arrived.wait(60)
    gate._event.set()
    with serving(_Quick(script), tmp_path) as served:
        response = until_ended(served.client(), made.id)
        assert response.status == "completed"
        assert response.output_text == "".join(delta.text for delta in many) + "end"
        events = bodies(stream_bytes(served, made.id))
        assert len(events) > count
        check_sequence(events)


class _Quick(ScriptedEngine):
    """Says most of its script at once, so that a long log takes no time to write."""

    def __init__(self, script: Any) -> None:
        super().__init__(script, capabilities=Capabilities(context_tokens=1_000_000, continues=True))

    async def _play(self, steps: Sequence[Step], done: int, *, track: bool) -> Any:
        from antiphon.protocol.generation import Batch

        waits = next(place for place, step in enumerate(steps) if isinstance(step, asyncio.Event))
        for start in range(done, waits, 500):
            end = min(start + 500, waits)
            yield Progress(str(end).encode())
            yield Batch(tuple(steps[start:end]))  # type: ignore[arg-type]  # all of them are deltas
        async for delta in super()._play(steps, max(done, waits), track=track):
            yield delta


def test_whoever_follows_a_silent_response_hears_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAM_HEARTBEAT", 0.05)
    gate = ScriptGate()
    with serving(upstream([TextDelta("a"), gate.step(), TextDelta("b"), STOP]), tmp_path) as served:
        made = served.client().responses.create(model="gpt-5-mini", input="hi", background=True)
        assert gate.arrived.wait(10)
        served.call(lambda: asyncio.get_running_loop().call_later(0.5, gate._event.set))
        for query in ("", "&include_obfuscation=false"):
            stream = stream_bytes(served, made.id, query)
            events = [event for event in stream.split(b"\n\n") if not event.startswith(b":")]
            if not query:
                assert len(events) + 2 <= len(stream.split(b"\n\n")), "nothing was heard in the meantime"
            check_sequence(bodies(b"\n\n".join(events)))
