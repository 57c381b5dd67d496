"""Every surface over a server that speaks Chat Completions only: official SDK in front, scripted upstream behind."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from antiphon.domain.routing import Deadlines
from antiphon.engines.upstream.chat.dialect import ChatDialect
from antiphon.engines.upstream.client import ConnectionPools
from antiphon.engines.upstream.engine import UpstreamEngine
from support.chat_engines import HASTY, client_of
from support.checking import Answers
from support.loglines import logged
from support.serving import Serving, serving
from support.upstreams import (
    SECRET,
    ChatUpstream,
    Json,
    Says,
    Stall,
    chat_upstream,
    chunk,
    completed,
    failing,
    saying,
    sse,
    streamed,
    usage_chunk,
)

ADD = {
    "type": "function",
    "name": "add",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}


class Closing(UpstreamEngine):
    """Closes its connections when it is stopped."""

    def __init__(self, connections: ConnectionPools, *arguments: Any, **more: Any) -> None:
        super().__init__(ChatDialect, *arguments, **more)
        self._connections = connections

    async def stop(self) -> None:
        await super().stop()
        await self._connections.close()


@contextmanager
def gateway(path: Path, upstream: ChatUpstream, deadlines: Deadlines = HASTY) -> Iterator[Serving]:
    """A server whose only model, "route", is the upstream's "up-model"."""
    connections = ConnectionPools()
    client = client_of(upstream.url, connections)
    engine = Closing(connections, client, "up-model", name="route", deadlines=deadlines)
    with serving(engine, path) as served:
        yield served


@pytest.fixture(scope="module")
def upstream() -> Iterator[ChatUpstream]:
    with chat_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def served(upstream: ChatUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with gateway(tmp_path_factory.mktemp("gateway"), upstream) as served:
        yield served


@pytest.fixture
def checked(served: Serving, answers: Answers) -> Iterator[openai.OpenAI]:
    """The official SDK; every answer is held against the published specification."""
    with answers.client(served) as client:
        yield client


def hello(**more: Any) -> dict[str, Any]:
    return {"model": "route", "messages": [{"role": "user", "content": "hello"}], **more}


def test_a_chat_is_passed_through(served: Serving, upstream: ChatUpstream) -> None:
    upstream.behave = saying("Hel", "lo")
    client = served.client()
    answer = client.chat.completions.create(**hello(), extra_body={"top_k": 2})
    assert answer.choices[0].message.content == "Hello"
    assert answer.id == "chatcmpl-up"
    assert upstream.last == {"model": "up-model", "messages": hello()["messages"], "top_k": 2}
    stream = client.chat.completions.create(**hello(stream=True))
    chunks = list(stream)
    assert "".join(each.choices[0].delta.content or "" for each in chunks) == "Hello"
    assert all(each.usage is None for each in chunks)
    last = list(client.chat.completions.create(**hello(stream=True, stream_options={"include_usage": True})))[-1]
    assert last.usage is not None
    assert last.usage.total_tokens == 8


def test_a_stored_chat_and_several_choices(served: Serving, upstream: ChatUpstream) -> None:
    upstream.behave = saying("Hello")
    client = served.client()
    stored = client.chat.completions.create(**hello(store=True, n=2))
    assert [choice.message.content for choice in stored.choices] == ["Hello", "Hello"]
    assert client.chat.completions.retrieve(stored.id).model == "route"
    assert "store" not in upstream.last


def test_a_response_goes_on_from_another(upstream: ChatUpstream, checked: openai.OpenAI) -> None:
    thought = chunk({"reasoning_content": "Hm."})
    upstream.behave = lambda _: streamed(thought, chunk({"content": "One"}), chunk(finish="stop"), usage_chunk())
    with checked.responses.stream(model="route", input="Count.", instructions="Be brief.") as stream:
        kinds = [event.type for event in stream]
        first = stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert "response.reasoning_text.delta" in kinds
    assert first.output_text == "One"
    assert first.usage is not None
    assert (first.usage.input_tokens, first.usage.output_tokens) == (5, 3)
    upstream.behave = saying("Two")
    second = checked.responses.create(model="route", input="Go on.", previous_response_id=first.id)
    assert second.output_text == "Two"
    assert [(each["role"], each["content"]) for each in upstream.last["messages"]] == [
        ("user", "Count."),
        ("assistant", "One"),
        ("user", "Go on."),
    ]


def test_tools_over_responses(upstream: ChatUpstream, checked: openai.OpenAI) -> None:
    def behave(body: Json) -> Says:
        if body["messages"][-1]["role"] == "tool":
            return saying("3")(body)
        calls = [
            {"index": n, "id": f"c{n}", "function": {"name": "add", "arguments": json.dumps({"a": n})}} for n in (0, 1)
        ]
        if not body["stream"]:
            return completed({"content": None, "tool_calls": calls}, finish="tool_calls")
        return streamed(chunk({"tool_calls": calls}), chunk(finish="tool_calls"), usage_chunk())

    upstream.behave = behave
    first = checked.responses.create(model="route", input="1 + 2?", tools=[ADD])  # type: ignore[list-item]
    calls = [item for item in first.output if item.type == "function_call"]
    assert [(call.call_id, call.arguments) for call in calls] == [("c0", '{"a": 0}'), ("c1", '{"a": 1}')]
    results: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "1"} for call in calls]
    second = checked.responses.create(model="route", input=results, previous_response_id=first.id, tools=[ADD])  # type: ignore[list-item]
    assert second.output_text == "3"
    roles = [message["role"] for message in upstream.last["messages"]]
    assert roles == ["user", "assistant", "tool", "tool"]


def test_structured_output_is_enforced(served: Serving, upstream: ChatUpstream) -> None:
    upstream.behave = saying("Sure! ", '{"a": 1,}')
    schema = {**ADD["parameters"], "additionalProperties": False}  # type: ignore[dict-item]
    answer = served.client().responses.create(
        model="route",
        input="Hi",
        text={"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}},
    )
    assert json.loads(answer.output_text) == {"a": 1}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["chat/completions", "responses"])
@pytest.mark.parametrize(
    ("status", "seen", "code"),
    [(401, 502, "upstream_refused"), (429, 429, "rate_limit_exceeded"), (500, 502, "upstream_error"), (400, 400, None)],
)
def test_refusals_of_the_upstream(
    served: Serving, upstream: ChatUpstream, path: str, stream: bool, status: int, seen: int, code: str | None
) -> None:
    upstream.behave = failing(status, {"message": f"nope {SECRET} at {upstream.url}"})
    body = hello(stream=stream) if path == "chat/completions" else {"model": "route", "input": "Hi", "stream": stream}
    answer = httpx2.post(f"{served.base_url}/{path}", headers=served.headers, json=body)
    assert answer.status_code == seen
    error = answer.json()["error"]
    assert code is None or error["code"] == code
    assert SECRET not in answer.text
    assert upstream.url not in answer.text
    assert ("nope" in answer.text) == (status == 400)


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_a_stream_that_stalls_ends_in_one_clean_event(served: Serving, upstream: ChatUpstream, path: str) -> None:
    upstream.behave = lambda _: Says([*sse(chunk({"content": "a"}), done=False), Stall()], kind="text/event-stream")
    body = hello(stream=True) if path == "chat/completions" else {"model": "route", "input": "Hi", "stream": True}
    began = time.monotonic()
    answer = httpx2.post(f"{served.base_url}/{path}", headers=served.headers, json=body)
    assert time.monotonic() - began < 1.5
    assert answer.status_code == 200
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    if path == "responses":
        assert [event["type"] for event in events].count("response.failed") == 1
        assert events[-1]["type"] == "response.failed"
    else:
        assert [bool(event.get("error")) for event in events] == [False] * (len(events) - 1) + [True]
        assert events[-1]["error"]["code"] == "upstream_timeout"


def test_hanging_up_reaches_the_upstream(tmp_path: Path, upstream: ChatUpstream) -> None:
    def until_hung_up(before: int) -> None:
        deadline = time.monotonic() + 3
        while upstream.hung_up == before:
            assert time.monotonic() < deadline, "the upstream goes on"
            time.sleep(0.02)

    with gateway(tmp_path, upstream, Deadlines()) as served:
        before = upstream.hung_up
        upstream.behave = lambda _: Says([Stall()])
        with pytest.raises(openai.APITimeoutError):
            served.client(timeout=0.15).chat.completions.create(**hello())
        until_hung_up(before)
        upstream.behave = lambda _: Says([*sse(chunk({"content": "a"}), done=False), Stall()], kind="text/event-stream")
        with served.client().chat.completions.create(**hello(stream=True)) as answer:
            next(iter(answer))
        until_hung_up(before + 1)


def test_nothing_secret_is_logged(tmp_path: Path, upstream: ChatUpstream, capfd: pytest.CaptureFixture[str]) -> None:
    with logged("debug") as lines, gateway(tmp_path, upstream) as served:
        for behave in (failing(401), failing(500), saying("Hello")):
            upstream.behave = behave
            httpx2.post(f"{served.base_url}/chat/completions", headers=served.headers, json=hello())
            httpx2.post(f"{served.base_url}/responses", headers=served.headers, json={"model": "route", "input": "Hi"})
    written = capfd.readouterr()
    assert "/v1/responses" in lines.text
    assert SECRET not in lines.text + written.out + written.err
    assert all(SECRET.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
