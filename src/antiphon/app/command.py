"""`antiphon serve`: a process around a server."""

from __future__ import annotations

import asyncio
import gc
import signal

from antiphon.app.engines import local_engine
from antiphon.app.greeting import banner, model_to_try
from antiphon.app.serving import Announce, run
from antiphon.datadir import DataDir
from antiphon.models.resolve import ResolvedModel
from antiphon.ports import Engine
from antiphon.settings import Loaded, Settings
from antiphon.telemetry import logs


def serve(loaded: Loaded, data_dir: DataDir, model: ResolvedModel | None) -> int:
    """`antiphon serve`: run until told to stop; returns the exit status. `model`: None for upstreams only."""
    import uvloop  # only the server needs it

    settings = loaded.settings
    logs.configure(settings.log_level, settings.log_format)
    engine = None if model is None else local_engine(settings, model)

    def announce(host: str, port: int) -> None:
        count = len(settings.routes)
        served = f"{count} route{'s' * (count != 1)}" if count else ""
        if engine is not None:
            context = engine.capabilities.context_tokens
            local = f"model {engine.name}, {settings.slots} slots, context {context} tokens"
            served = f"{local}; {served}" if served else local
        print(banner(host, port, served, data_dir, model_to_try(settings, engine)), flush=True)

    spare_the_collector()
    with data_dir.lock():
        uvloop.run(_until_signalled(settings, data_dir, engine, announce))
    return 0


async def _until_signalled(settings: Settings, data_dir: DataDir, engine: Engine | None, announce: Announce) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run(settings, data_dir, engine, announce, stop)


def spare_the_collector() -> None:
    """Have the cyclic garbage collector look at what was loaded no more, and seldom at the rest.

    Requests leave few cycles behind, and its default is to look at everything after some hundred new objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
