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
from antiphon.engines.upstream.client import Connections, UpstreamClient
from antiphon.engines.upstream.responses import ResponsesEngine
from antiphon.engines.upstream.secrets import SecretSource
from support.serving import Serving, serving
from support.upstreams import SECRET, Behaviour, ChatUpstream, Says, chat_upstream, sse

Body = dict[str, Any]


def client_of(url: str, secret: str = SECRET, **more: Any) -> UpstreamClient:
    """A client with a secret of its own."""
    spec = UpstreamSpec("up", "responses", url, Secret(env="KEY"), **more)
    return UpstreamClient(spec, Connections(), SecretSource("up", spec.secret, environment={"KEY": secret}))


def over(server: Serving, **more: Any) -> AntiphonEngine:
    """An engine over another Antiphon's scripted model."""
    return AntiphonEngine(client_of(server.base_url, server.key), "scripted", name="remote", **more)


def over_responses(url: str, secret: str = SECRET, *, profile: str = "generic", **more: Any) -> ResponsesEngine:
    """An engine over any Responses server."""
    return ResponsesEngine(client_of(url, secret, profile=profile), "up-1", name="remote", **more)


@contextmanager
def chained(path: Path, engine: ScriptedEngine, **options: Any) -> Iterator[tuple[Serving, Serving]]:
    """A server in front of another one that has `engine`: the front one, and the other."""
    with serving(engine, path / "back") as back, serving(over(back), path / "front", **options) as front:
        yield front, back


@contextmanager
def before(path: Path, behave: Behaviour, **options: Any) -> Iterator[tuple[Serving, ChatUpstream]]:
    """A server in front of one that does as told: the server, and the other."""
    with chat_upstream(behave) as upstream, serving(over_responses(upstream.url, **options), path) as front:
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
