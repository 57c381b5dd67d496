"""Items of every type, reasoning, custom tools and structured output over a real socket, with the official SDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from antiphon.domain.errors import InvalidRequest
from antiphon.engines.scripted import ScriptedEngine
from antiphon.ports import Capabilities
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
    ToolResult,
    Usage,
)
from support.checking import Answers
from support.item_samples import HOSTED
from support.serving import Serving, other_project, serving

ASK: dict[str, Any] = {"model": "scripted", "input": "hi"}
DONE = Finish("stop", Usage(input_tokens=5, output_tokens=4, reasoning_tokens=2))
THINKING: list[Delta] = [ReasoningDelta("Hm, "), ReasoningDelta("yes."), TextDelta("Yes."), DONE]


class Stage:
    """A server whose engine says whatever `says` holds."""

    def __init__(self) -> None:
        self.says: list[Delta] = [TextDelta("Yes."), DONE]
        self.refuses: InvalidRequest | None = None
        self.engine = ScriptedEngine(lambda _: self.says, admit=self._admit)

    def _admit(self, _: Generation) -> None:
        if self.refuses is not None:
            raise self.refuses


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Serving]]:
    stage = Stage()
    with serving(stage.engine, tmp_path_factory.mktemp("items")) as served:
        yield stage, served


@pytest.fixture
def stage(place: tuple[Stage, Serving]) -> Iterator[Stage]:
    stage = place[0]
    yield stage
    stage.says, stage.refuses = [TextDelta("Yes."), DONE], None


@pytest.fixture
def client(place: tuple[Stage, Serving]) -> Iterator[OpenAI]:
    """The SDK; what it gets is held against the published specifications."""
    answers = Answers()
    with answers.client(place[1]) as client:
        yield client
    answers.check()


def test_items_of_every_type_are_stored_and_listed_as_they_were_sent(stage: Stage, client: OpenAI) -> None:
    given: Any = [item for item in HOSTED if item["type"] != "configuration_update"]
    response = client.responses.create(model="scripted", input=[{"role": "user", "content": "Go on."}, *given])
    assert response.output_text == "Yes."
    listed = list(client.responses.input_items.list(response.id, order="asc", limit=100))
    assert len(listed) == len(given) + 1
    for sent, kept in zip(given, listed[1:], strict=True):
        body = kept.to_dict()
        assert body["type"] == sent["type"]
        for name in sent.keys() - {"tools", "action"}:
            assert body[name] == sent[name], (sent["type"], name)
    shown = stage.engine.asked[-1]
    assert next(turn.output for turn in shown.turns if isinstance(turn, ToolResult)).startswith("[cats.txt]")
    assert {tool.name for tool in shown.tools} == {"later", "note"}
    # And so they are in the next turn of the chain.
    client.responses.create(**ASK, previous_response_id=response.id)
    again = stage.engine.asked[-1].turns
    assert [turn for turn in again if isinstance(turn, ToolResult)] == [
        turn for turn in shown.turns if isinstance(turn, ToolResult)
    ]


def test_reasoning_is_streamed_kept_and_sealed(stage: Stage, client: OpenAI) -> None:
    stage.says = THINKING
    sealed_too: Any = {**ASK, "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "high"}}
    with client.responses.stream(**sealed_too, store=False) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds.count("response.reasoning_text.delta") == 2
    assert all(getattr(e, "obfuscation", None) for e in events if e.type == "response.reasoning_text.delta")
    assert stage.engine.asked[-1].effort == "high"
    item = final.output[0]
    assert item.type == "reasoning"
    assert item.encrypted_content
    assert "Hm" not in item.encrypted_content
    assert item.content is not None
    assert item.content[0].text == "Hm, yes."
    assert final.usage is not None
    assert final.usage.output_tokens_details.reasoning_tokens == 2
    # Nothing is stored: the client sends it back, without the text.
    replayed: Any = [{"role": "user", "content": "hi"}, {**item.to_dict(), "content": None}, final.output[1].to_dict()]
    client.responses.create(model="scripted", store=False, input=[*replayed, {"role": "user", "content": "And?"}])
    assert ReasoningTurn("Hm, yes.") in stage.engine.asked[-1].turns
    # Without `include` there is nothing sealed.
    plain = client.responses.create(**ASK).output[0]
    assert plain.type == "reasoning"
    assert plain.encrypted_content is None


def test_sealed_reasoning_that_was_changed_or_is_anothers_is_refused(
    place: tuple[Stage, Serving], stage: Stage, client: OpenAI
) -> None:
    stage.says = THINKING
    response = client.responses.create(**ASK, include=["reasoning.encrypted_content"])
    item = response.output[0].to_dict()
    sealed = str(item["encrypted_content"])
    changed = {**item, "encrypted_content": sealed[:-8] + ("A" * 8 if not sealed.endswith("A" * 8) else "B" * 8)}
    question = {"role": "user", "content": "And?"}
    served = place[1]
    with served.client().with_options(api_key=other_project(served)) as stranger:
        for asking, broken in ((client, changed), (stranger, item)):
            with pytest.raises(openai.BadRequestError) as refused:
                asking.responses.create(model="scripted", input=[question, broken])  # type: ignore[list-item]
            assert refused.value.code == "invalid_encrypted_content"
            assert refused.value.param == "input[1].encrypted_content"


def test_refusals_and_custom_calls_are_streamed_with_padding(stage: Stage, client: OpenAI) -> None:
    stage.says = [RefusalDelta("I "), RefusalDelta("won't."), DONE]
    events = list(client.responses.create(**ASK, stream=True))
    assert "".join(e.delta for e in events if e.type == "response.refusal.delta") == "I won't."
    stage.says = [CallStart("note", "call_1", "custom"), CallArguments("free "), CallArguments("text"), Finish("stop")]
    tools: Any = [{"type": "custom", "name": "note"}]
    more = list(client.responses.create(**ASK, tools=tools, stream=True))
    assert "".join(e.delta for e in more if e.type == "response.custom_tool_call_input.delta") == "free text"
    deltas = [event for event in [*events, *more] if event.type.endswith(".delta")]
    assert len(deltas) == 4
    assert all(getattr(event, "obfuscation", None) for event in deltas)
    bare = client.responses.create(**ASK, tools=tools, stream=True, stream_options={"include_obfuscation": False})
    assert not any(hasattr(event, "obfuscation") for event in bare)


def test_grammars_and_effort_reach_the_engine_from_both_surfaces(stage: Stage, client: OpenAI) -> None:
    custom = {"type": "custom", "name": "x", "format": {"type": "grammar", "syntax": "regex", "definition": "a+"}}
    client.responses.create(**ASK, tools=[custom], reasoning={"effort": "none"})  # type: ignore[list-item]
    first = stage.engine.asked[-1]
    grammar = {"syntax": "regex", "definition": "a+"}
    client.chat.completions.create(
        model="scripted",
        messages=[{"role": "user", "content": "hi"}],
        tools=[{"type": "custom", "custom": {"name": "x", "format": {"type": "grammar", "grammar": grammar}}}],  # type: ignore[typeddict-item,list-item]
        reasoning_effort="none",
    )
    second = stage.engine.asked[-1]
    assert first.tools == second.tools
    assert first.effort == second.effort == "none"


@pytest.mark.parametrize(
    ("neutral", "responses", "chat"),
    [
        ("tools[0].grammar", "tools[0].format.definition", "tools[0].custom.format.grammar.definition"),
        ("tools[3].parameters", "tools[3].parameters", "tools[3].function.parameters"),
        ("output.schema", "text.format.schema", "response_format"),
    ],
)
def test_what_the_engine_refuses_is_named_as_each_surface_calls_it(
    stage: Stage, client: OpenAI, neutral: str, responses: str, chat: str
) -> None:
    stage.refuses = InvalidRequest("No.", code="c", param=neutral)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**ASK)
    assert refused.value.param == responses
    stage.refuses = InvalidRequest("No.", code="c", param=neutral)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "hi"}])
    assert refused.value.param == chat


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"max_tool_calls": 0}, "max_tool_calls", "integer_below_min_value"),
        ({"include": ["nonsense"]}, "include[0]", "invalid_value"),
        ({"input": [{"type": "shell_call", "call_id": "c"}]}, "input[0].action", "missing_required_parameter"),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}}},
            "text.format.schema",
            "invalid_json_schema",
        ),
        (
            {"tools": [{"type": "namespace", "name": "n", "description": "x", "tools": [{"type": "web_search"}]}]},
            "tools[0].tools[0].type",
            "invalid_value",
        ),
    ],
)
def test_bad_requests_are_named(client: OpenAI, body: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**{**ASK, **body})
    assert (refused.value.param, refused.value.code) == (param, code)


def test_max_tool_calls_and_every_include_are_taken(client: OpenAI) -> None:
    values: Any = [
        "file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
        "message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs",
        "reasoning.encrypted_content", "message.output_text.logprobs",
    ]  # fmt: skip
    response = client.responses.create(**ASK, max_tool_calls=2, include=values)
    assert response.max_tool_calls == 2


# --- an engine that cannot constrain ----------------------------------------------------------------------------------
def test_structured_output_on_an_engine_that_cannot_constrain(tmp_path: Path) -> None:
    def script(generation: Generation) -> list[Delta]:
        asked = generation.turns[0]
        fixing = isinstance(asked, Message) and asked.text.startswith("Fix this JSON")
        said = '{"n": 2}' if fixing else "Two." if "words" in generation.turns[-1].text else "{n: 1,}"  # type: ignore[union-attr]
        return [TextDelta(said), DONE]

    engine = ScriptedEngine(script, capabilities=Capabilities(context_tokens=1_000, constrains=False))
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form: Any = {"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}}
    with serving(engine, tmp_path) as served, served.client() as client:
        assert client.responses.create(**ASK, text=form).output_text == '{"n": 1}'
        second = client.responses.create(model="scripted", input="In words!", text=form)
        assert second.output_text == '{"n": 2}'
        assert second.usage is not None
        assert second.usage.input_tokens == 10
        tools: Any = [
            {"type": "custom", "name": "x", "format": {"type": "grammar", "syntax": "lark", "definition": "s"}}
        ]
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(**ASK, tools=tools)
        assert refused.value.param == "tools[0].format.definition"
        bad: Any = {"format": {"type": "json_schema", "name": "x", "schema": {"type": "nonsense"}}}
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(**ASK, text=bad)
        assert refused.value.param == "text.format.schema"
