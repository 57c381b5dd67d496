"""The ledger: one row for each call, with what it used and cost, and the sums of these rows."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.domain import limits
from antiphon.http.admin import usage
from antiphon.jobs.sweeps import Sweep
from antiphon.policy.ledger import Ledger


def ledger(core: Core) -> Feature:
    """The first, so that it stops last: what other features end at a stop is still written down."""
    rows = Ledger(core.store, core.pricing, core.clock, days=core.settings.ledger_days)
    return Feature(
        resources=usage.resources(core.store, core.clock),
        deferred_listeners=[rows],
        sweeps=[Sweep("ledger", limits.LEDGER_SWEEP_TICK, rows.sweep)],
        services={"ledger": rows},
    )
