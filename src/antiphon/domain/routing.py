"""Upstreams and routes as they are configured. Waits are in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from antiphon.domain import limits

#: The name of the built-in engine among the upstreams.
LOCAL = "local"

Kind = Literal["chat", "responses", "antiphon"]
Choice = Literal["weight", "outstanding", "latency", "price"]


@dataclass(frozen=True, slots=True)
class Secret:
    """Where an upstream's secret is: an environment variable, or a file that holds nothing else. Exactly one is set."""

    env: str | None = None
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long an upstream may take: to connect, to its first token, between two tokens, and as a whole.

    `whole` None: longer for a stream, of which something is seen, than for an answer that comes at once.
    """

    connect: float = limits.UPSTREAM_CONNECT
    first: float = limits.UPSTREAM_FIRST
    between: float = limits.UPSTREAM_BETWEEN
    whole: float | None = None

    def total(self, *, streamed: bool) -> float:
        """The deadline for the whole, of a stream or of an answer that comes at once."""
        if self.whole is not None:
            return self.whole
        return limits.UPSTREAM_STREAM if streamed else limits.UPSTREAM_ANSWER


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """A server behind this one. `url` ends where the API begins, such as `https://api.openai.com/v1`.

    `kind`: the API it is spoken to by; "antiphon" is another of our kind. `profile` names the quirks of the server.
    `headers` are sent with every request; they hold no secrets.
    """

    name: str
    kind: Kind
    url: str
    secret: Secret | None = None
    profile: str = "generic"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Such as `chat http://127.0.0.1:8080/v1`."""
        return f"{self.kind} {self.url}"


@dataclass(frozen=True, slots=True)
class PriceSpec:
    """Prices in US dollars per million tokens, as decimal text. None: as `input` or `output`, of which it is part.

    `request` is for each generation. `batch` is the factor for calls of a batch; `tiers` are factors by service tier.
    """

    input: str
    output: str
    cached: str | None = None
    cache_write: str | None = None
    reasoning: str | None = None
    input_audio: str | None = None
    output_audio: str | None = None
    request: str | None = None
    batch: str = "1"
    tiers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """One target of a route. `model` is the upstream's own name for it; None: as the client asked.

    `price` goes before what is known of the model. `context_tokens`: None, if that is not known. `route`: of a fallback
    that is another route as a whole, that route's name; the rest means nothing then.
    """

    upstream: str
    model: str | None = None
    weight: int = 1
    price: PriceSpec | None = None
    context_tokens: int | None = None
    route: str | None = None

    def __str__(self) -> str:
        """Such as `openai/gpt-5-mini`, or `route other`."""
        if self.route is not None:
            return f"route {self.route}"
        return self.upstream if self.model is None else f"{self.upstream}/{self.model}"


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """How long answers may be given again (seconds)."""

    ttl: float


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A model name that clients may ask for. A name that ends with `*` stands for all that begin so.

    `targets` are chosen from by `choose`; `fallbacks` are tried in order when none of those serves. `tags` are further
    names, such as "fast", under which the first route that has them is found.
    """

    name: str
    targets: tuple[TargetSpec, ...]
    fallbacks: tuple[TargetSpec, ...] = ()
    choose: Choice = "weight"
    affinity: bool = True
    tags: tuple[str, ...] = ()
    retries: int = limits.UPSTREAM_RETRIES
    deadlines: Deadlines = Deadlines()
    cache: CacheSpec | None = None

    def __str__(self) -> str:
        """Its targets, and what follows them."""
        first = " | ".join(map(str, self.targets))
        return " -> ".join([first, *map(str, self.fallbacks)])
