"""Counts requests and calls, and writes one line of log for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from antiphon.domain import limits
from antiphon.domain.durations import milliseconds
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.observe.gauges import Gauge, TargetReport
from antiphon.policy.observe.series import (
    OTHER,
    KeyLabel,
    KeyRow,
    Latency,
    ModelRow,
    Request,
    TargetRow,
    method_label,
    target_label,
)
from antiphon.policy.observe.summary import CallSummary, cache_outcome, log_fields
from antiphon.policy.pipeline.stages import AdmissionCheck, CallListener
from antiphon.telemetry import logs
from antiphon.telemetry.metrics import Count, Histogram, LoopLag, Table

#: What a call has cost, in nano-dollars; None: not known.
Cost = Callable[[Call], int | None]
_STATUS = tuple(f"{hundred}xx" for hundred in range(10))


class Observer(AdmissionCheck, CallListener):
    """Counts requests and calls, and writes their lines. A check and a listener of the pipeline.

    As a check it must be the first, as a listener the last: then it sees what all others have made of a call.
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
        self.first_token: Table[Latency, Histogram] = Table(
            Histogram, Latency(OTHER, OTHER), most=limits.MAX_HISTOGRAMS
        )
        self.targets: Table[str, TargetRow] = Table(TargetRow, OTHER, most=limits.MAX_SERIES)
        self.keys: Table[KeyLabel, KeyRow] = Table(KeyRow, KeyLabel(OTHER, OTHER), most=limits.MAX_SERIES)
        self.errors: Table[str, Count] = Table(Count, OTHER, most=limits.MAX_SERIES)
        self.cache: Table[str, Count] = Table(Count, OTHER, most=limits.MAX_SERIES)

    # --- a stage ------------------------------------------------------------------------------------------------------
    def enter(self, context: GenerationContext) -> None:
        """Count a generation that begins."""
        self.generating += 1

    def leave(self, context: GenerationContext) -> None:
        """Count it no more."""
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

        `quiet`: it is logged at the level "debug" only.
        """
        self._count(endpoint, method, status, "", seconds, error)
        if logs.enabled("debug" if quiet else "info"):
            fields: dict[str, Any] = {
                "method": method_label(method),
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
        summary = CallSummary(error=call.error or (call.generations[-1].error if call.generations else None))
        self._count(call.endpoint, call.method, call.status, model, seconds, summary.error)
        by_key = self.keys[KeyLabel(call.caller.project.id, call.caller.key.id)]
        by_key.calls += 1
        by_key.errors += call.status >= 400
        if call.generations:
            self._generated(call, model, seconds, summary, by_key)
        summary.cache = cache_outcome(call)
        if summary.cache is not None:
            self.cache[summary.cache].value += 1
        if logs.enabled("info"):
            logs.line("info", "request", "call", log_fields(call, model, seconds, summary))

    def _count(self, endpoint: str, method: str, status: int, model: str, seconds: float, error: str | None) -> None:
        self.requests[Request(endpoint, method_label(method), _STATUS[status // 100 % 10], model)].value += 1
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

    def _generated(self, call: Call, model: str, seconds: float, summary: CallSummary, by_key: KeyRow) -> None:
        row = self.models[model]
        row.calls += 1
        row.total.observe(seconds)
        summary.attempts = call.refused_generations.attempts
        for target, count in call.refused_generations.tries.items():
            refused = self.targets[target_label(target, model)]
            refused.attempts += count
            refused.failed += count
        for context in call.generations:
            row.add(context)
            row.unmet += context.unmet
            self._tried(context, model, call.began, summary)
        by_key.input += summary.input
        by_key.output += summary.output
        if self.cost is not None:
            summary.cost = self.cost(call)
            if summary.cost is None:
                row.unknown_cost += 1
            else:
                row.cost += summary.cost
                by_key.cost += summary.cost

    def _tried(self, context: GenerationContext, model: str, began: float, summary: CallSummary) -> None:
        """Note what one generation used, and what became of each attempt at a target."""
        summary.add(context, began)
        trace = context.trace
        for attempt in trace.attempts:
            row = self.targets[target_label(attempt.target, model)]
            row.attempts += 1
            row.failed += attempt.error is not None
        if trace.target is None:
            return
        summary.target = target_label(trace.target, model)
        row = self.targets[summary.target]
        row.served += 1
        row.fallbacks += trace.fallback
        if not trace.attempts:
            row.attempts += 1
            row.failed += context.error is not None and context.error != "cancelled"
        if context.first_at is not None:
            self.first_token[Latency(model, summary.target)].observe(context.first_at - began)
