"""What the real server says with real models, held against both published specifications and against itself.

Each request is asked whole and as a stream, on both surfaces. What is stored must be what was answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from antiphon.wire.sse import SSEParser
from support.checking import check_answer
from support.real import Server

Body = dict[str, Any]

WEATHER: Body = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 7}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}
PERSON: Body = {
    "name": "person",
    "description": "Somebody.",
    "schema": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        },
        "required": ["name", "tags"],
        "additionalProperties": False,
    },
    "strict": True,
}
FUNCTION: Body = {"type": "function", **WEATHER}
LOOSE: Body = {"type": "function", "name": "now", "parameters": None, "strict": None}
NOTE: Body = {"type": "custom", "name": "note", "description": "Notes a text."}
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "input_text", "text": "What is the weather in Oslo?"}]},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "They want the weather."}]},
    {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city":"Oslo","days":null}'},
    {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "snow"}]},
    {"type": "custom_tool_call", "call_id": "call_2", "name": "note", "input": "snow"},
    {"type": "custom_tool_call_output", "call_id": "call_2", "output": "noted"},
    {"role": "assistant", "content": [{"type": "output_text", "text": "Snow.", "annotations": []}]},
    {"role": "user", "content": "Thank you."},
]

RESPONSES: dict[str, Body] = {
    "words": {"input": "Say hello."},
    "everything accepted": {
        "input": "Say hello.",
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "temperature": 0.3,
        "top_p": 0.9,
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "p",
        "service_tier": "auto",
        "truncation": "auto",
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "low"},
        "max_tool_calls": 3,
    },
    "logprobs": {"input": "Say hello.", "include": ["message.output_text.logprobs"], "top_logprobs": 2},
    "a whole talk": {"input": TALK, "tools": [FUNCTION, LOOSE, NOTE]},
    "a function": {"input": "Weather in Rome?", "tools": [FUNCTION], "tool_choice": "required"},
    "one of two": {
        "input": "Weather in Rome?",
        "tools": [FUNCTION, LOOSE],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "now"}]},
        "parallel_tool_calls": False,
    },
    "a custom tool": {"input": "Note: milk.", "tools": [NOTE], "tool_choice": {"type": "custom", "name": "note"}},
    "a schema": {"input": "Ada.", "text": {"format": {"type": "json_schema", **PERSON}}},
    "an object": {"input": "A small JSON object.", "text": {"format": {"type": "json_object"}}},
    "unstored": {"input": "Say hello.", "store": False},
}
CHATS: dict[str, Body] = {
    "words": {},
    "stored": {"store": True, "metadata": {"a": "b"}, "user": "u"},
    "two choices with log probabilities": {
        "n": 2,
        "logprobs": True,
        "top_logprobs": 1,
        "seed": 1,
        "max_completion_tokens": 12,
    },
    "a function": {"tools": [{"type": "function", "function": WEATHER}], "tool_choice": "required"},
    "a custom tool": {
        "tools": [{"type": "custom", "custom": {"name": "note"}}],
        "tool_choice": {"type": "custom", "custom": {"name": "note"}},
    },
    "a schema": {"response_format": {"type": "json_schema", "json_schema": PERSON}},
    "the older functions": {"functions": [{"name": "now"}], "function_call": {"name": "now"}},
}


#: What comes to its end within the tokens allowed only if the model can do it; the rest needs no sense.
ABLE = ("function", "tool", "schema", "object", "one of two")


@pytest.fixture
def http(request: pytest.FixtureRequest) -> Iterator[httpx2.Client]:
    """A client of the server with the default model where that must be able, else of the one that answers at once."""
    name = request.node.callspec.params.get("name", "") if hasattr(request.node, "callspec") else ""
    server: Server = request.getfixturevalue("coder" if any(word in name for word in ABLE) else "small")
    headers = {"Authorization": f"Bearer {server.key}"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=60) as client:
        yield client


def ask(http: httpx2.Client, method: str, path: str, body: Body | None = None) -> bytes:
    """A checked answer of status 200."""
    answer = http.request(method, path, json=body)
    assert answer.status_code == 200, answer.text
    check_answer(method, path.partition("?")[0], answer.status_code, dict(answer.headers), answer.content)
    return answer.content


def events_of(stream: bytes) -> list[Body]:
    *events, done = SSEParser().feed(stream)
    assert done.data == b"[DONE]"
    return [json.loads(event.data) for event in events]


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response(name: str, http: httpx2.Client) -> None:
    body = {"model": "gpt-5-mini", "max_output_tokens": 24, "temperature": 0, **RESPONSES[name]}
    whole = ask(http, "POST", "/v1/responses", body)
    stream = ask(http, "POST", "/v1/responses", {**body, "stream": True})
    final: Body = events_of(stream)[-1]["response"]
    assert shape(final) == shape(json.loads(whole))
    if body.get("store") is False:
        return
    assert ask(http, "GET", f"/v1/responses/{json.loads(whole)['id']}") == whole
    assert json.loads(ask(http, "GET", f"/v1/responses/{final['id']}")) == final
    for response_id in (json.loads(whole)["id"], final["id"]):
        items = json.loads(ask(http, "GET", f"/v1/responses/{response_id}/input_items?order=asc&limit=100"))
        given = body["input"] if isinstance(body["input"], list) else [body["input"]]
        assert len(items["data"]) == len(given)
        ask(http, "DELETE", f"/v1/responses/{response_id}")


def shape(response: Body) -> Body:
    """What two answers to one request have in common, however the model was minded."""
    varying = {"id", "created_at", "completed_at", "output", "usage", "status", "incomplete_details"}
    return {name: value for name, value in response.items() if name not in varying}


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_completion(name: str, http: httpx2.Client) -> None:
    said = [{"role": "user", "content": "What is the weather in Rome?"}]
    body = {"model": "gpt-5-mini", "messages": said, "max_completion_tokens": 24, "temperature": 0, **CHATS[name]}
    whole = json.loads(ask(http, "POST", "/v1/chat/completions", body))
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = events_of(ask(http, "POST", "/v1/chat/completions", {**body, **options}))
    assert len(whole["choices"]) == body.get("n", 1)
    assert chunks[-1]["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]
    if not body.get("store"):
        return
    for made in (whole["id"], chunks[0]["id"]):
        stored = json.loads(ask(http, "GET", f"/v1/chat/completions/{made}"))
        text = [choice["message"]["content"] for choice in stored["choices"]]
        streamed = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1])
        assert text == (
            [choice["message"]["content"] for choice in whole["choices"]] if made == whole["id"] else [streamed]
        )
        ask(http, "GET", f"/v1/chat/completions/{made}/messages")
        ask(http, "POST", f"/v1/chat/completions/{made}", {"metadata": {"c": "d"}})
        ask(http, "GET", "/v1/chat/completions?metadata[c]=d&limit=100")
        ask(http, "DELETE", f"/v1/chat/completions/{made}")


def test_lists_of_models_and_refusals(http: httpx2.Client) -> None:
    models = json.loads(ask(http, "GET", "/v1/models"))
    for model in models["data"]:
        ask(http, "GET", f"/v1/models/{model['id']}")
    for method, path in (
        ("GET", "/v1/models/none"),
        ("GET", "/v1/responses/resp_none"),
        ("PUT", "/v1/responses"),
        ("GET", "/v1/x"),
    ):
        answer = http.request(method, path)
        assert answer.status_code in (404, 405)
        check_answer(method, path, answer.status_code, dict(answer.headers), answer.content)


HEADERS = {"x-request-id": f"req_{'0' * 32}", "openai-processing-ms": "1", "openai-version": "2020-10-01"}
STREAM = {**HEADERS, "content-type": "text/event-stream; charset=utf-8"}


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        ("/v1/models", {**HEADERS, "x-request-id": "1"}, b'{"object":"list","data":[]}'),
        ("/v1/models", {**HEADERS, "content-length": "3"}, b'{"object":"list","data":[]}'),
        ("/v1/models", HEADERS, b'{"object":"list"}'),
        ("/v1/other", HEADERS, b"{}"),
        ("/v1/responses", STREAM, b'event: a\ndata: {"type":"error"}\n\n'),
        ("/v1/responses", STREAM, b"data: [DONE]\n\n"),
        ("/v1/chat/completions", STREAM, b'data: {"object":"chat.completion.chunk"}\n\n'),
    ],
)
def test_the_checks_refuse_what_is_wrong(path: str, headers: dict[str, str], body: bytes) -> None:
    full = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    with pytest.raises(AssertionError):
        check_answer("GET" if path == "/v1/models" else "POST", path, 200, full, body)
