"""Tools with the default model, which knows how to use them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from antiphon.engines.llama.engine import LlamaEngine
from antiphon.protocol.generation import (
    CallArguments,
    OutputFormat,
    Sampling,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from contract.engine_contract import Run, asking, calls_of, collect, finish_of, said, text_of
from contract.llama import CODER, loop, started

WEATHER = Tool(
    "get_weather",
    "Get the weather of a city",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
    strict=True,
)
ADD = Tool(
    "add",
    "Add two numbers",
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
)
SQL = Tool("run_sql", "Run a SQL query", kind="custom")
TOOLS = (WEATHER, ADD)
EXACT = Sampling(temperature=0, max_tokens=120)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with loop() as run:
        yield run


@pytest.fixture(scope="module")
def engine(run: Run) -> Iterator[LlamaEngine]:
    with started(run, CODER, context=2048) as engine:
        yield engine


def ask(run: Run, engine: LlamaEngine, *turns: str | Turn, **more: Any) -> Any:
    more.setdefault("sampling", EXACT)
    return run(collect(engine, asking(*turns, **more)))


def test_auto_calls_where_a_call_helps_and_talks_where_not(run: Run, engine: LlamaEngine) -> None:
    deltas = ask(run, engine, "What is 3 plus 4?", tools=TOOLS)
    assert [(name, json.loads(text)) for name, text in calls_of(deltas)] == [("add", {"a": 3, "b": 4})]
    assert finish_of(deltas).reason == "tool_calls"
    deltas = ask(run, engine, "Hello, who are you?", tools=TOOLS)
    assert not calls_of(deltas)
    assert len(text_of(deltas)) > 10


@pytest.mark.parametrize("seed", range(2))
def test_calls_in_auto_mode_fit_their_schemas_however_hot(run: Run, engine: LlamaEngine, seed: int) -> None:
    sampling = Sampling(temperature=1.3, seed=seed, max_tokens=150)
    deltas = ask(run, engine, "What is the weather in Paris?", tools=TOOLS, sampling=sampling)
    schemas = {tool.name: tool.parameters for tool in TOOLS}
    if finish_of(deltas).reason == "tool_calls":
        for name, arguments in calls_of(deltas):
            jsonschema_rs.validate(dict(schemas[name] or {}), json.loads(arguments))


def test_arguments_arrive_as_they_are_made(run: Run, engine: LlamaEngine) -> None:
    deltas = ask(run, engine, "What is the weather in Paris in celsius?", tools=TOOLS)
    assert sum(isinstance(delta, CallArguments) for delta in deltas) > 3


def test_a_named_tool_is_called_even_where_it_makes_no_sense(run: Run, engine: LlamaEngine) -> None:
    choice = ToolChoice("required", frozenset({"add"}), parallel=False)
    [(name, arguments)] = calls_of(ask(run, engine, "Weather in Rome?", tools=TOOLS, tool_choice=choice))
    assert name == "add"
    assert set(json.loads(arguments)) == {"a", "b"}


def test_only_allowed_tools_are_called(run: Run, engine: LlamaEngine) -> None:
    choice = ToolChoice("auto", frozenset({"add"}))
    deltas = ask(run, engine, "What is the weather in Rome?", tools=TOOLS, tool_choice=choice)
    assert all(name == "add" for name, _ in calls_of(deltas))


def test_a_custom_tool_gets_plain_text(run: Run, engine: LlamaEngine) -> None:
    choice = ToolChoice("required", parallel=False)
    deltas = ask(run, engine, "Select all users over 30.", tools=(SQL,), tool_choice=choice)
    [(name, text)] = calls_of(deltas)
    assert name == "run_sql"
    assert "select" in text.lower()
    assert not text.startswith("{")


def test_json_or_a_call(run: Run, engine: LlamaEngine) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    output = OutputFormat("json_schema", "answer", schema, strict=True)
    for question in ("Hello, who are you?", "What is 3 plus 4?"):
        deltas = ask(run, engine, question, tools=TOOLS, output=output)
        assert calls_of(deltas) or jsonschema_rs.is_valid(schema, json.loads(text_of(deltas)))


ASKED = said("What's the weather in Paris in celsius?")
CALLED = ToolCall("c1", "get_weather", '{"unit": "celsius", "city": "Paris"}')


def test_after_a_result_the_call_is_not_repeated(run: Run, engine: LlamaEngine) -> None:
    deltas = ask(run, engine, ASKED, CALLED, ToolResult("c1", "18 degrees, sunny"), tools=TOOLS)
    again = [json.loads(arguments) for name, arguments in calls_of(deltas) if name == "get_weather"]
    assert json.loads(CALLED.arguments) not in again
    assert calls_of(deltas) or "18" in text_of(deltas)
