"""The checks against the specifications: what is right passes, and what is wrong is named."""

# ruff: noqa: E501 - a table of cases reads best with each case on one line

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from openai.types import Model

from conformance import spec
from conformance.samples import Body, call, chat, chunk, message, reasoning, response, stream

ERROR = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": None}}
MODEL = {"id": "m", "object": "model", "created": 1, "owned_by": "me"}
SAID = {
    "type": "message",
    "id": "msg_0",
    "role": "user",
    "status": "completed",
    "content": [{"type": "input_text", "text": "Hi"}],
}
FUNCTION = {"type": "function", "name": "f", "description": None, "parameters": {"type": "object"}, "strict": True}
SCHEMA = {"type": "json_schema", "name": "n", "description": None, "schema": {"type": "object"}, "strict": True}
CUSTOM_CALL = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "g", "input": "x"}


def a_list(*data: Body) -> Body:
    ids = [item["id"] for item in data] or [None]
    return {"object": "list", "data": list(data), "first_id": ids[0], "last_id": ids[-1], "has_more": False}


@pytest.mark.parametrize(
    "body",
    [
        response(),
        response(
            output=[reasoning(), message(), call()], tools=[FUNCTION], tool_choice={"type": "function", "name": "f"}
        ),
        response(
            output=[CUSTOM_CALL], tools=[{"type": "custom", "name": "g"}], tool_choice={"type": "custom", "name": "g"}
        ),
        response(text={"format": SCHEMA, "verbosity": "low"}, reasoning={"effort": "low", "summary": None}),
        response(status="failed", error={"code": "server_error", "message": "Sorry."}, usage=None, output=[]),
        response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    ],
)
def test_responses(body: Body) -> None:
    spec.check_response(body)


def test_the_rest() -> None:
    spec.check_chat_completion(chat())
    spec.check_chat_chunk(chunk())
    spec.check_error(ERROR)
    spec.check_model(MODEL)
    for item in (SAID, message(), call(), reasoning(), CUSTOM_CALL | {"status": "completed"}):
        spec.check_item(item)
    spec.check_list({"object": "list", "data": [MODEL]}, "Model")
    spec.check_list(a_list(SAID, call()), "ItemResource")
    spec.check_list(a_list(), "ItemResource")
    spec.check_list(a_list(chat()), "CreateChatCompletionResponse")


def test_error_events() -> None:
    flat = {"type": "error", "code": "server_error", "message": "Sorry.", "param": None, "sequence_number": 3}
    spec.check_response_event(flat)
    nested = {"type": "server_error", "code": "server_error", "message": "Sorry.", "param": None}
    spec.check_response_event(flat | {"error": nested})
    with pytest.raises(AssertionError, match=r"openresponses StreamEvent: error: .*param"):
        spec.check_response_event(flat | {"error": {k: v for k, v in nested.items() if k != "param"}})


Check = Callable[[Any], None]
BROKEN: list[tuple[str, Check, Body, Callable[[Body], Any]]] = [
    ('openai Response: output.0.content.0: "annotations"', spec.check_response, response(), lambda b: b["output"][0]["content"][0].pop("annotations")),
    ("openai Response: output.0.status:", spec.check_response, response(), lambda b: b["output"][0].update(status="done")),
    ("openai Response: output.0.content.0.type:", spec.check_response, response(), lambda b: b["output"][0]["content"][0].update(type="text")),
    ("openai Response: temperature:", spec.check_response, response(), lambda b: b.update(temperature="1")),
    ("openai Response: usage.input_tokens_details:", spec.check_response, response(), lambda b: b["usage"]["input_tokens_details"].pop("cache_write_tokens")),
    ("openai Response: error:", spec.check_response, response(), lambda b: b.update(error={"message": "Sorry."})),
    ('openresponses ResponseResource: the value itself: "store"', spec.check_response, response(), lambda b: b.pop("store")),
    ('openresponses ResponseResource: reasoning: "summary"', spec.check_response, response(), lambda b: b.update(reasoning={"effort": None})),
    ('openresponses ResponseResource: output.0: "status"', spec.check_response, response(output=[call()]), lambda b: b["output"][0].pop("status")),
    ("openresponses ResponseResource: output.0.encrypted_content:", spec.check_response, response(output=[reasoning()]), lambda b: b["output"][0].update(encrypted_content=None)),
    ("openai ResponseStreamEvent: delta:", spec.check_response_event, stream()[14], lambda b: b.update(delta=5)),
    ('openai ResponseStreamEvent: the value itself: "logprobs"', spec.check_response_event, stream()[14], lambda b: b.pop("logprobs")),
    ("openai ResponseStreamEvent: response.output.1.role:", spec.check_response_event, stream()[-1], lambda b: b["response"]["output"][1].update(role="user")),
    ('openresponses ResponseResource: the value itself: "truncation"', spec.check_response_event, stream()[0], lambda b: b["response"].pop("truncation")),
    ('openresponses StreamEvent: item: "status"', spec.check_response_event, stream()[23], lambda b: b["item"].pop("status")),
    ("openai ResponseStreamEvent: type:", spec.check_response_event, stream()[14], lambda b: b.update(type="response.output_tex.delta")),
    ("openai ItemResource: id", spec.check_item, SAID, lambda b: b.update(id=None)),
    ('openai CreateChatCompletionResponse: choices.0.message: "refusal"', spec.check_chat_completion, chat(), lambda b: b["choices"][0]["message"].pop("refusal")),
    ("openai CreateChatCompletionResponse: choices.0.finish_reason:", spec.check_chat_completion, chat(), lambda b: b["choices"][0].update(finish_reason="done")),
    ('openai CreateChatCompletionStreamResponse: choices.0: "finish_reason"', spec.check_chat_chunk, chunk(), lambda b: b["choices"][0].pop("finish_reason")),
    ('error: "param"', spec.check_error, ERROR, lambda b: b["error"].pop("param")),
    ("members beside error", spec.check_error, ERROR, lambda b: b.update(detail="x")),
    ("error: members are", spec.check_error, ERROR, lambda b: b["error"].update(trace="x")),
    ("error.message: empty", spec.check_error, ERROR, lambda b: b["error"].update(message=" ")),
    ('openai Model: the value itself: "owned_by"', spec.check_model, MODEL, lambda b: b.pop("owned_by")),
    ("openai package <class 'openai.types.model.Model'>: id:", partial(spec.check_type, Model), MODEL, lambda b: b.update(id=5)),
    ("object: None", lambda b: spec.check_list(b, "ItemResource"), a_list(SAID), lambda b: b.pop("object")),
    ("data: not an array", lambda b: spec.check_list(b, "ItemResource"), a_list(SAID), lambda b: b.update(data=None)),
    ("openai ItemResource: data.0.status", lambda b: spec.check_list(b, "ItemResource"), a_list(SAID), lambda b: b["data"][0].update(status=1)),
    ("has_more: not a boolean", lambda b: spec.check_list(b, "ItemResource"), a_list(SAID), lambda b: b.update(has_more=None)),
    ("first_id, last_id", lambda b: spec.check_list(b, "ItemResource"), a_list(SAID), lambda b: b.update(last_id="x")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "check", "body", "change"), BROKEN, ids=[f"{n}: {row[0]}" for n, row in enumerate(BROKEN)]
)
def test_each_mistake_is_named(words: str, check: Check, body: Body, change: Callable[[Body], Any]) -> None:
    body = copy.deepcopy(body)
    change(body)
    with pytest.raises(AssertionError) as caught:
        check(body)
    assert str(caught.value).startswith(words) or f": {words}" in str(caught.value)
