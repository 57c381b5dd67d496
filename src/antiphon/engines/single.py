"""A route with one engine behind it, and nothing to choose from."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from antiphon.domain.route_trace import RouteTrace, TargetName
from antiphon.domain.routing import LOCAL, RouteSpec
from antiphon.ports import Capabilities, Engine
from antiphon.protocol.generation import Delta, Generation


class SingleRoute:
    """Implements `ports.Route`. `created_at` is in Unix seconds."""

    spec: RouteSpec | None = None
    owner = "antiphon"

    def __init__(self, name: str, engine: Engine, created_at: int) -> None:
        self.name = name
        self.created_at = created_at
        self._engine = engine
        self._target = TargetName(LOCAL, engine.name)

    @property
    def model(self) -> str:
        """The model's name as answers show it."""
        return self._engine.name

    @property
    def capabilities(self) -> Capabilities:
        """The engine's."""
        return self._engine.capabilities

    async def generate(self, generation: Generation, trace: RouteTrace) -> AsyncGenerator[Delta, None]:
        """Ask the engine."""
        trace.target = self._target
        return await self._engine.generate(generation)

    async def check(self, generation: Generation) -> None:
        """Ask the engine."""
        await self._engine.check(generation)

    async def count_tokens(self, generation: Generation) -> int:
        """As the engine counts them."""
        return await self._engine.count_tokens(generation)
