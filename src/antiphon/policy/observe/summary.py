"""One call in a few figures, and the fields of its line in the log.

Nothing here holds content: models and targets are named as they were configured, everything else by our own ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from antiphon.domain.durations import milliseconds
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.observe.series import method_label

_CACHE = b"x-antiphon-cache"
_NANO = 1e-9


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


def cache_outcome(call: Call) -> str | None:
    """What the cache has told the client: "hit", "miss", "bypass"; None, if it was not asked."""
    for name, value in call.headers:
        if name == _CACHE:
            return value.decode("ascii")
    return None


def log_fields(call: Call, model: str, seconds: float, summary: CallSummary) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "method": method_label(call.method),
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
        _add_generation_fields(fields, summary)
    if summary.cache is not None:
        fields["cache"] = summary.cache
    if summary.error is not None:
        fields["error"] = summary.error
    return fields


def _add_generation_fields(fields: dict[str, Any], summary: CallSummary) -> None:
    fields["target"] = summary.target
    fields["attempts"] = summary.attempts
    if summary.fallback:
        fields["fallback"] = True
    if summary.first is not None:
        fields["first_ms"] = milliseconds(summary.first)
    if summary.used:
        fields["input_tokens"] = summary.input
        fields["cached_tokens"] = summary.cached
        fields["output_tokens"] = summary.output
    if summary.estimated:
        fields["estimated"] = True
    if summary.cost is not None:
        fields["cost_usd"] = round(summary.cost * _NANO, 9)
