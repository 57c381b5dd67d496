"""What engines for upstreams share: what a server keeps to by itself goes straight through, the rest is enforced."""

from __future__ import annotations

from dataclasses import replace
from typing import Generic, TypeVar

from antiphon.engines.constrained import ConstrainedEngine
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.engines.upstream.profiles import Profile
from antiphon.ports import Capabilities, Engine
from antiphon.protocol.generation import Generation

L = TypeVar("L", bound=Engine)


class Enforced(Generic[L]):
    """The part of `ports.Engine` that is the same for each API of an upstream."""

    def __init__(self, loose: L, profile: Profile, worker: SchemaWorker | None) -> None:
        """`loose`: says what the server says, as it says it. `worker` checks schemas; engines may share one."""
        self._loose = loose
        self._profile = profile
        self._kept = ConstrainedEngine(loose, worker)
        self._capabilities = replace(loose.capabilities, constrains=True)

    @property
    def name(self) -> str:
        """The model's name as answers show it."""
        return self._loose.name

    @property
    def capabilities(self) -> Capabilities:
        """What the profile says, with everything enforced."""
        return self._capabilities

    def _translating(self, generation: Generation) -> Engine:
        """Who answers what is not passed on in the client's own words."""
        return self._loose if self._profile.keeps(generation) else self._kept

    async def count_tokens(self, generation: Generation) -> int:
        """As the server counts them, where it does; else estimated."""
        return await self._loose.count_tokens(generation)

    async def start(self) -> None:
        """Nothing is asked of the upstream."""
        await self._kept.start()

    async def stop(self) -> None:
        """End what is running."""
        await self._kept.stop()

    async def ready(self) -> bool:
        """Whether it was started."""
        return await self._kept.ready()
