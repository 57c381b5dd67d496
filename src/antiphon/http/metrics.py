"""/metrics: the observer's counts in the Prometheus format."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from antiphon.domain.errors import NotFound
from antiphon.http.exchange import Exchange
from antiphon.http.resource import Resource
from antiphon.policy.administration.authenticate import AdminAuthenticator
from antiphon.policy.observe.observer import Observer
from antiphon.telemetry.metrics import Histogram

if TYPE_CHECKING:
    from prometheus_client import Metric

#: Who may read them; see the setting of this name.
Readers = Literal["local", "admin", "open", "off"]

_BREAKER = ("closed", "half_open", "open")
#: Headers that a proxy adds: with one of them, the connection's address may be the proxy's and not the client's.
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")


def resources(
    observer: Observer,
    authenticate: AdminAuthenticator,
    readers: Readers,
    settle: Callable[[], None] = lambda: None,
) -> list[Resource]:
    """`/metrics`, for those whom the setting allows; others are refused like callers without an admin key.

    `settle`: delivers all calls that have ended to the observer, so that they are counted.
    """
    one_at_a_time = asyncio.Lock()

    async def metrics(exchange: Exchange) -> None:
        if readers == "off":
            raise NotFound("This server shows no metrics: its setting 'metrics' is 'off'.", code="unknown_url")
        if readers == "admin" or (readers == "local" and not _is_local(exchange)):
            await authenticate(exchange.header(b"authorization"))
        settle()
        async with one_at_a_time:
            # With full tables this takes a third of a second.
            collector = Collector(observer)
            text, kind = await asyncio.to_thread(_render, collector, exchange.header(b"accept") or "")
        await exchange.reply(200, text, content_type=kind.encode())

    return [Resource("/metrics", {"GET": metrics}, access="open")]


def _is_local(exchange: Exchange) -> bool:
    if any(exchange.header(name) is not None for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(exchange.client_address or "").is_loopback
    except ValueError:
        return False


def _render(collector: Collector, accept: str) -> tuple[bytes, str]:
    """The metrics in the format that the client accepts, and its content type."""
    from prometheus_client import CollectorRegistry, ProcessCollector  # most servers are never asked
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(collector)
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


class Collector:
    """Turns the observer's tables into the library's metrics. Made in the event loop; used once, in any thread.

    The tables may be read from elsewhere: all that can happen is that a call is in one of them and not yet in another.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._gauges = [(gauge, gauge.read()) for gauge in observer.gauges]
        # Targets without attempts are left out: clients make up some names (behind a route such as `openai/*`).
        targets = [(str(each.target), each) for each in observer.targets_now()]
        self._targets_now = [(name, each) for name, each in targets if name in observer.targets]

    def collect(self) -> Iterable[Metric]:
        """Every metric with what it is now."""
        yield from self._requests()
        yield from self._models()
        yield from self._targets()
        yield from self._keys()
        yield from self._now()

    def _requests(self) -> Iterable[Metric]:
        seen = self._observer
        labels = ("endpoint", "method", "status", "model")
        yield _counter(
            "requests", "Requests that were answered.", labels, ((key, row.value) for key, row in seen.requests)
        )
        yield _histogram(
            "request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ("endpoint",),
            (((endpoint,), row) for endpoint, row in seen.durations),
        )
        yield _counter(
            "errors",
            "Requests that ended with an error, by its code.",
            ("code",),
            (((code,), row.value) for code, row in seen.errors),
        )
        yield _counter(
            "cache_answers",
            "Calls by what the response cache did: hit, miss, bypass.",
            ("outcome",),
            (((outcome,), row.value) for outcome, row in seen.cache),
        )

    def _models(self) -> Iterable[Metric]:
        seen = self._observer
        models = list(seen.models)
        yield _counter(
            "model_calls", "Calls that used a model.", ("model",), (((model,), row.calls) for model, row in models)
        )
        yield _counter(
            "schemas_unmet",
            "Answers that were delivered although they do not fit their schema, which is not strict.",
            ("model",),
            (((model,), row.unmet) for model, row in models),
        )
        kinds = ("input", "output", "cached", "cache_write", "reasoning", "input_audio", "output_audio")
        yield _counter(
            "tokens",
            "Tokens by kind. All kinds but input and output are part of one of these two.",
            ("model", "kind"),
            (((model, kind), getattr(row, kind)) for model, row in models for kind in kinds),
        )
        yield _histogram(
            "first_token_seconds",
            "Seconds from a request's head to the first token of its answer.",
            ("model", "target"),
            seen.first_token,
        )
        yield _histogram(
            "call_seconds",
            "Seconds from a request's head to the end of its answer, for calls that asked a model.",
            ("model",),
            (((model,), row.total) for model, row in models),
        )
        if seen.cost is not None:
            yield _counter(
                "cost_usd",
                "Cost of calls, in US dollars, where it is known.",
                ("model",),
                (((model,), row.cost * 1e-9) for model, row in models),
            )
            yield _counter(
                "cost_unknown_calls",
                "Calls whose cost is not known.",
                ("model",),
                (((model,), row.unknown_cost) for model, row in models),
            )

    def _targets(self) -> Iterable[Metric]:
        seen = self._observer
        targets = list(seen.targets)
        yield _counter(
            "target_attempts",
            "Attempts at a target of a route, by their outcome: ok, failed.",
            ("target", "outcome"),
            (
                pair
                for target, row in targets
                for pair in (((target, "ok"), row.attempts - row.failed), ((target, "failed"), row.failed))
            ),
        )
        yield _counter(
            "target_fallbacks",
            "Answers of a target that was not the first choice of its route.",
            ("target",),
            (((target,), row.fallbacks) for target, row in targets),
        )
        now = self._targets_now
        yield _gauge(
            "target_breaker",
            "The target's circuit breaker: 1 for the state that it is in.",
            ("target", "state"),
            (((name, state), float(each.breaker == state)) for name, each in now for state in _BREAKER),
        )
        yield _gauge(
            "target_outstanding",
            "Calls that the target is answering now.",
            ("target",),
            (((name,), each.outstanding) for name, each in now),
        )
        yield _gauge(
            "target_rests_seconds",
            "Seconds until the target is asked again, as its Retry-After said.",
            ("target",),
            (((name,), each.rests) for name, each in now),
        )

    def _keys(self) -> Iterable[Metric]:
        keys = list(self._observer.keys)
        labels = ("project", "key")
        yield _counter("key_calls", "Calls with this key.", labels, ((key, row.calls) for key, row in keys))
        yield _counter(
            "key_errors", "Calls with this key that failed.", labels, ((key, row.errors) for key, row in keys)
        )
        yield _counter(
            "key_tokens",
            "Tokens of calls with this key.",
            (*labels, "kind"),
            (pair for key, row in keys for pair in (((*key, "input"), row.input), ((*key, "output"), row.output))),
        )
        if self._observer.cost is not None:
            yield _counter(
                "key_cost_usd",
                "Cost of calls with this key, in US dollars, where it is known.",
                labels,
                ((key, row.cost * 1e-9) for key, row in keys),
            )

    def _now(self) -> Iterable[Metric]:
        seen = self._observer
        yield _gauge("requests_in_flight", "Requests that are being answered.", (), [((), seen.in_flight)])
        yield _gauge("generations_in_flight", "Generations that are being made.", (), [((), seen.generating)])
        for gauge, value in self._gauges:
            rows = [((), value)] if isinstance(value, int | float) else value
            yield _gauge(gauge.name, gauge.help, gauge.labels, rows)
        yield _histogram(
            "loop_lag_seconds", "Delay of the event loop, measured ten times a second.", (), [((), seen.lag.seconds)]
        )


def _counter(name: str, text: str, labels: Iterable[str], rows: Iterable[tuple[Any, float]]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(f"antiphon_{name}", text, labels=tuple(labels))
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _gauge(name: str, text: str, labels: Iterable[str], rows: Iterable[tuple[Any, float]]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"antiphon_{name}", text, labels=tuple(labels))
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _histogram(name: str, text: str, labels: Iterable[str], rows: Iterable[tuple[Any, Histogram]]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(f"antiphon_{name}", text, labels=tuple(labels))
    for values, row in rows:
        family.add_metric(values, row.buckets(), row.total)
    return family
