"""An engine that waits in the middle, and what tests of the HTTP server ask of its answers."""

from __future__ import annotations

import json
import re
from typing import Any

from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.protocol.generation import Finish, Generation, TextDelta
from conformance import spec
from support.gate import ScriptGate
from support.rawhttp import Answer, Wire
from support.serving import Serving

BODY = {"model": "gpt-5-mini", "input": "hi", "store": False}


class Gated(ScriptedEngine):
    """Says "one", waits at the next gate of the test if there is one, and says " two"."""

    def __init__(self) -> None:
        super().__init__(self._script_of)
        self.gates: list[ScriptGate] = []

    def gate(self) -> ScriptGate:
        """The gate for the next generation."""
        self.gates.append(ScriptGate())
        return self.gates[-1]

    def _script_of(self, _: Generation) -> list[Step]:
        wait = [self.gates.pop(0).step()] if self.gates else []
        return [TextDelta("one"), *wait, TextDelta(" two"), Finish("stop")]


def refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The error of an answer that must be this refusal, whole and in OpenAI's form."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.headers["openai-version"] == "2020-10-01"
    spec.check_error(answer.json())
    assert answer.error["code"] == code
    return answer.error


def streaming(served: Serving, text: str = "hi") -> tuple[Wire, bytes]:
    """A connection on which a stream has begun, and what has come of it so far."""
    wire = Wire(served.url, served.headers)
    data = json.dumps({**BODY, "input": text, "stream": True}).encode()
    wire.send(wire.head("POST", "/v1/responses", {}, len(data)) + data)
    status, _ = wire.read_head()
    assert status == 200
    return wire, wire.read_until(b'"delta":"one"')
