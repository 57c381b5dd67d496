"""Metrics, health, and one line of log for each request."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.http import health, metrics
from antiphon.policy.observe.gauges import Gauge
from antiphon.ports import Constraining, Queueing


def observability(core: Core) -> Feature:
    """Stands before all features that change or refuse a generation: it sees one before these may refuse it.

    Of a call it is told after they were, and reports what they have made of it.
    """
    lazy = core.settings.engine_start == "lazy"
    return Feature(
        resources=[
            *metrics.resources(core.observer, core.administrators, core.settings.metrics, core.pipeline.settle),
            *health.resources(lambda: core.readiness.check(core.engine, core.store, lazy=lazy)),
        ],
        stages=[core.observer],
        deferred_listeners=[core.observer],
        gauges=_engine_gauges(core.engine.local),
        services={"lag": core.observer.lag},
    )


def _engine_gauges(local: object) -> list[Gauge]:
    """What there is to see of the built-in engine."""
    gauges = []
    if isinstance(local, Queueing):
        text = "Generations that wait for a slot of the local engine."
        gauges.append(Gauge("engine_queue", text, lambda: local.waiting))
    if isinstance(local, Constraining):
        text = "Answers that were ended because the local engine had lost their grammar."
        gauges.append(Gauge("grammars_lost", text, lambda: local.grammars_lost))
    return gauges
