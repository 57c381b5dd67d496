"""An engine that is told what to do, and what tests of streams ask of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.protocol.generation import Finish, Generation, TextDelta, Usage
from conformance import spec
from conformance.sequence import check_sequence
from support.rawhttp import Answer, Wire
from support.serving import Serving

USAGE = Usage(input_tokens=7, cached_tokens=2, output_tokens=5, reasoning_tokens=1)
SECRET = "the password is hunter2"


class Told(ScriptedEngine):
    """Does what the test tells it for each next generation; by itself it says "ok"."""

    def __init__(self) -> None:
        super().__init__(self._next_script, admit=self._check)
        self.scripts: list[Sequence[Step]] = []
        self.refusals: list[Exception] = []

    def _check(self, _: Generation) -> None:
        if self.refusals:
            raise self.refusals.pop(0)

    def _next_script(self, _: Generation) -> Sequence[Step]:
        return self.scripts.pop(0) if self.scripts else [TextDelta("ok"), Finish("stop", USAGE)]


def response(**members: Any) -> dict[str, Any]:
    return {"model": "gpt-5-mini", "input": "hi", **members}


def chat(**members: Any) -> dict[str, Any]:
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}], **members}


def ask(wire: Wire, body: dict[str, Any]) -> Answer:
    return wire.ask("POST", "/v1/responses" if "input" in body else "/v1/chat/completions", body)


def begin(served: Serving, body: dict[str, Any]) -> Wire:
    """A connection on which a request has been sent, and nothing read."""
    wire = Wire(served.url, served.headers)
    data = json.dumps(body).encode()
    path = "/v1/responses" if "input" in body else "/v1/chat/completions"
    wire.send(wire.head("POST", path, {}, len(data)) + data)
    return wire


def events_of(answer: Answer) -> list[dict[str, Any]]:
    """The events of a whole stream of responses: legal by themselves, in a legal order, and ended as they must be."""
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    events = []
    for block in answer.body.removesuffix(b"data: [DONE]\n\n").split(b"\n\n")[:-1]:
        if block.startswith(b": "):
            continue
        name, data = block.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        spec.check_response_event(event)
        events.append(event)
    check_sequence(events)
    return events


def chunks_of(answer: Answer) -> list[dict[str, Any]]:
    """The chunks of a whole stream of chat; the last may be an error."""
    assert answer.status == 200
    blocks = [block for block in answer.body.split(b"\n\n") if not block.startswith(b": ")]
    assert blocks[-2:] == [b"data: [DONE]", b""]
    chunks = [json.loads(block.removeprefix(b"data: ")) for block in blocks[:-2]]
    for chunk in chunks:
        if "error" in chunk:
            assert chunk is chunks[-1]
            spec.check_error(chunk)
        elif '"custom"' not in json.dumps(chunk):  # calls of custom tools are streamed, but not in the published chunk
            spec.check_chat_chunk(chunk)
    return chunks


def stored(wire: Wire, response_id: str) -> dict[str, Any]:
    body: dict[str, Any] = wire.ask("GET", f"/v1/responses/{response_id}").json()
    return body


def rows(served: Serving, query: str) -> list[Any]:
    with sqlite3.connect(served.settings.database.removeprefix("sqlite:///")) as database:
        return database.execute(query).fetchall()


def counts(served: Serving) -> list[Any]:
    return [rows(served, f"SELECT count(*) FROM {table}") for table in ("responses", "items", "chat_completions")]
