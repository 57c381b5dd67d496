"""Prices, costs and budgets."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.domain import limits
from antiphon.http.admin import costs, spend
from antiphon.jobs.sweeps import Sweep
from antiphon.policy.money.budgets import BudgetCheck
from antiphon.policy.money.changes import BudgetChanges
from antiphon.policy.money.costs import CostHeaders
from antiphon.run.clock import DatabaseClock


def money(core: Core) -> Feature:
    """One stage reserves of budgets what a generation may cost; another one tells the client what it did cost."""
    clock = DatabaseClock(core.store, core.clock)
    budgets = BudgetCheck(core.store, core.pricing, clock)
    return Feature(
        resources=[
            *costs.resources(core.store, core.clock),
            *spend.resources(BudgetChanges(core.store, core.clock), core.store, budgets, core.clock),
        ],
        stages=[budgets, CostHeaders(core.pricing)],
        sweeps=[
            Sweep("clock", limits.CLOCK_TICK, clock.sweep),
            Sweep("reservations", limits.RESERVATION_RENEWAL, budgets.sweep),
        ],
        services={"budgets": budgets},
    )
