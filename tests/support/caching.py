"""A cache in memory, a route that plays a script, and calls to try the cache with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from antiphon.domain.caching import CacheControl, CachedAnswer, CacheState
from antiphon.domain.route_trace import RouteTrace, TargetName
from antiphon.domain.routing import CacheSpec, RouteSpec, TargetSpec
from antiphon.engines.scripted import ScriptedEngine
from antiphon.policy.call import Call
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Delta, Generation, Message, TextPart
from support.calls import call_of


class MemoryCache:
    """Implements `ports.CacheStore`, without its bounds. `error` is raised instead of answering."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, bytes], CachedAnswer] = {}
        self.rules: dict[str, int | None] = {}
        self.error: Exception | None = None
        self.asked_for_rules = 0

    async def get_cached(self, project_id: str, key: bytes, *, now: int) -> CachedAnswer | None:
        """As the port says."""
        self._check()
        found = self.answers.get((project_id, key))
        return found if found is not None and found.expires_at > now else None

    async def put_cached(self, answer: CachedAnswer) -> None:
        """As the port says."""
        self._check()
        self.answers[answer.project_id, answer.key] = answer

    async def clear_cached(self, project_id: str) -> int:
        """As the port says."""
        gone = [name for name in self.answers if name[0] == project_id]
        for name in gone:
            del self.answers[name]
        return len(gone)

    async def sweep_cached(self, *, now: int, limit: int) -> int:
        """Nothing expires here."""
        return 0

    async def cache_ttl(self, project_id: str) -> int | None:
        """As the port says."""
        self._check()
        self.asked_for_rules += 1
        return self.rules.get(project_id)

    async def set_cache_ttl(self, project_id: str, ttl: int | None) -> None:
        """As the port says."""
        self.rules[project_id] = ttl

    async def cache_states(self) -> list[CacheState]:
        """No sizes are known here."""
        return []

    def _check(self) -> None:
        if self.error is not None:
            raise self.error


class SetClock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        """Unix seconds."""
        return self.time

    def monotonic(self) -> float:
        """The same."""
        return self.time


class ScriptedRoute:
    """Implements `ports.Route` over a scripted engine, as a configured route."""

    def __init__(
        self,
        engine: ScriptedEngine,
        *,
        name: str = "gpt-4o",
        cache: float | None = 600,
        targets: tuple[TargetSpec, ...] = (TargetSpec("openai"),),
        fallbacks: tuple[TargetSpec, ...] = (),
    ) -> None:
        self.name = self.model = name
        self.created_at = 1
        self.spec: RouteSpec | None = RouteSpec(
            name, targets, fallbacks, cache=None if cache is None else CacheSpec(cache)
        )
        self.capabilities = Capabilities(context_tokens=1_000)
        self._engine = engine
        self._target = TargetName(targets[0].upstream, targets[0].model or name) if targets else None

    async def generate(self, generation: Generation, trace: RouteTrace) -> AsyncGenerator[Delta, None]:
        """Play the script."""
        stream = await self._engine.generate(generation)
        trace.target = self._target
        return stream

    async def check(self, generation: Generation) -> None:
        """Nothing to refuse."""

    async def count_tokens(self, generation: Generation) -> int:
        """One token."""
        return 1


def asking(text: str = "hello", change: Callable[[Generation], Generation] = lambda each: each) -> Generation:
    """A generation that asks this."""
    return change(Generation("gpt-4o", (Message("user", (TextPart(text),)),)))


def a_call(project: str = "proj_one", control: CacheControl | None = None) -> Call:
    """A call that asks this of the cache."""
    call = call_of(project)
    call.cache_control = control
    return call
