"""An engine over Responses keeps the engine's contract: with another Antiphon, spoken to by either kind of engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.ports import Engine
from antiphon.protocol.generation import Finish, Generation, Message, TextDelta, Usage
from contract.engine_contract import EngineContract, Run
from support.responses_engines import OverAntiphon, OverResponses
from support.serving import Serving, serving


def story(generation: Generation) -> Sequence[Step]:
    """Says some words; what it was asked costs what it is counted as."""
    asked = sum(len(turn.text.split()) for turn in generation.turns if isinstance(turn, Message))
    words = [TextDelta(f"word {number} ") for number in range(5)]
    return [*words, Finish("stop", Usage(input_tokens=asked, output_tokens=5))]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    path: Path = tmp_path_factory.mktemp("behind")
    with serving(ScriptedEngine(story), path) as server:
        yield server


class TestAntiphon(EngineContract):
    """Another Antiphon, as what it is."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, run: Run, behind: Serving) -> Iterator[Engine]:
        engine = OverAntiphon(behind)
        run(engine.start())
        yield engine
        run(engine.stop())


class TestResponses(EngineContract):
    """The same, as any server of the API."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, run: Run, behind: Serving) -> Iterator[Engine]:
        engine = OverResponses(behind.base_url, behind.key, model="scripted")
        run(engine.start())
        yield engine
        run(engine.stop())
