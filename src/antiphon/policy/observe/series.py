"""Labels and values of the series that are counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from antiphon.domain.route_trace import TargetName
from antiphon.policy.call import GenerationContext
from antiphon.telemetry.metrics import Histogram

#: Stands for what has no series of its own.
OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET", "BACKGROUND"})


class Request(NamedTuple):
    """Labels of a request. `endpoint` is the documented path, `status` is such as "2xx", `model` a route or ""."""

    endpoint: str
    method: str
    status: str
    model: str


class Latency(NamedTuple):
    """Labels of a latency. `target` is such as "openai/gpt-5"."""

    model: str
    target: str


class KeyLabel(NamedTuple):
    """Labels of a key's series."""

    project: str
    key: str


@dataclass(slots=True)
class ModelRow:
    """Sums of one route's calls. Tokens of the last five kinds are part of the first two; `cost` is in nano-dollars."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0
    cost: int = 0
    unknown_cost: int = 0
    #: Answers that do not fit a schema that is not strict.
    unmet: int = 0
    total: Histogram = field(default_factory=Histogram)

    def add(self, context: GenerationContext) -> None:
        """Add the tokens of one generation."""
        usage = context.total_usage
        if usage is None:
            return
        self.input += usage.input_tokens
        self.output += usage.output_tokens
        self.cached += usage.cached_tokens
        self.cache_write += usage.cache_write_tokens
        self.reasoning += usage.reasoning_tokens
        self.input_audio += usage.input_audio_tokens
        self.output_audio += usage.output_audio_tokens


@dataclass(slots=True)
class KeyRow:
    """Sums of one key's calls; `cost` is in nano-dollars."""

    calls: int = 0
    errors: int = 0
    input: int = 0
    output: int = 0
    cost: int = 0


@dataclass(slots=True)
class TargetRow:
    """Attempts at one target, and how many of them failed."""

    attempts: int = 0
    failed: int = 0
    served: int = 0
    fallbacks: int = 0


def method_label(method: str) -> str:
    """A method's label. Clients may send any word as a method."""
    return method if method in _METHODS else OTHER


def target_label(target: TargetName, model: str) -> str:
    """A target's label. Behind a route for many names (`openai/*`), the client has chosen the model's."""
    return f"{target.upstream}/*" if model.endswith("*") else f"{target.upstream}/{target.model}"
