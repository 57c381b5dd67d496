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
from support.shallow import NAME, shallow_model

#: The model for what needs no sense, the smallest that has some, and the one for tools.
SHALLOW, SMALL, CODER = NAME, "smollm2-135m", "qwen2.5-coder-0.5b"


def config(name: str, **more: Any) -> LlamaConfig:
    """A configuration for the shallow model or one of the catalog: two slots of 1,024 tokens unless told otherwise."""
    path, chat = (shallow_model(), entry(SMALL).chat) if name == SHALLOW else (model_path(name), entry(name).chat)
    return LlamaConfig(model=path, name=name, **{"slots": 2, "context": 1024, "chat": chat, **more})


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
