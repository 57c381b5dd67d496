"""Engines over Responses upstreams, for tests: another Antiphon, and a server that says what it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from antiphon.domain.routing import Secret, UpstreamSpec
from antiphon.engines.scripted import ScriptedEngine
from antiphon.engines.upstream.antiphon import AntiphonEngine
from antiphon.engines.upstream.client import ConnectionPools, UpstreamClient
from antiphon.engines.upstream.engine import UpstreamEngine
from antiphon.engines.upstream.responses.dialect import ResponsesDialect
from antiphon.engines.upstream.secrets import SecretSource
from support.serving import Serving, serving
from support.upstreams import SECRET, Behaviour, ChatUpstream, Says, chat_upstream, sse

Body = dict[str, Any]


class Alone(UpstreamClient):
    """A client with a secret and connections of its own, which end with its engine."""

    def __init__(self, url: str, secret: str = SECRET, profile: str = "generic") -> None:
        spec = UpstreamSpec("up", "responses", url, Secret(env="KEY"), profile)
        self.connections = ConnectionPools()
        super().__init__(spec, self.connections, SecretSource("up", spec.secret, environment={"KEY": secret}))


class OverAntiphon(AntiphonEngine):
    """An engine over another Antiphon's scripted model."""

    def __init__(self, server: Serving) -> None:
        self._alone = Alone(server.base_url, server.key)
        super().__init__(self._alone, "scripted", name="remote")

    async def stop(self) -> None:
        """With its connections."""
        await super().stop()
        await self._alone.connections.close()


class OverResponses(UpstreamEngine):
    """An engine over any Responses server."""

    def __init__(self, url: str, secret: str = SECRET, *, model: str = "up-1", profile: str = "generic") -> None:
        self._alone = Alone(url, secret, profile)
        super().__init__(ResponsesDialect, self._alone, model, name="remote")

    async def stop(self) -> None:
        """With its connections."""
        await super().stop()
        await self._alone.connections.close()


@contextmanager
def chained(path: Path, engine: ScriptedEngine, **options: Any) -> Iterator[tuple[Serving, Serving]]:
    """A server in front of another one that has `engine`: the front one, and the other."""
    with serving(engine, path / "back") as back, serving(OverAntiphon(back), path / "front", **options) as front:
        yield front, back


@contextmanager
def before(path: Path, behave: Behaviour, **options: Any) -> Iterator[tuple[Serving, ChatUpstream]]:
    """A server in front of one that does as told: the server, and the other."""
    with chat_upstream(behave) as upstream, serving(OverResponses(upstream.url, **options), path) as front:
        yield front, upstream


def telling(events: list[Body], *more: Any) -> Says:
    """A stream of these events, as the API has them. `more` comes after it."""
    return Says([*sse(*[json.dumps(event).encode() for event in events], done=False), *more], kind="text/event-stream")


def playing(events: list[Body]) -> Behaviour:
    """Plays this stream, or gives its last response if no stream was asked for."""

    def behave(body: Body) -> Says:
        if body.get("stream"):
            return telling(events)
        return Says([json.dumps(events[-1]["response"]).encode()])

    return behave
