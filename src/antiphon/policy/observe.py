"""What is to be seen of the server from outside: counts of everything, and one line of log for each call.

Nothing here holds content: models and targets are named as they were configured, everything else by our own ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from antiphon.domain import limits
from antiphon.domain.durations import milliseconds
from antiphon.domain.route_trace import TargetName
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.pipeline.stages import AdmissionCheck, CallListener
from antiphon.telemetry import logs
from antiphon.telemetry.metrics import Count, Histogram, LoopLag, Table

#: What a call has cost, in nano-dollars; None: not known.
Cost = Callable[[Call], int | None]

#: Stands for what has no series of its own.
OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET", "BACKGROUND"})
_STATUS = tuple(f"{hundred}xx" for hundred in range(10))
_CACHE = b"x-antiphon-cache"
_NANO = 1e-9


class Request(NamedTuple):
    """Labels of a request. `endpoint` is the documented path, `status` is such as "2xx", `model` a route or ""."""

    endpoint: str
    method: str
    status: str
    model: str


class Served(NamedTuple):
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


class TargetReport(Protocol):
    """A target as it is now. `breaker`: "closed", "open" or "half_open"."""

    @property
    def target(self) -> TargetName:
        """Which."""

    @property
    def breaker(self) -> str:
        """Its breaker's state."""

    @property
    def outstanding(self) -> int:
        """Calls that it is answering."""

    @property
    def rests(self) -> float:
        """Seconds for which it has asked to be left alone."""


class Gauge(NamedTuple):
    """Something that is read when it is asked for: its name without prefix, what it is, and how it is read.

    One with `labels` gives rows: the labels' values and the figure.
    """

    name: str
    help: str
    read: Callable[[], float | Sequence[tuple[tuple[str, ...], float]]]
    labels: tuple[str, ...] = ()


class Observer(AdmissionCheck, CallListener):
    """Counts requests and calls, and writes their lines. A listener and a stage of the gate.

    As a stage it must be the first, as a listener the last: then it sees what all others have made of a call.
    """

    def __init__(
        self,
        models: Iterable[str] = (),
        *,
        cost: Cost | None = None,
        targets: Callable[[], Iterable[TargetReport]] = tuple,
        gauges: Iterable[Gauge] = (),
    ) -> None:
        """`models`: the names of all routes; what else clients ask for is counted as `OTHER`."""
        self._models = frozenset(models)
        self.cost = cost
        self.targets_now = targets
        self.gauges = [*gauges]
        self.lag = LoopLag(limits.LOOP_LAG_EVERY)
        #: HTTP requests that are being answered, and generations that are being made.
        self.in_flight = 0
        self.generating = 0
        self.requests: Table[Request, Count] = Table(Count, Request(OTHER, OTHER, OTHER, OTHER), most=limits.MAX_SERIES)
        self.durations: Table[str, Histogram] = Table(Histogram, OTHER, most=limits.MAX_HISTOGRAMS)
        self.models: Table[str, ModelRow] = Table(ModelRow, OTHER, most=limits.MAX_HISTOGRAMS)
        self.first_token: Table[Served, Histogram] = Table(Histogram, Served(OTHER, OTHER), most=limits.MAX_HISTOGRAMS)
        self.targets: Table[str, TargetRow] = Table(TargetRow, OTHER, most=limits.MAX_SERIES)
        self.keys: Table[KeyLabel, KeyRow] = Table(KeyRow, KeyLabel(OTHER, OTHER), most=limits.MAX_SERIES)
        self.errors: Table[str, Count] = Table(Count, OTHER, most=limits.MAX_SERIES)
        self.cache: Table[str, Count] = Table(Count, OTHER, most=limits.MAX_SERIES)

    # --- a stage ------------------------------------------------------------------------------------------------------
    def enter(self, context: GenerationContext) -> None:
        """One more is being made."""
        self.generating += 1

    def leave(self, context: GenerationContext) -> None:
        """One less is."""
        self.generating -= 1

    # --- requests and calls -------------------------------------------------------------------------------------------
    def answered(
        self,
        endpoint: str,
        method: str,
        status: int,
        seconds: float,
        request_id: str,
        error: str | None,
        *,
        admin: str | None = None,
        quiet: bool = False,
    ) -> None:
        """A request that is not a call is over: no project's key was in it. `admin`: the id of an admin key that was.

        `quiet`: that is no news for the log.
        """
        self._count(endpoint, method, status, "", seconds, error)
        if logs.enabled("debug" if quiet else "info"):
            fields: dict[str, Any] = {
                "method": _known(method),
                "path": endpoint,
                "status": status,
                "ms": milliseconds(seconds),
            }
            if admin is not None:
                fields["admin"] = admin
            if error is not None:
                fields["error"] = error
            logs.line("debug" if quiet else "info", "request", "http", {**fields, "request_id": request_id})
            logs.flush()

    def call_ended(self, call: Call) -> None:
        """A call is over."""
        seconds = call.ended - call.began
        model = self._model(call)
        # What broke a stream off is not the error of an HTTP answer.
        facts = CallSummary(error=call.error or (call.generations[-1].error if call.generations else None))
        self._count(call.endpoint, call.method, call.status, model, seconds, facts.error)
        by_key = self.keys[KeyLabel(call.caller.project.id, call.caller.key.id)]
        by_key.calls += 1
        by_key.errors += call.status >= 400
        if call.generations:
            self._generated(call, model, seconds, facts, by_key)
        facts.cache = _cache_outcome(call)
        if facts.cache is not None:
            self.cache[facts.cache].value += 1
        if logs.enabled("info"):
            logs.line("info", "request", "call", _fields(call, model, seconds, facts))

    def _count(self, endpoint: str, method: str, status: int, model: str, seconds: float, error: str | None) -> None:
        self.requests[Request(endpoint, _known(method), _STATUS[status // 100 % 10], model)].value += 1
        self.durations[endpoint].observe(seconds)
        if error is not None:
            self.errors[error].value += 1

    def _model(self, call: Call) -> str:
        """The call's route as it was configured, which is not always what the client has called it."""
        if call.generations:
            route = call.generations[-1].route
            return route.name if route.spec is None else route.spec.name
        if call.model is None:
            return ""
        return call.model if call.model in self._models else OTHER

    def _generated(self, call: Call, model: str, seconds: float, facts: CallSummary, by_key: KeyRow) -> None:
        row = self.models[model]
        row.calls += 1
        row.total.observe(seconds)
        facts.attempts = call.refused_generations.attempts
        for target, count in call.refused_generations.tries.items():
            refused = self.targets[_target(target, model)]
            refused.attempts += count
            refused.failed += count
        for context in call.generations:
            row.add(context)
            row.unmet += context.unmet
            self._tried(context, model, call.began, facts)
        by_key.input += facts.input
        by_key.output += facts.output
        if self.cost is not None:
            facts.cost = self.cost(call)
            if facts.cost is None:
                row.unknown_cost += 1
            else:
                row.cost += facts.cost
                by_key.cost += facts.cost

    def _tried(self, context: GenerationContext, model: str, began: float, facts: CallSummary) -> None:
        """Note what one generation used, and what became of each attempt at a target."""
        facts.add(context, began)
        trace = context.trace
        for attempt in trace.attempts:
            row = self.targets[_target(attempt.target, model)]
            row.attempts += 1
            row.failed += attempt.error is not None
        if trace.target is None:
            return
        facts.target = _target(trace.target, model)
        row = self.targets[facts.target]
        row.served += 1
        row.fallbacks += trace.fallback
        if not trace.attempts:
            row.attempts += 1
            row.failed += context.error is not None and context.error != "cancelled"
        if context.first_at is not None:
            self.first_token[Served(model, facts.target)].observe(context.first_at - began)


@dataclass(slots=True)
class CallSummary:
    """What a line of the log tells of a call's generations. `first`: seconds to the first token."""

    error: str | None = None
    input: int = 0
    output: int = 0
    cached: int = 0
    estimated: bool = False
    used: bool = False
    first: float | None = None
    attempts: int = 0
    fallback: bool = False
    target: str | None = None
    cost: int | None = None
    cache: str | None = None

    def add(self, context: GenerationContext, began: float) -> None:
        """Add one generation."""
        usage = context.total_usage
        if usage is not None:
            self.used = True
            self.input += usage.input_tokens
            self.output += usage.output_tokens
            self.cached += usage.cached_tokens
            self.estimated |= usage.estimated
        self.attempts += len(context.trace.attempts) or (context.trace.target is not None)
        self.fallback |= context.trace.fallback
        if context.first_at is not None and (self.first is None or context.first_at - began < self.first):
            self.first = context.first_at - began


def _known(method: str) -> str:
    return method if method in _METHODS else OTHER


def _target(target: TargetName, model: str) -> str:
    """A target's label. Behind a route for many names (`openai/*`), the client has chosen the model's."""
    return f"{target.upstream}/*" if model.endswith("*") else f"{target.upstream}/{target.model}"


def _cache_outcome(call: Call) -> str | None:
    """What the cache has told the client: "hit", "miss", "bypass"; None, if it was not asked."""
    for name, value in call.headers:
        if name == _CACHE:
            return value.decode("ascii")
    return None


def _fields(call: Call, model: str, seconds: float, facts: CallSummary) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "method": _known(call.method),
        "path": call.endpoint,
        "status": call.status,
        "ms": milliseconds(seconds),
        "project": call.caller.project.id,
        "key": call.caller.key.id,
        "request_id": call.request_id,
    }
    if model:
        fields["model"] = model
    if call.streamed:
        fields["stream"] = True
    if call.generations:
        _add_generated(fields, facts)
    if facts.cache is not None:
        fields["cache"] = facts.cache
    if facts.error is not None:
        fields["error"] = facts.error
    return fields


def _add_generated(fields: dict[str, Any], facts: CallSummary) -> None:
    fields["target"] = facts.target
    fields["attempts"] = facts.attempts
    if facts.fallback:
        fields["fallback"] = True
    if facts.first is not None:
        fields["first_ms"] = milliseconds(facts.first)
    if facts.used:
        fields["input_tokens"] = facts.input
        fields["cached_tokens"] = facts.cached
        fields["output_tokens"] = facts.output
    if facts.estimated:
        fields["estimated"] = True
    if facts.cost is not None:
        fields["cost_usd"] = round(facts.cost * _NANO, 9)
