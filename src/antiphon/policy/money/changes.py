"""Changes of budgets, each with its row in the log of administrative changes. The API and the command line use it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from antiphon.domain import limits, money
from antiphon.domain.budgets import Budget, Period, Scope
from antiphon.domain.errors import InvalidRequest
from antiphon.domain.ids import new_id
from antiphon.domain.organisation import Actor, AuditEntry, EventType
from antiphon.ports import AuditStore, BudgetStore, Clock

_EVENTS: dict[str, EventType] = {
    "key": "api_key.updated",
    "project": "project.updated",
    "organization": "organization.updated",
}


class _Store(BudgetStore, AuditStore, Protocol):
    """What this needs of the store."""


class BudgetChanges:
    """Adds, changes and removes budgets."""

    def __init__(self, store: _Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def of(self, scope: Scope, subject: str) -> list[Budget]:
        """The limits and alerts of one subject, oldest first."""
        return [one for one in await self._store.list_budgets() if (one.scope, one.subject) == (scope, subject)]

    async def put(
        self,
        actor: Actor,
        scope: Scope,
        subject: str,
        period: Period,
        amount: int,
        *,
        hard: bool,
        allow_unknown: bool = False,
        channel: bytes | None = None,
        changing: Budget | None = None,
        project_id: str | None = None,
    ) -> Budget:
        """Set the hard limit of a subject and period, add an alert, or change one. `amount`: nano-dollars.

        `project_id`: the project that a key belongs to. Raises `InvalidRequest` if there are too many.
        """
        existing = await self._store.list_budgets()
        place = (scope, subject, period)
        before = changing or next(
            (one for one in existing if one.hard and hard and (one.scope, one.subject, one.period) == place), None
        )
        if before is None and len(existing) >= limits.MAX_BUDGETS:
            raise InvalidRequest(f"There are {limits.MAX_BUDGETS} budgets and alerts already.", code="too_many_budgets")
        wanted = Budget(
            id=new_id("budget_" if hard else "alert_"),
            scope=scope,
            subject=subject,
            period=period,
            amount=amount,
            hard=hard,
            allow_unknown=allow_unknown,
            created_at=int(self._clock.now()),
            channel=channel,
        )
        if before is not None:
            wanted = replace(wanted, id=before.id, created_at=before.created_at)
        stored = await self._store.put_budget(wanted, self._clock.now())
        await self._note(actor, stored, before, stored, project_id)
        return stored

    async def remove(self, actor: Actor, budget: Budget, project_id: str | None = None) -> bool:
        """Remove a limit or an alert; False if it is gone already."""
        if not await self._store.remove_budget(budget.id):
            return False
        await self._note(actor, budget, budget, None, project_id)
        return True

    async def _note(
        self, actor: Actor, about: Budget, before: Budget | None, after: Budget | None, project_id: str | None
    ) -> None:
        entry = AuditEntry(
            type=_EVENTS[about.scope],
            actor=actor,
            resource_id=about.subject or "organization",
            project_id=about.subject if about.scope == "project" else project_id,
            before=_shown(before),
            after=_shown(after),
        )
        await self._store.add_audit(entry)


def _shown(budget: Budget | None) -> dict[str, Any]:
    if budget is None:
        return {}
    name = "spend_limit" if budget.hard else "spend_alert"
    value = {"dollars": money.to_dollars(budget.amount), "period": budget.period, "id": budget.id}
    return {name: value | ({"allow_unknown": True} if budget.allow_unknown else {})}
