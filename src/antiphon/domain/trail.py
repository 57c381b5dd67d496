"""What happened on the way to an answer: which targets were tried, and which one served."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TargetName:
    """A target of a route: an upstream's name ("local" is the built-in engine) and its own name of the model."""

    upstream: str
    model: str

    def __str__(self) -> str:
        return f"{self.upstream}/{self.model}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one target. `error` is the code of what went wrong; None: it served. `ms`: until its first delta."""

    target: TargetName
    error: str | None
    ms: int


@dataclass(slots=True)
class Trail:
    """The attempts of one generation, in order. `target`: the one that serves it; None while none does.

    `fallback`: whether that is not one of the route's first choice.
    """

    attempts: list[Attempt] = field(default_factory=list)
    target: TargetName | None = None
    fallback: bool = False
