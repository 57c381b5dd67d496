"""Routes over scripted engines, in a loop whose time is only counted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from antiphon.domain.route_trace import RouteTrace, TargetName
from antiphon.domain.routing import RouteSpec, TargetSpec
from antiphon.engines.routed.health import Health
from antiphon.engines.routed.route import RoutedRoute, RoutingEnv, Tier
from antiphon.engines.routed.target import Target
from antiphon.engines.scripted import ScriptedEngine, Step, saying
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Delta, Generation, Message, TextDelta, TextPart
from support.virtual_time import VirtualClock, VirtualLoop, play

PLAIN = Capabilities(context_tokens=1000)


class Fickle(ScriptedEngine):
    """An engine whose next generations go as `plan` says; when that is used up, it says its name.

    A step: an error is raised while admitting; a list is a script.
    """

    def __init__(self, name: str, *plan: BaseException | Sequence[Step], capabilities: Capabilities = PLAIN) -> None:
        super().__init__(self._next, name=name, capabilities=capabilities, admit=self._admit_next)
        self.plan = list(plan)
        self.calls = 0

    def _admit_next(self, _: Generation) -> None:
        self.calls += 1
        if self.plan and isinstance(self.plan[0], BaseException):
            raise self.plan.pop(0)  # type: ignore[misc]  # it is one

    def _next(self, generation: Generation) -> Sequence[Step]:
        if self.plan:
            return self.plan.pop(0)  # type: ignore[return-value]  # errors were taken by `_admit_next`
        return saying(self.name)(generation)

    async def check(self, generation: Generation) -> None:
        """Refuses nothing."""


@dataclass
class World:
    """A virtual loop's clock and chance, and what routes of it need."""

    loop: VirtualLoop
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    prices: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = VirtualClock(self.loop)
        self.env = RoutingEnv(self.clock, self.chance.random, lambda name, _: self.prices.get(name.upstream))

    def target(self, engine: ScriptedEngine, weight: int = 1) -> Target:
        name = TargetName(engine.name, "m")
        return Target(name, TargetSpec(engine.name, "m", weight), engine, Health(name))

    def route(self, *engines: ScriptedEngine, fallbacks: Sequence[ScriptedEngine] = (), **spec: Any) -> RoutedRoute:
        targets = tuple(self.target(engine) for engine in engines)
        configured = RouteSpec("r", tuple(target.spec for target in targets), **spec)
        tiers = [Tier(configured, targets, configured.retries)]
        tiers += [Tier(configured, (self.target(engine),), 0) for engine in fallbacks]
        return RoutedRoute("r", configured, tiers, self.env, 1)


def asking(text: str = "hello", **more: Any) -> Generation:
    return Generation("r", (Message("user", (TextPart(text),)),), **more)


async def ask(route: RoutedRoute, generation: Generation | None = None, trace: RouteTrace | None = None) -> str:
    """What the route says to it."""
    deltas: list[Delta] = []
    async with aclosing(await route.generate(generation or asking(), trace or RouteTrace())) as stream:
        deltas += [delta async for delta in stream]
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


Play = Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def world() -> Play:
    """Plays a course of events in a world of its own."""

    def run(main: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def begin(loop: VirtualLoop) -> None:
            await asyncio.wait_for(main(World(loop)), 100_000)

        play(begin)

    return run
