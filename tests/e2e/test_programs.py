"""What programs send that people have: the essentials of their requests, in the turn after a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from antiphon.engines.scripted import ScriptedEngine
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    Generation,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
)
from support.serving import Serving, serving

Json = dict[str, Any]
DONE = Finish("stop", Usage(input_tokens=5, output_tokens=4))
PARAMETERS: Json = {
    "type": "object",
    "properties": {"cmd": {"type": "string"}, "limit": {"type": "number"}},
    "required": ["cmd"],
    "additionalProperties": False,
}
RUN: Json = {"type": "function", "name": "run", "description": "Runs a command.", "parameters": PARAMETERS}
CHAT_RUN: Json = {"type": "function", "function": {"name": "run", "description": "", "parameters": PARAMETERS}}
ARGUMENTS = '{"cmd": "echo hello"}'


def said(text: str, role: str = "user") -> Json:
    return {"type": "message", "id": f"msg_{role}", "role": role, "content": [{"type": "input_text", "text": text}]}


def chat_call(content: Any) -> Json:
    function = {"name": "run", "arguments": ARGUMENTS}
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }


#: A terminal agent over Responses: it keeps the conversation itself, with ids of its own for what its tools said.
AGENT: Json = {
    "stream": True,
    "store": False,
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "01a2",
    "client_metadata": {"turn_id": "01a2", "x-agent-turn": '{"sandbox": "none"}'},
    "tools": [
        {**RUN, "strict": False},
        {"type": "namespace", "name": "agents", "description": "Helpers.", "tools": [{**RUN, "name": "start"}]},
        {"type": "web_search", "external_web_access": True},
    ],
    "input": [
        said("You are a coding agent.", "developer"),
        said("<environment_context/>"),
        said("Run echo hello"),
        {"type": "function_call", "status": "completed", "id": "fc_1", "name": "run", "arguments": ARGUMENTS,
         "call_id": "call_1"},
        {"type": "function_call_output", "id": "fco_01a212b4-fabc", "call_id": "call_1", "output": "hello\r\n"},
    ],
}  # fmt: skip
#: A chat in the browser: samplers that llama.cpp knows, and a text before the call.
BROWSER: Json = {
    "stream": True,
    "top_k": 40,
    "min_p": 0.05,
    "tools": [CHAT_RUN],
    "messages": [
        {"role": "user", "content": "hi"},
        chat_call("Let me see."),
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "hello"}]},
    ],
}
#: Terminal agents over chat completions: parts in place of texts, an empty text beside the calls, words put in mouths.
TERMINAL: Json = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 8000,
    "tools": [CHAT_RUN],
    "messages": [
        {"role": "system", "content": "You are a coding agent."},
        {"role": "user", "content": [{"type": "text", "text": "This is the context."}]},
        {"role": "assistant", "content": "Got it."},
        {"role": "user", "content": [{"type": "text", "text": "Run echo hello"}]},
        chat_call(""),
        {"role": "tool", "tool_call_id": "call_1", "content": "hello"},
    ],
}


class Place:
    def __init__(self) -> None:
        self.says: list[Delta] = []
        self.asked: list[Generation] = []
        self.engine = ScriptedEngine(lambda _: self.says, admit=self.asked.append)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Serving]]:
    place = Place()
    where = tmp_path_factory.mktemp("programs")
    with serving(place.engine, where, unserved_tools="ignore", alias={"gpt-*": "default"}) as server:
        yield place, server


@pytest.mark.parametrize(
    ("path", "body", "end"),
    [
        ("/responses", AGENT, "event: response.completed"),
        ("/chat/completions", BROWSER, "data: [DONE]"),
        ("/chat/completions", TERMINAL, "data: [DONE]"),
    ],
    ids=["agent", "browser", "terminal"],
)
def test_their_turn_after_a_call_is_answered(served: tuple[Place, Serving], path: str, body: Json, end: str) -> None:
    place, server = served
    place.says = [TextDelta("It says hello."), DONE]
    answer = httpx2.post(
        f"{server.base_url}{path}", json={"model": "gpt-9-any", **body}, headers=server.headers, timeout=30
    )
    assert answer.status_code == 200, answer.text
    assert end in answer.text
    assert "It says hello." in answer.text
    turns = place.asked[-1].turns
    assert [turn.name for turn in turns if isinstance(turn, ToolCall)] == ["run"]
    assert [turn.output.strip() for turn in turns if isinstance(turn, ToolResult)] == ["hello"]
    assert {tool.name for tool in place.asked[-1].tools} >= {"run"}


def test_a_call_with_thoughts_is_taken_back_as_it_came(served: tuple[Place, Serving]) -> None:
    place, server = served
    place.says = [ReasoningDelta("I must run it."), CallStart("run", "call_1"), CallArguments(ARGUMENTS),
                  Finish("tool_calls", DONE.usage)]  # fmt: skip
    ask: Json = {"model": "gpt-9-any", "tools": [CHAT_RUN], "messages": [{"role": "user", "content": "Run it."}]}
    url = f"{server.base_url}/chat/completions"
    first = httpx2.post(url, json=ask, headers=server.headers, timeout=30).json()["choices"][0]["message"]
    assert first["reasoning_content"] == "I must run it."
    place.says = [TextDelta("Done."), DONE]
    messages = [*ask["messages"], first, {"role": "tool", "tool_call_id": "call_1", "content": "hello"}]
    second = httpx2.post(url, json={**ask, "messages": messages}, headers=server.headers, timeout=30)
    assert second.status_code == 200, second.text
