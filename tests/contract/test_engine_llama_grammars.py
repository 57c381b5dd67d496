"""Custom tools bound to grammars, with the built-in engine: the model writes what they allow, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from antiphon.domain.errors import InvalidRequest
from antiphon.engines.llama.engine import LlamaEngine
from antiphon.protocol.generation import Grammar, OutputFormat, Sampling, Tool, ToolChoice
from contract.engine_contract import Run, asking, calls_of, collect, finish_of
from contract.llama import CODER, loop, started

SUM = """
start: term (OP term)+
term: NUMBER | "(" start ")"
OP: " + " | " * "
NUMBER: /[0-9]{1,3}/
"""
CALCULATE = Tool("calculate", "Calculates.", kind="custom", grammar=Grammar("lark", SUM))
DATE = Tool("day", "Looks a day up.", kind="custom", grammar=Grammar("regex", r"^\d{4}/\d{2}/\d{2}$"))
ADD = Tool("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
EXACT = Sampling(temperature=0, max_tokens=80)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with loop() as run:
        yield run


@pytest.fixture(scope="module")
def engine(run: Run) -> Iterator[LlamaEngine]:
    with started(run, CODER, context=1024) as engine:
        yield engine


@pytest.mark.parametrize(
    ("tool", "form"), [(CALCULATE, r"[0-9(][0-9+*() ]+"), (DATE, r"\d{4}/\d{2}/\d{2}")], ids=["lark", "regex"]
)
def test_a_forced_call_obeys_its_grammar(run: Run, engine: LlamaEngine, tool: Tool, form: str) -> None:
    choice = ToolChoice("required", frozenset({tool.name}))
    question = "What is 12 plus 30? And what happened on 20 July 1969?"
    deltas = run(collect(engine, asking(question, tools=(ADD, tool), tool_choice=choice, sampling=EXACT)))
    assert finish_of(deltas).reason == "tool_calls"
    [(name, text)] = calls_of(deltas)
    assert name == tool.name
    assert re.fullmatch(form, text)


def test_beside_json_and_text_it_can_be_called_too(run: Run, engine: LlamaEngine) -> None:
    output = OutputFormat("json_schema", "x", {"type": "object", "properties": {}, "additionalProperties": False})
    for more in ({}, {"output": output}):
        generation = asking("Call calculate with 12 + 30.", tools=(ADD, CALCULATE), sampling=EXACT, **more)
        deltas = run(collect(engine, generation))
        for name, text in calls_of(deltas):
            assert name == "add" or re.fullmatch(r"[0-9(][0-9+*() ]+", text)


def test_a_bad_grammar_is_refused_with_its_place(run: Run, engine: LlamaEngine) -> None:
    bad = Tool("bad", kind="custom", grammar=Grammar("lark", "start: nothing"))
    with pytest.raises(InvalidRequest, match="custom tool 'bad'") as refused:
        run(engine.generate(asking("Hi", tools=(ADD, bad))))
    assert (refused.value.param, refused.value.code) == ("tools[1].grammar", "invalid_grammar")
