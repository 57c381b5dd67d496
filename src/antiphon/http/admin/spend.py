"""/v1/organization/spend_limit and spend_alerts, and the same of a project.

Amounts are in cents and periods are months here; `antiphon budgets` knows days, keys and finer amounts, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from antiphon.domain import limits, money
from antiphon.domain.budgets import ORGANIZATION, Budget, Scope
from antiphon.domain.errors import InvalidRequest, NotFound
from antiphon.http.admin.buckets import integer
from antiphon.http.bodies import checked_body
from antiphon.http.exchange import Exchange
from antiphon.http.pages import page_body
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.policy.money.budgets import BudgetCheck
from antiphon.policy.money.changes import BudgetChanges
from antiphon.ports import Clock, TenantStore
from antiphon.protocol.refusals import unknown_parameter
from antiphon.wire import json as wire_json

_MAX_CENTS = money.MAX_DOLLARS * 100


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose limits and alerts a path is about."""

    scope: Scope
    subject: str


class _Spend:
    """The handlers of one scope's paths."""

    def __init__(
        self, scope: Scope, changes: BudgetChanges, tenants: TenantStore, stage: BudgetCheck, clock: Clock
    ) -> None:
        self._scope: Scope = scope
        self._changes = changes
        self._tenants = tenants
        self._stage = stage
        self._clock = clock

    def resources(self, prefix: str) -> list[Resource]:
        """The paths below `prefix`."""
        limit = {"GET": self.get_limit, "POST": self.set_limit, "DELETE": self.delete_limit}
        alert = {"GET": self.get_alert, "POST": self.update_alert, "DELETE": self.delete_alert}
        return [
            Resource(f"{prefix}/spend_limit", limit, access="admin"),
            Resource(f"{prefix}/spend_alerts", {"GET": self.list_alerts, "POST": self.add_alert}, access="admin"),
            Resource(f"{prefix}/spend_alerts/{{alert_id}}", alert, access="admin"),
        ]

    async def _owner(self, exchange: Exchange) -> _Owner:
        if self._scope == "organization":
            return _Owner("organization", ORGANIZATION)
        project_id = exchange.path_param("project_id")
        project = await self._tenants.get_project(project_id)
        if project is None or project.id != project_id:
            raise NotFound(f"No project with id '{project_id[:100]}' found.", param="project_id")
        return _Owner("project", project_id)

    # --- the limit ----------------------------------------------------------------------------------------------------
    async def get_limit(self, exchange: Exchange) -> None:
        """Schema `…SpendLimitResource`."""
        Query(exchange, ())
        await self._reply_limit(exchange, await self._limit(await self._owner(exchange)))

    async def set_limit(self, exchange: Exchange) -> None:
        """Schema `Update…SpendLimitBody`."""
        Query(exchange, ())
        owner = await self._owner(exchange)
        body, extra = await checked_body(exchange, f"Update{owner.scope.capitalize()}SpendLimitBody")
        old = next((one for one in await self._changes.of(owner.scope, owner.subject) if _is_limit(one)), None)
        limit = await self._changes.put(
            exchange.actor,
            owner.scope,
            owner.subject,
            "month",
            _amount(body, extra),
            hard=True,
            allow_unknown=old.allow_unknown if old is not None else False,
        )
        self._stage.changed()
        await self._reply_limit(exchange, limit)

    async def delete_limit(self, exchange: Exchange) -> None:
        """Schema `…SpendLimitDeletedResource`."""
        Query(exchange, ())
        owner = await self._owner(exchange)
        deleted = await self._changes.remove(exchange.actor, await self._limit(owner))
        self._stage.changed()
        body = {"object": f"{owner.scope}.spend_limit.deleted", "deleted": deleted}
        await exchange.reply(200, wire_json.encode(body))

    async def _limit(self, owner: _Owner) -> Budget:
        found = next((one for one in await self._changes.of(owner.scope, owner.subject) if _is_limit(one)), None)
        if found is None:
            raise NotFound(f"No spend limit is set for this {owner.scope}.", code="spend_limit_not_found")
        return found

    async def _reply_limit(self, exchange: Exchange, limit: Budget) -> None:
        used = limit.spent_at(self._clock.now()) + limit.reserved
        body = {
            "object": f"{limit.scope}.spend_limit",
            "threshold_amount": limit.amount // money.CENT,
            "currency": "USD",
            "interval": "month",
            "enforcement": {"status": "enforcing" if used >= limit.amount else "inactive"},
        }
        await exchange.reply(200, wire_json.encode(body))

    # --- alerts -------------------------------------------------------------------------------------------------------
    async def list_alerts(self, exchange: Exchange) -> None:
        """Schema `…SpendAlertListResource`."""
        query = Query(exchange, ("limit", "order", "after", "before"))
        limit = integer(query, "limit", 0, limits.MAX_PAGE)
        alerts = await self._alerts(await self._owner(exchange))
        if not query.ascending("asc"):
            alerts.reverse()
        for name in ("after", "before"):
            place = _place(alerts, query.text(name), name)
            if place is not None:
                alerts = alerts[place + 1 :] if name == "after" else alerts[:place]
        size = limits.DEFAULT_PAGE if limit is None else limit
        shown = [(alert.id, _alert(alert)) for alert in alerts[:size]]
        await exchange.reply(200, page_body(shown, has_more=len(alerts) > size))

    async def add_alert(self, exchange: Exchange) -> None:
        """Schema `CreateSpendAlertBody`."""
        await self._put_alert(exchange, await self._owner(exchange), None)

    async def get_alert(self, exchange: Exchange) -> None:
        """Schema `…SpendAlert`."""
        Query(exchange, ())
        await exchange.reply(200, _alert(await self._find_alert(exchange, await self._owner(exchange))))

    async def update_alert(self, exchange: Exchange) -> None:
        """Schema `CreateSpendAlertBody`: all of it is replaced."""
        owner = await self._owner(exchange)
        await self._put_alert(exchange, owner, await self._find_alert(exchange, owner))

    async def delete_alert(self, exchange: Exchange) -> None:
        """Schema `…SpendAlertDeletedResource`."""
        Query(exchange, ())
        alert = await self._find_alert(exchange, await self._owner(exchange))
        deleted = await self._changes.remove(exchange.actor, alert)
        self._stage.changed()
        body = {"id": alert.id, "object": f"{alert.scope}.spend_alert.deleted", "deleted": deleted}
        await exchange.reply(200, wire_json.encode(body))

    async def _put_alert(self, exchange: Exchange, owner: _Owner, old: Budget | None) -> None:
        Query(exchange, ())
        body, extra = await checked_body(exchange, "CreateSpendAlertBody")
        alert = await self._changes.put(
            exchange.actor,
            owner.scope,
            owner.subject,
            "month",
            _amount(body, extra),
            hard=False,
            channel=msgspec.json.encode(_channel(body["notification_channel"])),
            changing=old,
        )
        self._stage.changed()
        await exchange.reply(200, _alert(alert))

    async def _alerts(self, owner: _Owner) -> list[Budget]:
        found = await self._changes.of(owner.scope, owner.subject)
        return [one for one in found if not one.hard and one.period == "month"]

    async def _find_alert(self, exchange: Exchange, owner: _Owner) -> Budget:
        alert_id = exchange.path_param("alert_id")
        for alert in await self._alerts(owner):
            if alert.id == alert_id:
                return alert
        raise NotFound(f"No spend alert with id '{alert_id[:100]}' found.", param="alert_id")


def resources(changes: BudgetChanges, tenants: TenantStore, stage: BudgetCheck, clock: Clock) -> list[Resource]:
    """The paths of spend limits and alerts."""
    return [
        *_Spend("organization", changes, tenants, stage, clock).resources("/v1/organization"),
        *_Spend("project", changes, tenants, stage, clock).resources("/v1/organization/projects/{project_id}"),
    ]


def _is_limit(budget: Budget) -> bool:
    return budget.hard and budget.period == "month"


def _amount(body: dict[str, Any], extra: dict[str, Any]) -> int:
    if extra:
        raise unknown_parameter(next(iter(extra)))
    cents: int = body["threshold_amount"]
    if cents > _MAX_CENTS:
        raise InvalidRequest(
            f"Invalid 'threshold_amount': expected at most {_MAX_CENTS} cents.",
            code="integer_above_max_value",
            param="threshold_amount",
        )
    return cents * money.CENT


def _channel(channel: dict[str, Any]) -> dict[str, Any]:
    recipients, prefix = channel["recipients"], channel.get("subject_prefix")
    if len(recipients) > limits.MAX_ALERT_RECIPIENTS:
        raise InvalidRequest(
            f"At most {limits.MAX_ALERT_RECIPIENTS} recipients can be named.",
            code="array_above_max_length",
            param="notification_channel.recipients",
        )
    if any(len(text) > limits.MAX_ALERT_TEXT for text in (*recipients, prefix or "")):
        raise InvalidRequest(
            f"Recipients and prefix have at most {limits.MAX_ALERT_TEXT} characters.",
            code="string_above_max_length",
            param="notification_channel",
        )
    return {"type": "email", "recipients": recipients, "subject_prefix": prefix}


def _alert(alert: Budget) -> bytes:
    channel: Any = {"type": "email", "recipients": [], "subject_prefix": None}
    body = {
        "id": alert.id,
        "object": f"{alert.scope}.spend_alert",
        "threshold_amount": alert.amount // money.CENT,
        "currency": "USD",
        "interval": alert.period,
        "notification_channel": channel if alert.channel is None else msgspec.Raw(alert.channel),
    }
    return wire_json.encode(body)


def _place(alerts: list[Budget], alert_id: str | None, param: str) -> int | None:
    if alert_id is None:
        return None
    for place, alert in enumerate(alerts):
        if alert.id == alert_id:
            return place
    raise NotFound(f"No spend alert with id '{alert_id[:100]}' found.", param=param)
