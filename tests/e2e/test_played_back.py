"""Answers of ours, sent back as they came: by the official SDK, as its own objects and as JSON, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pydantic
import pytest
from openai import OpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState

from antiphon.engines.scripted import ScriptedEngine
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    Generation,
    Message,
    ReasoningDelta,
    ReasoningTurn,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCall,
    ToolResult,
    Usage,
)
from support.serving import Serving, serving

Json = dict[str, Any]

USAGE = Usage(input_tokens=5, output_tokens=4)
STOP, CALLED = Finish("stop", USAGE), Finish("tool_calls", USAGE)
CALL: list[Delta] = [CallStart("add", "call_1"), CallArguments('{"a": 1}')]
TOKEN = TokenLogprob("Yes", -0.5, (89,))
#: Everything that an answer may be made of.
ANSWERS: dict[str, list[Delta]] = {
    "text": [TextDelta("Yes."), STOP],
    "nothing": [STOP],
    "logprobs": [TextDelta("Yes", (TOKEN,)), STOP],
    "refusal": [RefusalDelta("No."), STOP],
    "thoughts and text": [ReasoningDelta("Hm."), TextDelta("Yes."), STOP],
    "call": [*CALL, CALLED],
    "text and calls": [TextDelta("So:"), *CALL, CallStart("add", "call_2"), CallArguments("{}"), CALLED],
    "thoughts and call": [ReasoningDelta("Hm."), *CALL, CALLED],
    "empty text and call": [TextDelta(""), *CALL, CALLED],
    "custom call": [CallStart("note", "call_1", "custom"), CallArguments("free"), CALLED],
    "cut off": [TextDelta("Ye"), Finish("length", USAGE)],
    "filtered": [TextDelta("Ye"), Finish("content_filter", USAGE)],
}
ADD: Json = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
CHAT_TOOLS: list[Any] = [{"type": "function", "function": ADD}, {"type": "custom", "custom": {"name": "note"}}]
TOOLS: list[Any] = [{"type": "function", "strict": False, **ADD}, {"type": "custom", "name": "note"}]
#: The SDK's own helpers for streams raise for an answer that is cut off, and do not know custom tools.
WHOLE_ONLY = {"cut off", "filtered", "custom call"}
EACH = pytest.mark.parametrize(
    ("name", "streamed"),
    [*((name, False) for name in ANSWERS), *((name, True) for name in sorted(ANSWERS.keys() - WHOLE_ONLY))],
)


class Stage:
    """A server whose engine says whatever `says` holds, and what it was asked last."""

    def __init__(self) -> None:
        self.says = ANSWERS["text"]
        self.engine = ScriptedEngine(lambda _: self.says, admit=self._admit)
        self.asked: Generation | None = None

    def _admit(self, generation: Generation) -> None:
        self.asked = generation

    def shown(self, kind: type) -> list[Any]:
        assert self.asked is not None
        return [turn for turn in self.asked.turns if isinstance(turn, kind)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Serving]]:
    stage = Stage()
    with serving(stage.engine, tmp_path_factory.mktemp("back")) as served:
        yield stage, served


def result_of(call: Any) -> Json:
    return {"role": "tool", "tool_call_id": call.id, "name": "add", "content": "2"}


def chat(client: OpenAI, messages: list[Any], *, streamed: bool) -> Any:
    """The assistant's message as the SDK gives it."""
    more: Json = {"model": "scripted", "messages": messages, "tools": CHAT_TOOLS, "logprobs": True}
    if not streamed:
        return client.chat.completions.create(**more).choices[0].message
    state = ChatCompletionStreamState()
    for chunk in client.chat.completions.create(**more, stream=True):
        state.handle_chunk(chunk)
    return state.get_final_completion().choices[0].message


@EACH
def test_chat_messages(place: tuple[Stage, Serving], name: str, streamed: bool) -> None:
    stage, served = place
    client = served.client()
    stage.says = ANSWERS[name]
    message = chat(client, [{"role": "user", "content": "hi"}], streamed=streamed)
    if name.endswith(("call", "calls")) and "text and calls" not in name:
        assert message.content is None
    results = [result_of(call) for call in message.tool_calls or []]
    stage.says = ANSWERS["text"]
    for said in (message, message.model_dump(), message.model_dump(exclude_unset=True, exclude_none=True)):
        again = [{"role": "user", "content": "hi"}, said, *results, {"role": "user", "content": "go on"}]
        assert chat(client, again, streamed=streamed).content == "Yes."
        assert bool(stage.shown(ReasoningTurn)) == name.startswith("thoughts")
        assert len(stage.shown(ToolCall)) == len(stage.shown(ToolResult)) == len(results)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_parsed_messages(place: tuple[Stage, Serving]) -> None:
    class Sum(pydantic.BaseModel):
        value: int

    stage, served = place
    stage.says = [TextDelta('{"value": 3}'), STOP]
    client = served.client()
    given: list[Any] = [{"role": "user", "content": "hi"}]
    message = client.chat.completions.parse(model="scripted", messages=given, response_format=Sum).choices[0].message
    assert message.parsed == Sum(value=3)
    stage.says = ANSWERS["text"]
    for said in (message, message.model_dump()):
        assert chat(client, [*given, said, *given], streamed=False).content == "Yes."


def test_legacy_functions(place: tuple[Stage, Serving]) -> None:
    stage, served = place
    stage.says = ANSWERS["call"]
    client = served.client()
    given: list[Any] = [{"role": "user", "content": "hi"}]
    functions: list[Any] = [ADD]
    message = client.chat.completions.create(model="scripted", messages=given, functions=functions).choices[0].message
    stage.says = ANSWERS["text"]
    result = {"role": "function", "name": "add", "content": "2"}
    assert chat(client, [*given, message, result], streamed=False).content == "Yes."


@EACH
def test_items(place: tuple[Stage, Serving], name: str, streamed: bool) -> None:
    stage, served = place
    client = served.client()
    stage.says = ANSWERS[name]
    more: Json = {"model": "scripted", "tools": TOOLS, "include": ["message.output_text.logprobs"], "store": False}
    if streamed:
        with client.responses.stream(**more, input="hi") as stream:
            output: list[Any] = list(stream.get_final_response().output)
    else:
        output = list(client.responses.create(**more, input="hi").output)
    kinds = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
    results = [
        {"type": kinds[item.type], "call_id": item.call_id, "output": "2"} for item in output if item.type in kinds
    ]
    stage.says = ANSWERS["text"]
    bodies = [item.model_dump() for item in output]
    without = [{key: value for key, value in body.items() if key not in {"id", "status"}} for body in bodies]
    nulls = [{**body, "id": None, "status": None} for body in bodies]
    for said in (output, bodies, without, nulls, [item.model_dump(exclude_unset=True) for item in output]):
        again = [{"role": "user", "content": "hi"}, *said, *results, {"role": "user", "content": "go on"}]
        assert client.responses.create(**more, input=again).output_text == "Yes."
        assert bool(stage.shown(ReasoningTurn)) == name.startswith("thoughts")
        assert len(stage.shown(Message)) >= 2
