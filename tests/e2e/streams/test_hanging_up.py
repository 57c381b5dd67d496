"""Clients that go away, or take nothing: what they asked for ends, and nothing is left unfinished."""

from __future__ import annotations

import json
import random
from time import monotonic
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Finish,
    TextDelta,
)
from conformance import spec
from support.gate import ScriptGate, until
from support.rawhttp import Closed, Wire
from support.serving import Serving
from support.streams import (
    USAGE,
    Told,
    ask,
    begin,
    chat,
    counts,
    response,
    rows,
    stored,
)


@pytest.fixture
def endless(engine: Told) -> ScriptGate:
    """A gate that the next generation waits at after its first word."""
    gate = ScriptGate()
    engine.scripts = [[TextDelta("one"), gate.step(), TextDelta("two"), Finish("stop", USAGE)]]
    return gate


def test_hanging_up_ends_a_streamed_response_as_cancelled(
    served: Serving, wire: Wire, engine: Told, endless: ScriptGate
) -> None:
    closed = engine.closed
    stream = begin(served, response(stream=True))
    stream.read_head()
    response_id = json.loads(stream.read_until(b'"delta":"one"').split(b"data: ")[1].partition(b"\n")[0])["response"][
        "id"
    ]
    assert endless.arrived.wait(10)
    stream.close()
    until(lambda: engine.closed == closed + 1, "the generation is ended")
    until(lambda: stored(wire, response_id)["status"] != "in_progress", "the response is ended")
    body = stored(wire, response_id)
    spec.check_response(body)
    assert body["status"] == "cancelled"
    assert [(item["status"], item["content"][0]["text"]) for item in body["output"]] == [("incomplete", "one")]
    assert len(wire.ask("GET", f"/v1/responses/{response_id}/input_items").json()["data"]) == 1
    assert ask(wire, response(previous_response_id=response_id)).status == 200


def test_hanging_up_ends_a_response_that_was_to_come_at_once(
    served: Serving, wire: Wire, engine: Told, endless: ScriptGate
) -> None:
    closed = engine.closed
    before = rows(served, "SELECT id FROM responses")
    connection = begin(served, response())
    assert endless.arrived.wait(10)
    connection.close()
    until(lambda: engine.closed == closed + 1, "the generation is ended")
    until(lambda: rows(served, "SELECT id FROM responses WHERE status = 'in_progress'") == [], "none is in progress")
    new = [row for row in rows(served, "SELECT id, status FROM responses") if (row[0],) not in before]
    assert [status for _, status in new] in ([], ["cancelled"])
    assert ask(wire, response()).status == 200


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_ends_all_choices_of_a_chat(served: Serving, wire: Wire, engine: Told, stream: bool) -> None:
    before = counts(served)
    closed = engine.closed
    gates = [ScriptGate(), ScriptGate(), ScriptGate()]
    engine.scripts = [[TextDelta("one"), gate.step(), Finish("stop")] for gate in gates]
    connection = begin(served, chat(n=3, stream=stream, store=True))
    for gate in gates:
        assert gate.arrived.wait(10)
    connection.close()
    until(lambda: engine.closed == closed + 3, "the generations are ended")
    assert ask(wire, response(store=False)).status == 200
    assert counts(served) == before


def test_a_client_that_takes_nothing_has_gone(
    served: Serving, wire: Wire, engine: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 0.2)
    closed = engine.closed
    engine.scripts = [[TextDelta("x" * 100_000)] * 1000]
    stream = begin(served, response(stream=True))
    try:
        until(lambda: engine.closed == closed + 1, "the generation is ended")
        until(lambda: rows(served, "SELECT id FROM responses WHERE status = 'in_progress'") == [], "it is ended")
    finally:
        stream.close()


def test_a_client_that_takes_its_time_is_waited_for(
    served: Serving, wire: Wire, engine: Told, endless: ScriptGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is slow here, not the client."""
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 0.05)
    stream = begin(served, response(stream=True))
    stream.read_head()
    assert endless.arrived.wait(10)
    began = monotonic()
    until(lambda: monotonic() - began > 0.3, "far longer than a client may stall")
    endless.open()
    assert b"response.completed" in stream.read_until(b"[DONE]")


def test_hanging_up_at_any_moment_leaves_nothing_unfinished(served: Serving, wire: Wire, engine: Told) -> None:
    """Every accepted response reaches a terminal state, and what was seen of it is what is kept."""
    chance = random.Random(7)
    seen: dict[str, bytes] = {}
    for _ in range(60):
        engine.scripts = [[*(TextDelta(f"word{number} ") for number in range(30)), CallStart("f", "c"),
                           CallArguments("{}"), Finish("tool_calls", USAGE)]]  # fmt: skip
        stream = begin(served, response(stream=True))
        stream.read_head()
        got = stream.read_chunk()
        for _ in range(chance.randrange(0, 45)):
            try:
                got += stream.read_chunk()
            except Closed:
                break
            if b"[DONE]" in got:
                break
        stream.close()
        until(lambda: not engine.scripts, "the engine was asked")
        seen[json.loads(got.split(b"data: ")[1].partition(b"\n")[0])["response"]["id"]] = got
    until(lambda: rows(served, "SELECT id FROM responses WHERE status = 'in_progress'") == [], "none is in progress")
    ends = set()
    for response_id, got in seen.items():
        body = stored(wire, response_id)
        ends.add(body["status"])
        assert body["status"] in ("completed", "cancelled")
        assert (b"response.completed" not in got) or body["status"] == "completed"
        said = "".join(event["delta"] for event in events_in(got) if event["type"] == "response.output_text.delta")
        kept = body["output"][0]["content"][0]["text"] if body["output"] else ""
        assert kept.startswith(said)
    assert ends == {"completed", "cancelled"}


def events_in(got: bytes) -> list[dict[str, Any]]:
    """The whole events in what may be cut off anywhere."""
    return [json.loads(block.partition(b"data: ")[2]) for block in got.split(b"\n\n")[:-1] if b"data: {" in block]
