"""What a case needs: a real server with the built-in model, and upstreams that answer with the case's own bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from antiphon.wire.sse import SSEParser
from conformance import spec
from conformance.sequence import check_sequence
from support.real import CODER, Server, launch
from support.upstreams import ChatUpstream, Says, chat_upstream

Json = dict[str, Any]

#: The routes of the cases: a letter for each profile.
PROFILES = {"o": "openai", "g": "generic", "v": "vllm", "d": "deepseek", "m": "mistral"}


@dataclass
class Outcome:
    """What a client has been told, whatever the surface and whether it was streamed.

    `error`: of an HTTP error, of a failed response or of an error chunk; None if it went well. `calls` are names and
    arguments as JSON values; the raw text stands in their place where it is no JSON. `sent`: the bodies that the
    upstream got.
    """

    status: int
    error: Json | None = None
    text: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    usage: Json | None = None
    finish: str | None = None
    events: list[Json] = field(default_factory=list)
    sent: list[Json] = field(default_factory=list)

    @property
    def value(self) -> Any:
        """The text as JSON."""
        return json.loads(self.text)


@dataclass
class World:
    """The server, and the upstream behind all its routes."""

    server: Server
    upstream: ChatUpstream

    def ask(self, path: str, request: Json, answer: Json | None) -> Outcome:
        """Send a request while the upstream answers with `answer`; what came of it, with its form checked."""
        self.upstream.asked.clear()
        self.upstream.behave = lambda _: _says(answer or {}, streamed=bool(request.get("stream")))
        headers = {"Authorization": f"Bearer {self.server.key}"}
        response = httpx2.post(self.server.url + path, json=request, headers=headers, timeout=110)
        outcome = _outcome(path, response)
        outcome.sent = [asked.body for asked in self.upstream.asked]
        return outcome


@contextmanager
def world(path: Path) -> Iterator[World]:
    """Start both, until the block is left."""
    with chat_upstream() as upstream:
        tables = [f'[upstreams.{letter}]\nkind = "chat"\nurl = "{upstream.url}"\nprofile = "{profile}"\n'
                  for letter, profile in PROFILES.items()]  # fmt: skip
        tables.append(f'[upstreams.r]\nkind = "responses"\nurl = "{upstream.url}"\nprofile = "openai"\n')
        tables += [f'[routes."{name}/*"]\ntargets = [{{ upstream = "{name}" }}]\nretries = 0\n'
                   for name in (*PROFILES, "r")]  # fmt: skip
        (path / "antiphon.toml").write_text("\n".join(tables))
        with launch(path, "--model", CODER, "--context", "2048") as server:
            yield World(server, upstream)


def _says(answer: Json, *, streamed: bool) -> Says:
    body = answer.get("body", "").encode("latin1" if answer.get("latin1") else "utf-8")
    headers = answer.get("headers", {"Content-Type": "text/event-stream" if streamed else "application/json"})
    kind = headers.get("Content-Type")
    others = {name: value for name, value in headers.items() if name != "Content-Type"}
    return Says([body], status=answer.get("status", 200), kind=kind or "", headers=others)


def _outcome(path: str, response: httpx2.Response) -> Outcome:
    outcome = Outcome(response.status_code)
    if response.status_code != 200:
        body = response.json()
        spec.check_error(body)
        outcome.error = body["error"]
    elif response.headers["content-type"].startswith("text/event-stream"):
        parser = SSEParser()
        events = [event.data for event in parser.feed(response.content)]
        outcome.events = [json.loads(data) for data in events if data != b"[DONE]"]
        (_take_response_events if path == "/v1/responses" else _take_chunks)(outcome)
    elif path == "/v1/responses":
        _take_response(outcome, response.json())
    else:
        _take_message(outcome, response.json()["choices"][0]["message"])
    return outcome


def _take_response_events(outcome: Outcome) -> None:
    check_sequence(outcome.events)
    _take_response(outcome, outcome.events[-1]["response"])


def _take_response(outcome: Outcome, response: Json) -> None:
    outcome.error, outcome.usage, outcome.finish = response["error"], response["usage"], response["status"]
    for item in response["output"]:
        if item["type"] == "message":
            outcome.text += "".join(part.get("text", "") for part in item["content"])
        elif item["type"] == "function_call":
            outcome.calls.append((item["name"], _parsed(item["arguments"])))


def _take_chunks(outcome: Outcome) -> None:
    """Read the chunks as the official SDK's helper does."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in outcome.events:
        if "error" in chunk:
            outcome.error = chunk["error"]
            return
        spec.check_chat_chunk(chunk)
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
        outcome.usage = chunk.get("usage") or outcome.usage
    choice = state.get_final_completion().choices[0]
    outcome.finish = choice.finish_reason
    _take_message(outcome, choice.message.model_dump())


def _take_message(outcome: Outcome, message: Json) -> None:
    outcome.text = message.get("content") or ""
    for call in message.get("tool_calls") or ():
        outcome.calls.append((call["function"]["name"], _parsed(call["function"]["arguments"])))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
