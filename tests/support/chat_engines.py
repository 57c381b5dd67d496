"""Engines over Chat Completions upstreams, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from antiphon.domain.routing import Deadlines, Secret, UpstreamSpec
from antiphon.engines.upstream.chat.dialect import ChatDialect
from antiphon.engines.upstream.client import ConnectionPools, UpstreamClient
from antiphon.engines.upstream.dialect import Dialect
from antiphon.engines.upstream.engine import UpstreamEngine
from antiphon.engines.upstream.profiles import PROFILES
from antiphon.engines.upstream.secrets import SecretSource
from contract.engine_contract import Run
from support.upstreams import SECRET

#: Short waits, for tests of what does not answer.
HASTY = Deadlines(connect=0.3, first=0.3, between=0.3, whole=1.0)


def client_of(url: str, connections: ConnectionPools, secret: str = SECRET, **more: Any) -> UpstreamClient:
    """A client with a secret of its own."""
    spec = UpstreamSpec("up", "chat", url, Secret(env="KEY"), **more)
    return UpstreamClient(spec, connections, SecretSource("up", spec.secret, environment={"KEY": secret}))


@contextmanager
def chat_engine(
    run: Run,
    url: str,
    profile: str = "generic",
    *,
    secret: str = SECRET,
    model: str | None = "up-model",
    dialect: type[Dialect] = ChatDialect,
    **more: Any,
) -> Iterator[UpstreamEngine]:
    """An engine in that loop, started; stopped afterwards."""
    connections = ConnectionPools()
    client = client_of(url, connections, secret, profile=profile)
    engine = UpstreamEngine(dialect, client, model, name="route", profile=PROFILES[profile], **more)
    run(engine.start())
    try:
        yield engine
    finally:
        run(engine.stop())
        run(connections.close())


@contextmanager
def llama_server(run: Run, model: Path, *, context: int = 1024) -> Iterator[tuple[str, str]]:
    """llama.cpp's own HTTP server with that model: the address of its API, and its key."""
    import msgspec

    from antiphon.engines.llama.process import ChildProcess

    key = "llama-server-key-0123456789"
    config = {
        "model": str(model),
        "name": "up-model",
        "slots": 2,
        "pool": context,
        "batch": 512,
        "gpu_layers": 0,
        "threads": 2,
        "pinning": None,
        "cache_ram_mib": 0,
        "quiet_machine": False,
        "api_key": key,
    }
    child = run(ChildProcess.launch(msgspec.json.encode(config)))
    try:
        yield f"{child.answer.address}/v1", key
    finally:
        run(child.end())
