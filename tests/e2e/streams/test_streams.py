"""Streams over a real socket: their order, what they say, and what is kept of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    TopLogprob,
)
from conformance import spec
from hostile import valid
from support.gate import ScriptGate
from support.rawhttp import Wire
from support.serving import Serving
from support.streams import (
    USAGE,
    Told,
    ask,
    begin,
    chat,
    chunks_of,
    counts,
    events_of,
    response,
    stored,
)

LOGPROB = TokenLogprob("o", -0.1, (111,), (TopLogprob("o", -0.1, (111,)), TopLogprob("k", -2.0, (107,))))
SCRIPTS: dict[str, list[Delta]] = {
    "text": [TextDelta("one"), TextDelta(" two"), Finish("stop", USAGE)],
    "logprobs": [TextDelta("o", (LOGPROB,)), TextDelta("o", (LOGPROB,)), Finish("stop", USAGE)],
    "nothing": [Finish("stop", USAGE)],
    "empty text": [TextDelta(""), TextDelta(""), Finish("stop", USAGE)],
    "refusal": [RefusalDelta("I "), RefusalDelta("won't"), Finish("stop", USAGE)],
    "text and refusal": [TextDelta("well"), RefusalDelta("no"), TextDelta("yes"), Finish("stop", USAGE)],
    "reasoning": [ReasoningDelta("hm"), ReasoningDelta("m"), TextDelta("so"), Finish("stop", USAGE)],
    "call": [CallStart("f", "c1"), CallArguments('{"a"'), CallArguments(":1}"), Finish("tool_calls", USAGE)],
    "call without arguments": [CallStart("f", "c1"), Finish("tool_calls", USAGE)],
    "calls": [TextDelta("t"), CallStart("f", "c1"), CallArguments("{}"), CallStart("g", "c2"), CallArguments("{}"),
              Finish("tool_calls", USAGE)],
    "custom call": [CallStart("f", "c1", "custom"), CallArguments("ls "), CallArguments("-l"),
                    Finish("tool_calls", USAGE)],
    "out of tokens": [TextDelta("cut o"), Finish("length", USAGE)],
    "out of tokens in a call": [CallStart("f", "c1"), CallArguments('{"a'), Finish("length", USAGE)],
    "filtered": [TextDelta("oh"), Finish("content_filter", USAGE)],
    "strange text": [TextDelta("\n\ndata: [DONE]\n\n"), TextDelta("\u2028\x00\r"), TextDelta("😀"),
                     Finish("stop", USAGE)],
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_streamed_response_is_legal_and_stored_as_it_was_streamed(wire: Wire, engine: Told, name: str) -> None:
    engine.scripts = [SCRIPTS[name], SCRIPTS[name]]
    body = response(include=["message.output_text.logprobs"], metadata={"k": "v"})
    events = events_of(ask(wire, {**body, "stream": True}))
    final = events[-1]["response"]
    status = (
        "incomplete" if SCRIPTS[name][-1] in (Finish("length", USAGE), Finish("content_filter", USAGE)) else "completed"
    )
    assert final["status"] == status
    assert final["usage"]["total_tokens"] == 12
    assert stored(wire, final["id"]) == final
    given = wire.ask("GET", f"/v1/responses/{final['id']}/input_items").json()
    spec.check_list(given, "ItemResource")
    assert [item["content"] for item in given["data"]] == [[{"type": "input_text", "text": "hi"}]]
    at_once = ask(wire, body).json()
    spec.check_response(at_once)
    assert without_names(at_once) == without_names(final)
    assert stored(wire, at_once["id"]) == at_once


def without_names(body: dict[str, Any]) -> dict[str, Any]:
    """A response without what is new each time."""
    output = [{**item, "id": None} for item in body["output"]]
    return {**body, "id": None, "created_at": 0, "completed_at": 0, "output": output}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_streamed_chat_says_the_same_as_one_at_once(wire: Wire, engine: Told, name: str) -> None:
    engine.scripts = [SCRIPTS[name]] * 2
    body = chat(logprobs=True, store=True)
    chunks = chunks_of(ask(wire, {**body, "stream": True, "stream_options": {"include_usage": True}}))
    whole = ask(wire, body).json()
    spec.check_chat_completion(whole)
    choice, *others = whole["choices"]
    assert not others
    deltas = [chunk["choices"][0] for chunk in chunks[:-1]]
    message = choice["message"]
    for member in ("content", "refusal"):
        assert "".join(delta["delta"].get(member) or "" for delta in deltas) == (message[member] or "")
    calls: list[str] = []
    for delta in deltas:
        for call in delta["delta"].get("tool_calls", []):
            calls += [""] if "id" in call else []
            inner = call.get("function") or call["custom"]
            calls[call["index"]] += inner.get("arguments", inner.get("input", ""))
    kinds = [call["function"]["arguments"] if "function" in call else call["custom"]["input"]
             for call in message.get("tool_calls", [])]  # fmt: skip
    assert calls == kinds
    assert [delta["finish_reason"] for delta in deltas if delta["finish_reason"]] == [choice["finish_reason"]]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    kept = wire.ask("GET", f"/v1/chat/completions/{chunks[0]['id']}").json()
    assert (kept["choices"], kept["usage"]) == (whole["choices"], whole["usage"])


def test_nothing_is_kept_that_is_not_to_be(served: Serving, wire: Wire) -> None:
    before = counts(served)
    final = events_of(ask(wire, response(stream=True, store=False)))[-1]["response"]
    assert final["store"] is False
    assert wire.ask("GET", f"/v1/responses/{final['id']}").status == 404
    assert ask(wire, response(store=False)).status == 200
    for body in (chat(stream=True), chat(), chat(store=False), chat(store=None)):
        assert ask(wire, body).status == 200
    assert counts(served) == before


def test_what_has_been_seen_is_stored_already(served: Serving, wire: Wire, engine: Told) -> None:
    gate, after_call = ScriptGate(), ScriptGate()
    engine.scripts = [[CallStart("f", "c1"), CallArguments("{}"), gate.step(), TextDelta("t"), after_call.step(),
                       TextDelta("u"), Finish("stop")]]  # fmt: skip
    stream = begin(served, response(stream=True))
    stream.read_head()
    created = json.loads(stream.read_until(b"response.in_progress").split(b"data: ")[1].partition(b"\n")[0])
    now = stored(wire, created["response"]["id"])
    assert now == created["response"]
    assert now["status"] == "in_progress"
    gate.open()
    stream.read_until(b"response.output_item.done")
    assert after_call.arrived.wait(10)
    assert [item["type"] for item in stored(wire, now["id"])["output"]] == ["function_call"]
    answer = ask(wire, response(previous_response_id=now["id"]))
    assert (answer.status, answer.error["code"]) == (400, "previous_response_not_completed")
    after_call.open()
    stream.read_until(b"[DONE]")
    assert [item["type"] for item in stored(wire, now["id"])["output"]] == ["function_call", "message"]


def test_every_kind_of_item_is_kept_as_the_specifications_have_it(wire: Wire) -> None:
    made = ask(wire, {**valid.RESPONSE, "store": True}).json()
    spec.check_response(made)
    listed = wire.ask("GET", f"/v1/responses/{made['id']}/input_items?limit=100&order=asc").json()
    assert len(listed["data"]) == len(valid.RESPONSE["input"])
    for given, item in zip(valid.RESPONSE["input"], listed["data"], strict=True):
        spec.check_item(item)
        assert item["type"] == given.get("type", "message")
    spec.check_list(listed, "ItemResource")
