"""A capability that is not Antiphon's: it makes greetings, and adds to each of the places that a feature may add to."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.domain.errors import AntiphonError, InvalidRequest
from antiphon.http.exchange import Exchange
from antiphon.http.resource import Resource, SocketResource
from antiphon.http.socket_connection import SocketConnection
from antiphon.jobs.kinds import JobContext, JobKind
from antiphon.jobs.sweeps import Sweep
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.observe.gauges import Gauge
from antiphon.settings import Settings, parsers
from antiphon.settings.spec import Spec
from antiphon.wire import json as wire_json

Body = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class GreetingSettings(Settings):
    """With the feature's own setting."""

    greeting: Annotated[str, Spec(parsers.text, "What greetings begin with")] = "Hello"


class Name(msgspec.Struct):
    """The payload of a job: whom to greet."""

    name: str


@dataclass
class Greetings:
    """What the feature does, and a diary of it in which tests read."""

    word: str = ""
    diary: list[str] = field(default_factory=list)
    made: int = 0
    swept: threading.Event = field(default_factory=threading.Event)

    # --- a service ----------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        self.diary.append("started")

    async def stop(self) -> None:
        self.diary.append("stopped")

    # --- a kind of job, and a sweep -----------------------------------------------------------------------------------
    async def make(self, context: JobContext[Name]) -> bytes:
        self.made += 1
        self.diary.append("job")
        return f"{self.word}, {context.payload.name}!".encode()

    async def sweep(self) -> None:
        self.swept.set()

    # --- a stage, and a listener --------------------------------------------------------------------------------------
    async def enter(self, context: GenerationContext) -> None:
        if self.word not in str(context.generation.turns):
            raise InvalidRequest(f"Say {self.word} first.", code="impolite")

    def finish(self, context: GenerationContext) -> None:
        self.diary.append("generated")

    def leave(self, context: GenerationContext) -> None:
        """There is nothing to let go of."""

    def call_ended(self, call: Call) -> None:
        self.diary.append(f"{call.method} {call.endpoint} {call.status}")


class GreetingSession:
    """A connection over which one greeting is sent."""

    def __init__(self, word: str, connection: SocketConnection) -> None:
        self._word = word
        self._connection = connection

    async def run(self) -> None:
        await self._connection.send_json({"greeting": self._word})
        await self._connection.close(1000, "that is all")

    def stop(self, reason: AntiphonError) -> None:
        """It ends by itself."""


def greetings_feature(core: Core, greetings: Greetings) -> Feature:
    """As a file of `app/features` makes one. `greetings` is given, so that tests can look at it."""
    assert isinstance(core.settings, GreetingSettings)
    greetings.word = core.settings.greeting
    kind = JobKind("greeting", payload=Name, run=greetings.make)

    async def create(exchange: Exchange) -> None:
        body: Body = await exchange.read_json(dict)
        job_id = await core.store.enqueue_job(kind.new(exchange.project_id, Name(body["name"])))
        core.runner.notify()
        await exchange.reply(200, wire_json.encode({"id": job_id}))

    async def get(exchange: Exchange) -> None:
        job = await core.store.get_job(exchange.project_id, exchange.scope["path_params"]["id"])
        assert job is not None
        text = None if job.result is None else job.result.decode()
        await exchange.reply(200, wire_json.encode({"state": str(job.state), "greeting": text}))

    return Feature(
        resources=[Resource("/v1/greetings", {"POST": create}), Resource("/v1/greetings/{id}", {"GET": get})],
        sockets=[SocketResource("/v1/greetings", lambda connection: GreetingSession(greetings.word, connection))],
        headers=lambda path: [(b"x-greeting", greetings.word.encode())] if path == "/v1/greetings" else [],
        stages=[greetings],
        call_listeners=[greetings],
        job_kinds=[kind],
        sweeps=[Sweep("greetings", 3600, greetings.sweep)],
        gauges=[Gauge("greetings", "Greetings that were made.", lambda: greetings.made)],
        services={"greetings": greetings},
    )
