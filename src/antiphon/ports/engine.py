"""What makes generations, and the names that clients ask for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from antiphon.domain.route_trace import RouteTrace
from antiphon.domain.routing import RouteSpec
from antiphon.protocol.generation import Delta, Generation


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do. What it cannot is refused by name before it is asked.

    `context_tokens`: prompt and answer together. `constrains`: tool choice and JSON schemas are enforced while tokens
    are drawn. `passes_extra`: fields that Antiphon does not know may be passed on. `continues`: an answer that was cut
    off can be gone on with from its `Progress`. `passthrough`: surfaces whose requests it may get, and whose answers it
    may give, untranslated.
    """

    context_tokens: int
    images: bool = False
    files: bool = False
    audio: bool = False
    logprobs: bool = True
    logit_bias: bool = True
    constrains: bool = True
    passes_extra: bool = False
    continues: bool = False
    passthrough: frozenset[str] = frozenset()


class Engine(Protocol):
    """Makes generations."""

    @property
    def name(self) -> str:
        """The model's name as answers show it."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Admit a generation, then stream its deltas; the last one is always a `Finish`.

        Awaiting the call admits: it raises `ContextLengthExceeded`, `InvalidRequest`, `Overloaded` or
        `EngineUnavailable` before anything is generated. Iterating raises `EngineFailed` if the engine breaks midway.
        Closing the generator (`aclose`) ends the generation within a token and frees its slot.
        """

    async def check(self, generation: Generation) -> None:
        """Raise what `generate` would refuse it with, as far as that can be told without asking for an answer."""

    async def count_tokens(self, generation: Generation) -> int:
        """Input tokens this generation would use, exactly as `generate` would count them."""

    async def start(self) -> None:
        """Get ready. Raises `EngineUnavailable` or `SetupError` if that cannot be done."""

    async def stop(self) -> None:
        """Free everything. Safe to call twice, and on an engine that was never started."""

    async def ready(self) -> bool:
        """Whether a generation could start now."""


@runtime_checkable
class Queueing(Protocol):
    """An engine that makes generations wait for one another."""

    @property
    def waiting(self) -> int:
        """Generations that wait."""


@runtime_checkable
class Constraining(Protocol):
    """An engine that holds its model to grammars, and watches that it does."""

    @property
    def grammars_lost(self) -> int:
        """Answers that were ended because a grammar did not hold."""


class Route(Protocol):
    """A model name that clients may ask for, and what stands behind it."""

    @property
    def name(self) -> str:
        """The name that clients ask for."""

    @property
    def created_at(self) -> int:
        """Since when it is there (Unix seconds)."""

    @property
    def model(self) -> str:
        """The model's name as answers show it."""

    @property
    def owner(self) -> str:
        """Whose model it is: "antiphon", or an upstream's name."""

    @property
    def spec(self) -> RouteSpec | None:
        """As it was configured; None for a name that was not."""

    @property
    def capabilities(self) -> Capabilities:
        """What some target of it can do."""

    async def generate(self, generation: Generation, trace: RouteTrace) -> AsyncGenerator[Delta, None]:
        """As `Engine.generate`, on whichever target is best; what happens on the way is noted in `trace`.

        Targets are changed before the first delta only. Raises also `UpstreamFailed` and `DeadlineExceeded`, while
        awaited or while iterated.
        """

    async def check(self, generation: Generation) -> None:
        """As `Engine.check`."""

    async def count_tokens(self, generation: Generation) -> int:
        """As `Engine.count_tokens`."""
