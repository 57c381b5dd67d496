"""What a stop does to what is running."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

from antiphon.domain import limits
from antiphon.engines.scripted import ScriptedEngine
from support.gate import until
from support.manners import BODY, Gated, streaming
from support.rawhttp import Wire
from support.serving import Serving, serving


def stop_in_background(stack: ExitStack) -> threading.Thread:
    stopping = threading.Thread(target=stack.close)
    stopping.start()
    return stopping


def refuses_connections(served: Serving) -> bool:
    place = served.url.removeprefix("http://").split(":")
    try:
        socket.create_connection((place[0], int(place[1])), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_stop_lets_what_is_running_finish(tmp_path: Path) -> None:
    engine = Gated()
    gate = engine.gate()
    with ExitStack() as stack:
        served = stack.enter_context(serving(engine, tmp_path, drain_timeout=20.0))
        idle = Wire(served.url, served.headers)
        assert idle.ask("GET", "/healthz").status == 200
        wire, got = streaming(served)
        assert gate.arrived.wait(10)
        stopping = stop_in_background(stack)
        until(lambda: refuses_connections(served), "no new connections")
        assert idle.at_end(), "an idle connection outlives the stop"
        gate.open()
        got += b"".join(iter(wire.read_chunk, b""))
        assert b"event: response.completed" in got
        assert got.endswith(b"data: [DONE]\n\n")
        assert wire.at_end()
        stopping.join(10)
        assert not stopping.is_alive()


def test_a_stop_ends_what_does_not_finish_in_time(tmp_path: Path) -> None:
    engine = Gated()
    gates = [engine.gate(), engine.gate()]
    with ExitStack() as stack:
        served = stack.enter_context(serving(engine, tmp_path, drain_timeout=0.2))
        sync = Wire(served.url, served.headers)
        data = json.dumps(BODY).encode()
        sync.send(sync.head("POST", "/v1/responses", {}, len(data)) + data)
        assert gates[0].arrived.wait(10)
        wire = Wire(served.url, served.headers)
        data = json.dumps({**BODY, "stream": True, "store": True}).encode()
        wire.send(wire.head("POST", "/v1/responses", {}, len(data)) + data)
        assert wire.read_head()[0] == 200
        got = wire.read_until(b'"delta":"one"')
        began = monotonic()
        stopping = stop_in_background(stack)
        got += b"".join(iter(wire.read_chunk, b""))
        events = [json.loads(line[6:]) for line in got.splitlines() if line.startswith(b"data: {")]
        assert events[-1]["type"] == "response.failed"
        assert got.endswith(b"data: [DONE]\n\n")
        answer = sync.read()
        assert (answer.status, answer.error["type"]) == (500, "server_error")
        stopping.join(15)
        assert not stopping.is_alive()
        assert monotonic() - began < 0.2 + limits.CLOSE_TIMEOUT
    with serving(ScriptedEngine(), tmp_path) as served, Wire(served.url, served.headers) as wire:
        stored = wire.ask("GET", f"/v1/responses/{events[-1]['response']['id']}").json()
    assert stored == events[-1]["response"]
    assert stored["status"] == "failed"
