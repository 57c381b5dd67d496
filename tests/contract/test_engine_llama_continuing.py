"""An answer of the built-in engine that was cut off is gone on with, with a small real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import aclosing

import msgspec
import pytest

from antiphon.engines.llama.engine import LlamaEngine
from antiphon.protocol.generation import Delta, Finish, Generation, OutputFormat, Progress, Sampling, TextDelta, Tool
from contract.engine_contract import Run, asking, collect, finish_of, text_of
from contract.llama import SMALL, loop, started

GREEDY = Sampling(temperature=0.0, seed=1, max_tokens=48)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with loop() as run:
        yield run


@pytest.fixture(scope="module")
def engine(run: Run) -> Iterator[LlamaEngine]:
    with started(run, SMALL) as engine:
        yield engine


async def cut_off(engine: LlamaEngine, generation: Generation, after: int) -> tuple[list[Delta], list[bytes]]:
    """The deltas up to the text delta of that number, and the notes before them."""
    said: list[Delta] = []
    notes: list[bytes] = []
    async with aclosing(await engine.generate(generation)) as deltas:
        async for delta in deltas:
            if isinstance(delta, Progress):
                notes.append(delta.state)
                continue
            said.append(delta)
            if len(said) == after:
                break
    return said, notes


@pytest.mark.parametrize("after", [1, 7, 30])
def test_it_goes_on_as_if_it_had_never_stopped(run: Run, engine: LlamaEngine, after: int) -> None:
    whole = run(collect(engine, asking("Count from one to twenty in words.", sampling=GREEDY)))
    tracked = msgspec.structs.replace(asking("Count from one to twenty in words.", sampling=GREEDY), track=True)
    said, notes = run(cut_off(engine, tracked, after))
    rest = run(collect(engine, msgspec.structs.replace(tracked, progress=tuple(notes))))
    answer = [delta for delta in rest if not isinstance(delta, Progress)]
    assert text_of(said) + text_of(answer) == text_of(whole)
    assert finish_of(answer).usage.output_tokens == finish_of(whole).usage.output_tokens
    assert finish_of(answer).usage.input_tokens == finish_of(whole).usage.input_tokens
    assert finish_of(answer).reason == finish_of(whole).reason


def test_it_may_be_cut_off_again_and_again(run: Run, engine: LlamaEngine) -> None:
    whole = run(collect(engine, asking("Count from one to twenty in words.", sampling=GREEDY)))
    generation = msgspec.structs.replace(asking("Count from one to twenty in words.", sampling=GREEDY), track=True)
    text = ""
    for _ in range(4):
        said, notes = run(cut_off(engine, generation, 6))
        text += text_of(said)
        generation = msgspec.structs.replace(generation, progress=(*generation.progress, *notes))
    text += text_of(run(collect(engine, generation)))
    assert text == text_of(whole)


def test_characters_of_several_tokens_are_not_broken(run: Run, engine: LlamaEngine) -> None:
    generation = msgspec.structs.replace(
        asking("Repeat exactly: 😀🎉 naïve 東京 😀🎉", sampling=Sampling(temperature=0.0, seed=1, max_tokens=24)),
        track=True,
    )
    whole = text_of(run(collect(engine, generation)))
    for after in range(1, 8):
        said, notes = run(cut_off(engine, generation, after))
        if not isinstance(said[-1], TextDelta):
            break
        rest = run(collect(engine, msgspec.structs.replace(generation, progress=tuple(notes))))
        text = text_of(said) + text_of(rest)
        assert "\ufffd" not in text.replace("\ufffd" if "\ufffd" in whole else "", "")
        assert text.startswith(text_of(said))


def test_what_a_schema_demands_still_holds(run: Run, engine: LlamaEngine) -> None:
    form = OutputFormat("json_schema", "person", PERSON, strict=True)
    sampling = Sampling(temperature=0.0, seed=1, max_tokens=80)
    generation = msgspec.structs.replace(asking("Ada is 36 years old.", output=form, sampling=sampling), track=True)
    said, notes = run(cut_off(engine, generation, 6))
    rest = run(collect(engine, msgspec.structs.replace(generation, progress=tuple(notes))))
    person = json.loads(text_of(said) + text_of(rest))
    assert set(person) == {"name", "age"}
    assert 0 <= person["age"] <= 99


def test_what_is_asked_for_is_told_and_nothing_else(run: Run, engine: LlamaEngine) -> None:
    assert engine.capabilities.continues
    deltas = run(collect(engine, asking("Hi.", sampling=GREEDY)))
    assert not any(isinstance(delta, Progress) for delta in deltas)
    tool = Tool("f", "Does f.", {"type": "object", "properties": {}, "additionalProperties": False})
    tracked = msgspec.structs.replace(asking("Hi.", sampling=GREEDY, tools=(tool,)), track=True)
    told = run(collect(engine, tracked))
    assert any(isinstance(delta, Progress) for delta in told)
    assert isinstance(told[-1], Finish)
