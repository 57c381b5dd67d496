"""Engines that break or refuse, and what clients are told then."""

from __future__ import annotations

import copy
from typing import Any

import openai
import pytest

from antiphon.domain.errors import ContextLengthExceeded, EngineFailed, EngineUnavailable, Overloaded
from antiphon.engines.scripted import Step
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Finish,
    Generation,
    TextDelta,
)
from conformance import spec
from support.gate import ScriptGate, until
from support.rawhttp import Wire
from support.serving import Serving
from support.streams import (
    SECRET,
    Told,
    ask,
    chat,
    chunks_of,
    counts,
    events_of,
    response,
    stored,
)

# --- engines that break -----------------------------------------------------------------------------------------------
BREAKS: dict[str, list[Step]] = {
    "fails": [TextDelta("one"), EngineFailed("The model's process has died.")],
    "fails at once": [EngineFailed("The model's process has died.")],
    "raises": [TextDelta("one"), RuntimeError(SECRET)],
    "raises a mixture": [CallStart("f", "c1"), CallArguments('{"a'), KeyError(SECRET)],
    "stops short": [TextDelta("one"), TextDelta(" two")],
    "says nothing": [],
    "breaks the table": [CallArguments(SECRET), Finish("stop")],
    "goes on after its end": [TextDelta("one"), CallArguments(SECRET), Finish("stop")],
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_response_whose_engine_breaks(served: Serving, wire: Wire, engine: Told, name: str) -> None:
    engine.scripts = [BREAKS[name], BREAKS[name]]
    answer = ask(wire, response(stream=True))
    last = events_of(answer)[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"]["code"] == "server_error"
    assert SECRET.encode() not in answer.body
    assert stored(wire, last["response"]["id"]) == last["response"]
    before = counts(served)
    answer = ask(wire, response())
    assert answer.status == 500
    spec.check_error(answer.json())
    assert answer.error["type"] == "server_error"
    assert SECRET.encode() not in answer.body
    assert counts(served) == before, "nobody has seen the id of this response"
    assert ask(wire, response(previous_response_id=last["response"]["id"])).status == 200


@pytest.mark.parametrize("name", BREAKS)
def test_a_chat_whose_engine_breaks(served: Serving, wire: Wire, engine: Told, name: str) -> None:
    before = counts(served)
    engine.scripts = [BREAKS[name], BREAKS[name]]
    answer = ask(wire, chat(stream=True, store=True))
    assert chunks_of(answer)[-1]["error"]["type"] == "server_error"
    assert SECRET.encode() not in answer.body
    answer = ask(wire, chat(store=True))
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    spec.check_error(answer.json())
    assert SECRET.encode() not in answer.body
    assert counts(served) == before


@pytest.mark.parametrize("stream", [True, False])
def test_one_choice_of_several_breaks(wire: Wire, engine: Told, stream: bool) -> None:
    gates = [ScriptGate(), ScriptGate()]
    closed = engine.closed
    engine.scripts = [
        [TextDelta("one"), gates[0].step(), Finish("stop")],
        [TextDelta("one"), EngineFailed("The model's process has died.")],
        [TextDelta("one"), gates[1].step(), Finish("stop")],
    ]
    answer = ask(wire, chat(n=3, stream=stream))
    error = chunks_of(answer)[-1]["error"] if stream else answer.error
    assert (error["code"], error["message"]) == ("engine_failed", "The model's process has died.")
    assert answer.status == (200 if stream else 500)
    until(lambda: engine.closed == closed + 2, "the other choices end as well")


# --- engines that refuse ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("body", [response(), chat()], ids=["responses", "chat"])
@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (ContextLengthExceeded("The prompt is too long."), 400, None),
        (Overloaded("The model is busy."), 503, "1"),
        (Overloaded("The model is busy.", retry_after=9), 503, "9"),
        (EngineUnavailable("The model cannot be reached."), 503, "2"),
    ],
)
def test_refusals_come_before_anything_is_streamed(
    served: Serving, wire: Wire, engine: Told, body: dict[str, Any], error: Any, status: int, retry_after: str | None,
    stream: bool,
) -> None:  # fmt: skip
    before = counts(served)
    engine.refusals = [copy.copy(error)]
    answer = ask(wire, {**body, "stream": stream, "store": True})
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers.get("retry-after") == retry_after
    spec.check_error(answer.json())
    assert (answer.error["code"], answer.error["message"]) == (error.code, error.message)
    if status == 400:
        assert answer.error["param"] == ("input" if "input" in body else "messages")
    assert counts(served) == before


def test_an_unexpected_error_while_a_generation_is_admitted_tells_nothing(wire: Wire, engine: Told) -> None:
    for body in (response(stream=True), chat()):
        engine.refusals = [RuntimeError(SECRET)]
        answer = ask(wire, body)
        assert (answer.status, answer.error["type"]) == (500, "server_error")
        assert SECRET.encode() not in answer.body


def test_choices_are_admitted_all_or_none(wire: Wire, engine: Told) -> None:
    asked = len(engine.asked)
    refuse_third = iter([None, None, Overloaded("The model is busy.")])

    def check(_: Generation) -> None:
        error = next(refuse_third)
        if error is not None:
            raise error

    engine._admit = check
    try:
        assert ask(wire, chat(n=5, stream=True)).status == 503
    finally:
        engine._admit = engine._check
    assert len(engine.asked) == asked + 2
    assert ask(wire, chat(n=5)).status == 200


def test_the_official_client_tries_again_when_the_server_is_busy(served: Serving, engine: Told) -> None:
    client = served.client(max_retries=2)
    engine.refusals = [Overloaded("The model is busy.")]
    assert client.responses.create(model="gpt-5-mini", input="hi").output_text == "ok"
    assert not engine.refusals
    engine.refusals = [Overloaded("The model is busy.")]
    with pytest.raises(openai.InternalServerError) as raised:
        served.client(max_retries=0).responses.create(model="gpt-5-mini", input="hi")
    assert raised.value.status_code == 503
    engine.refusals = [ContextLengthExceeded("The prompt is too long.")]
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="gpt-5-mini", input="hi", stream=True)
    assert refused.value.code == "context_length_exceeded"
