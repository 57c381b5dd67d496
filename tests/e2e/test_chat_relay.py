"""Chat completions that an upstream says in our own words: passed on byte by byte, and ended cleanly."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from antiphon.domain.errors import UpstreamFailed
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Finish, Generation, PassthroughDelta, TextDelta, Usage
from support.serving import serving

NATIVE = Capabilities(context_tokens=1000, passes_extra=True, passthrough=frozenset({"chat"}))
BODY: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}


def chunk(text: str) -> PassthroughDelta:
    said = {
        "id": "up-1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": text}}],
        "x": 1,
    }
    return PassthroughDelta(json.dumps(said).encode(), text)


def passthrough(generation: Generation) -> Sequence[Step]:
    if generation.passthrough is None:
        return [TextDelta("neutral"), Finish("stop", Usage(1, 0, 1))]
    if generation.streamed:
        return [chunk("a"), chunk("b"), Finish("stop", Usage(1, 0, 2))]
    whole = {"id": "up-1", "object": "chat.completion", "odd": {"kept": True}, "choices": []}
    return [PassthroughDelta(json.dumps(whole, indent=1).encode()), Finish("stop", Usage(1, 0, 2))]


def test_a_whole_answer_is_passed_on_as_it_came(tmp_path: Path) -> None:
    engine = ScriptedEngine(passthrough, capabilities=NATIVE)
    with serving(engine, tmp_path) as served:
        answer = httpx2.post(
            f"{served.base_url}/chat/completions", headers=served.headers, json={**BODY, "vendor_field": [1]}
        )
    assert answer.status_code == 200
    assert answer.json() == {"id": "up-1", "object": "chat.completion", "odd": {"kept": True}, "choices": []}
    asked = engine.asked[0].passthrough
    assert asked is not None
    assert asked.body["vendor_field"] == [1]
    assert asked.body["messages"] == BODY["messages"]


def test_a_stream_is_passed_on_as_it_came(tmp_path: Path) -> None:
    with serving(ScriptedEngine(passthrough, capabilities=NATIVE), tmp_path) as served:
        answer = httpx2.post(
            f"{served.base_url}/chat/completions", headers=served.headers, json={**BODY, "stream": True}
        )
    lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    assert lines == [f"data: {chunk('a').data.decode()}", f"data: {chunk('b').data.decode()}", "data: [DONE]"]


@pytest.mark.parametrize("options", [{"n": 2}, {"store": True}])
def test_what_needs_our_own_words_gets_them(tmp_path: Path, options: dict[str, Any]) -> None:
    with serving(ScriptedEngine(passthrough, capabilities=NATIVE), tmp_path) as served:
        answer = httpx2.post(f"{served.base_url}/chat/completions", headers=served.headers, json={**BODY, **options})
    assert [choice["message"]["content"] for choice in answer.json()["choices"]] == ["neutral"] * options.get("n", 1)
    assert answer.json()["id"].startswith("chatcmpl-")


def test_an_engine_may_answer_a_native_request_in_neutral_words(tmp_path: Path) -> None:
    def neutral(generation: Generation) -> Sequence[Step]:
        assert generation.passthrough is not None
        return [TextDelta("one "), TextDelta("two"), Finish("stop", Usage(1, 0, 2))]

    with serving(ScriptedEngine(neutral, capabilities=NATIVE), tmp_path) as served:
        client = served.client()
        assert client.chat.completions.create(**BODY).choices[0].message.content == "one two"
        chunks = list(client.chat.completions.create(**BODY, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two"


def test_an_upstream_that_breaks_midway_ends_the_stream_with_one_error(tmp_path: Path) -> None:
    fault = UpstreamFailed("The upstream broke off its answer.", code="upstream_truncated")
    engine = ScriptedEngine(lambda _: [chunk("a"), fault], capabilities=NATIVE)
    with serving(engine, tmp_path) as served:
        answer = httpx2.post(
            f"{served.base_url}/chat/completions", headers=served.headers, json={**BODY, "stream": True}
        )
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert events[0] == chunk("a").data.decode()
    assert json.loads(events[1])["error"]["code"] == "upstream_truncated"
    assert events[2:] == ["[DONE]"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_breaks_at_once_is_an_http_error(tmp_path: Path, stream: bool) -> None:
    engine = ScriptedEngine(lambda _: [UpstreamFailed("It is down.", code="upstream_unreachable")], capabilities=NATIVE)
    with serving(engine, tmp_path) as served:
        answer = httpx2.post(
            f"{served.base_url}/chat/completions", headers=served.headers, json={**BODY, "stream": stream}
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")


def test_an_answer_that_does_not_finish_is_not_given_as_whole(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda _: [PassthroughDelta(b'{"id": "up-1"}')], capabilities=NATIVE)
    with serving(engine, tmp_path) as served:
        answer = httpx2.post(f"{served.base_url}/chat/completions", headers=served.headers, json=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "engine_failed")


def test_without_such_an_upstream_its_parameters_are_refused(tmp_path: Path) -> None:
    with serving(ScriptedEngine(), tmp_path) as served:
        answer = httpx2.post(
            f"{served.base_url}/chat/completions", headers=served.headers, json={**BODY, "web_search_options": {"x": 1}}
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["param"].startswith("web_search_options")


def test_hanging_up_before_the_first_token_ends_the_generation(tmp_path: Path) -> None:
    never = asyncio.Event()
    engine = ScriptedEngine(lambda _: [never], capabilities=NATIVE)
    with serving(engine, tmp_path) as served:
        with pytest.raises(httpx2.TimeoutException):
            httpx2.post(f"{served.base_url}/chat/completions", headers=served.headers, json=BODY, timeout=0.3)
        deadline = time.monotonic() + 5
        while not engine.closed and time.monotonic() < deadline:
            time.sleep(0.02)
        assert engine.closed == 1
