"""A client's trace goes on at the upstreams that its request leads to; no other header of its does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from conformance.samples import response
from support.responses_engines import playing
from support.serving import Serving, serving
from support.sockets import opened
from support.upstream_of import tables
from support.upstreams import SECRET, Behaviour, ChatUpstream, chat_upstream, failing, saying

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = {"traceparent": PARENT, "tracestate": "vendor=1"}
OTHERS = {"X-Other": "1", "Cookie": "a=b", "baggage": "user=1", "Forwarded": "for=10.0.0.1"}
MESSAGES = [{"role": "user", "content": "hi"}]
#: One answer of each surface, and what there is of it: passed through, translated, and held to a schema.
CHAT: dict[str, Any] = {"model": "r", "messages": MESSAGES}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ChatUpstream]:
    with chat_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def served(upstream: ChatUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    path = tmp_path_factory.mktemp("traced")
    secret = path / "secret"
    secret.write_text(SECRET)
    one = {"kind": "chat", "url": upstream.url, "secret": {"file": str(secret)}}
    upstreams = {"up": one, "own": {**one, "headers": {"traceparent": "configured"}}}
    routes = {
        "r": {"targets": [{"upstream": "up", "model": "m"}]},
        "own": {"targets": [{"upstream": "own", "model": "m"}]},
    }
    with serving(None, path / "data", **tables(upstreams, routes)) as served:
        yield served


def asked(upstream: ChatUpstream) -> list[dict[str, str]]:
    """The headers of all requests since the last call, by names in small letters."""
    found = [{name.lower(): value for name, value in each.headers.items()} for each in upstream.asked]
    upstream.asked.clear()
    return found


def post(served: Serving, path: str, body: dict[str, Any], headers: dict[str, str]) -> httpx2.Response:
    return httpx2.post(f"{served.base_url}{path}", headers={**served.headers, **headers}, json=body)


@pytest.mark.parametrize(
    ("path", "body", "behave"),
    [
        ("/chat/completions", CHAT, saying("yes")),
        ("/chat/completions", {**CHAT, "stream": True}, saying("yes")),
        ("/chat/completions", {**CHAT, "n": 2}, saying("yes")),
        ("/chat/completions", {**CHAT, "response_format": FORMAT}, saying("no json")),
        ("/responses", {"model": "r", "input": "hi"}, saying("yes")),
        ("/responses", {"model": "r", "input": "hi", "stream": True}, saying("yes")),
    ],
)
def test_a_trace_goes_on_at_the_upstream(
    served: Serving, upstream: ChatUpstream, path: str, body: dict[str, Any], behave: Behaviour
) -> None:
    upstream.behave = behave
    asked(upstream)
    post(served, path, body, {**TRACE, **OTHERS})
    traced = asked(upstream)
    assert traced
    for headers in traced:
        assert {name: headers.get(name) for name in TRACE} == TRACE
        assert not {name.lower() for name in OTHERS} & headers.keys()
    # The next call on the same connection is in no trace.
    post(served, path, body, OTHERS)
    for headers in asked(upstream):
        assert not TRACE.keys() & headers.keys()


def test_every_try_is_in_the_trace(served: Serving, upstream: ChatUpstream) -> None:
    upstream.behave = failing(500)
    asked(upstream)
    assert post(served, "/chat/completions", CHAT, TRACE).status_code >= 500
    tries = asked(upstream)
    assert len(tries) > 1
    assert {headers.get("traceparent") for headers in tries} == {PARENT}
    upstream.behave = saying("yes")


@pytest.mark.parametrize("parent", ["", "1", PARENT.upper(), f"{PARENT}-x", "00-" + "0" * 52, "x" * 5000])
def test_what_is_no_trace_is_not_passed_on(served: Serving, upstream: ChatUpstream, parent: str) -> None:
    upstream.behave = saying("yes")
    asked(upstream)
    assert post(served, "/chat/completions", CHAT, {"traceparent": parent, "tracestate": "a=1"}).status_code == 200
    assert not TRACE.keys() & asked(upstream)[0].keys()


def test_what_is_configured_for_an_upstream_goes_first(served: Serving, upstream: ChatUpstream) -> None:
    upstream.behave = saying("yes")
    asked(upstream)
    assert post(served, "/chat/completions", {**CHAT, "model": "own"}, TRACE).status_code == 200
    assert asked(upstream)[0]["traceparent"] == "configured"


def test_a_socket_is_in_the_trace_of_its_handshake(served: Serving, upstream: ChatUpstream) -> None:
    upstream.behave = saying("yes")
    asked(upstream)
    with opened(served, headers=TRACE) as client:
        client.ask(model="r", input="hi")
        client.ask(model="r", input="hi again")
    assert [headers.get("traceparent") for headers in asked(upstream)] == [PARENT, PARENT]


def test_another_server_of_the_responses_api_gets_it_too(tmp_path: Path) -> None:
    with chat_upstream(playing([{"type": "response.completed", "response": response()}])) as upstream:
        secret = tmp_path / "secret"
        secret.write_text(SECRET)
        one = {"kind": "responses", "url": upstream.url, "secret": {"file": str(secret)}}
        routes = {"r": {"targets": [{"upstream": "up", "model": "m"}]}}
        with serving(None, tmp_path / "data", **tables({"up": one}, routes)) as served:
            post(served, "/responses", {"model": "r", "input": "hi"}, TRACE)
        assert asked(upstream)[0]["traceparent"] == PARENT
