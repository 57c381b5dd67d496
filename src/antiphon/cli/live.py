"""What a running server's metrics say of the last seconds: for `antiphon top`."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.domain.errors import SetupError

#: Most bytes of metrics that are read: 500 series of each metric stay far below.
_MOST = 16 * 1024 * 1024
_TIMEOUT = 5.0

Labels = frozenset[tuple[str, str]]
#: Upper bounds (seconds) with how many times were not above each.
Buckets = dict[float, float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The metrics at one moment (monotonic seconds)."""

    at: float
    #: By the metric's name, then by its labels.
    values: Mapping[str, Mapping[Labels, float]] = field(default_factory=dict)

    def groups(self, name: str, label: str) -> set[str]:
        """The values that a label has."""
        return {value for labels in self.values.get(name, {}) for key, value in labels if key == label}


def read(url: str, admin_key: str | None) -> Snapshot:
    """The metrics of the server at `url`. Raises `SetupError` with what to do if there are none to be had."""
    import urllib.error
    import urllib.request

    from prometheus_client.parser import text_string_to_metric_families  # start-up of other commands stays fast

    headers = {"Authorization": f"Bearer {admin_key}"} if admin_key else {}
    # No proxy: the server is on this machine, or where it was said to be.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT) as answer:  # noqa: S310 - ours
            text = answer.read(_MOST).decode()
    except urllib.error.HTTPError as error:
        raise SetupError(_refused(url, error.code)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise SetupError(f"No server answers at {url}: {reason}. Start one with: antiphon serve") from None
    values: dict[str, dict[Labels, float]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    except ValueError:
        raise SetupError(f"What {url} answers are no metrics.") from None
    return Snapshot(time.monotonic(), values)


def _refused(url: str, status: int) -> str:
    if status in {401, 403}:
        return f"{url} asks for an admin key: put one into the variable OPENAI_ADMIN_KEY."
    if status == 404:
        return f"There are no metrics at {url}: the server's setting 'metrics' is 'off', or it is not Antiphon."
    return f"{url} answers with status {status}."


class Span:
    """What has happened between two snapshots."""

    def __init__(self, first: Snapshot, last: Snapshot) -> None:
        self._first, self._last = first, last
        self.seconds = max(last.at - first.at, 1e-9)

    def grown(self, name: str, **where: str) -> float:
        """By how much a counter has grown, summed over all series with these labels."""
        wanted = frozenset(where.items())
        before = self._first.values.get(name, {})
        # A counter that is lower than before belongs to a server that was started since.
        return sum(
            value - old if value >= (old := before.get(labels, 0.0)) else value
            for labels, value in self._last.values.get(name, {}).items()
            if wanted <= labels
        )

    def rate(self, name: str, **where: str) -> float:
        """The same for each second."""
        return self.grown(name, **where) / self.seconds

    def now(self, name: str, **where: str) -> float:
        """The sum of the series with these labels, as it is now."""
        wanted = frozenset(where.items())
        return sum(value for labels, value in self._last.values.get(name, {}).items() if wanted <= labels)

    def has(self, name: str) -> bool:
        """Whether the server has this metric."""
        return bool(self._last.values.get(name))

    def groups(self, name: str, label: str) -> set[str]:
        """The values that a label has now."""
        return self._last.groups(name, label)

    def quantiles(self, name: str, **where: str) -> dict[str, float | None]:
        """Median and 99th percentile of a histogram in milliseconds; None where nothing was measured."""
        buckets: Buckets = {}
        for bound in self.groups(f"{name}_bucket", "le"):
            buckets[math.inf if bound == "+Inf" else float(bound)] = self.grown(f"{name}_bucket", le=bound, **where)
        return {"p50": quantile(buckets, 0.5), "p99": quantile(buckets, 0.99)}


def quantile(buckets: Buckets, part: float) -> float | None:
    """The time (ms) that this part of all times was not above, taking times to be spread evenly in each bucket.

    None if there are none. What lies beyond the last bound is told as that bound.
    """
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    wanted = part * buckets[bounds[-1]]
    for below, bound in itertools.pairwise([0.0, *bounds]):
        had = buckets.get(below, 0.0)
        if buckets[bound] >= wanted:
            if math.isinf(bound):
                return round(below * 1000, 1)
            inside = buckets[bound] - had
            share = (wanted - had) / inside if inside else 1.0
            return round((below + (bound - below) * share) * 1000, 2)
    return None


def frame(span: Span) -> dict[str, Any]:
    """Everything that is shown, as plain data. Rates are for each second, costs in US dollars for each minute."""
    return {
        "seconds": round(span.seconds, 2),
        "uptime_seconds": _uptime(span),
        "requests_per_second": _round(span.rate("antiphon_requests_total")),
        "errors_per_second": _round(span.rate("antiphon_errors_total")),
        "errors": _rates(span, "antiphon_errors_total", "code"),
        "in_flight": int(span.now("antiphon_requests_in_flight")),
        "generating": int(span.now("antiphon_generations_in_flight")),
        "input_tokens_per_second": _round(span.rate("antiphon_tokens_total", kind="input")),
        "output_tokens_per_second": _round(span.rate("antiphon_tokens_total", kind="output")),
        "cost_usd_per_minute": _cost(span, "antiphon_cost_usd_total"),
        "first_token_ms": span.quantiles("antiphon_first_token_seconds"),
        "total_ms": span.quantiles("antiphon_call_seconds"),
        "loop_lag_ms": span.quantiles("antiphon_loop_lag_seconds"),
        "cache": _rates(span, "antiphon_cache_answers_total", "outcome"),
        "cpu": _round(span.rate("process_cpu_seconds_total")),
        "memory_mb": round(span.now("process_resident_memory_bytes") / 1e6, 1),
        "store_writes_waiting": int(span.now("antiphon_store_writes_waiting")),
        "engine_queue": int(span.now("antiphon_engine_queue")) if span.has("antiphon_engine_queue") else None,
        "models": _sorted(_model(span, name) for name in span.groups("antiphon_model_calls_total", "model")),
        "targets": _sorted(_target(span, name) for name in _targets(span)),
        "keys": _sorted(_key(span, name) for name in span.groups("antiphon_key_calls_total", "key")),
    }


def _model(span: Span, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "calls": int(span.now("antiphon_model_calls_total", model=name)),
        "per_second": _round(span.rate("antiphon_model_calls_total", model=name)),
        "output_tokens_per_second": _round(span.rate("antiphon_tokens_total", model=name, kind="output")),
        "first_token_ms": span.quantiles("antiphon_first_token_seconds", model=name),
        "total_ms": span.quantiles("antiphon_call_seconds", model=name),
        "cost_usd_per_minute": _cost(span, "antiphon_cost_usd_total", model=name),
    }


def _targets(span: Span) -> set[str]:
    return span.groups("antiphon_target_attempts_total", "target") | span.groups("antiphon_target_breaker", "target")


def _target(span: Span, name: str) -> dict[str, Any]:
    states = span.groups("antiphon_target_breaker", "state")
    breaker = next((each for each in states if span.now("antiphon_target_breaker", target=name, state=each)), None)
    return {
        "name": name,
        "calls": int(span.now("antiphon_target_attempts_total", target=name)),
        "per_second": _round(span.rate("antiphon_target_attempts_total", target=name)),
        "failed_per_second": _round(span.rate("antiphon_target_attempts_total", target=name, outcome="failed")),
        "fallbacks_per_second": _round(span.rate("antiphon_target_fallbacks_total", target=name)),
        "first_token_ms": span.quantiles("antiphon_first_token_seconds", target=name),
        "breaker": breaker,
        "outstanding": int(span.now("antiphon_target_outstanding", target=name)),
    }


def _key(span: Span, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "calls": int(span.now("antiphon_key_calls_total", key=name)),
        "per_second": _round(span.rate("antiphon_key_calls_total", key=name)),
        "errors_per_second": _round(span.rate("antiphon_key_errors_total", key=name)),
        "tokens_per_second": _round(span.rate("antiphon_key_tokens_total", key=name)),
        "cost_usd_per_minute": _cost(span, "antiphon_key_cost_usd_total", key=name),
    }


def _sorted(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The busiest first."""
    return sorted(rows, key=lambda row: (-row["per_second"], -row["calls"], row["name"]))


def _rates(span: Span, name: str, label: str) -> dict[str, float]:
    return {value: _round(span.rate(name, **{label: value})) for value in sorted(span.groups(name, label))}


def _cost(span: Span, name: str, **where: str) -> float | None:
    return round(span.rate(name, **where) * 60, 6) if span.has(name) else None


def _uptime(span: Span) -> int:
    began = span.now("process_start_time_seconds")
    return int(time.time() - began) if began else 0


def _round(value: float) -> float:
    return round(value, 2)
