"""Real local engines for tests, each in a loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from antiphon.engines.llama.config import LlamaConfig
from antiphon.engines.llama.engine import LlamaEngine
from contract.engine_contract import Run
from models import entry, model_path

#: The model for what needs no wits, and the one for tools.
SMALL, CODER = "smollm2-135m", "qwen2.5-coder-0.5b"


def config(name: str, **more: Any) -> LlamaConfig:
    """A configuration for a model of the catalog: two slots of 1,024 tokens unless told otherwise."""
    settings = {"slots": 2, "context": 1024, "chat": entry(name).chat, **more}
    return LlamaConfig(model=model_path(name), name=name, **settings)


@contextmanager
def loop() -> Iterator[Run]:
    """A loop that lives as long as the block: an engine belongs to one."""
    with asyncio.Runner() as runner:
        yield runner.run


@contextmanager
def started(run: Run, name: str, **more: Any) -> Iterator[LlamaEngine]:
    """An engine in that loop, started; stopped afterwards."""
    engine = LlamaEngine(config(name, **more))
    run(engine.start())
    try:
        yield engine
    finally:
        run(engine.stop())
