"""The suite over the scripted engine, which stands in for real ones nearly everywhere: it must be like them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from antiphon.engines.scripted import ScriptedEngine
from antiphon.ports import Engine
from contract.engine_contract import EngineContract, Run


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield runner.run


class TestScripted(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, run: Run) -> Iterator[Engine]:
        engine = ScriptedEngine()
        run(engine.start())
        yield engine
        run(engine.stop())
