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
    """One try of one target. `error` is the code of what went wrong; None: it answered. `ms`: until its first delta.

    `began`: when the target was asked (monotonic seconds, as `Call.began`).

    `paid`: it failed, and the target may have to be paid for what it did. `used`: the tokens of that (a
    `protocol.generation.Usage`), where they are known.
    """

    target: TargetName
    error: str | None
    ms: int
    paid: bool = False
    used: object = None
    began: float = 0.0


@dataclass(slots=True)
class RouteTrace:
    """The attempts of one generation, in order. `target`: the one that serves it; None while none does.

    `fallback`: whether that is not one of the route's first choice.
    """

    attempts: list[Attempt] = field(default_factory=list)
    target: TargetName | None = None
    fallback: bool = False
