"""GET /v1/organization/audit_logs"""

from __future__ import annotations

from typing import get_args

from antiphon.domain.errors import InvalidRequest
from antiphon.domain.organisation import AuditEntry, AuditFilter, EventType
from antiphon.http.admin.common import Json, reply_page
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.ports import Store
from antiphon.protocol.refusals import unknown_parameter
from antiphon.run.organisation.audit import names_of

_BOUNDS = ("gt", "gte", "lt", "lte")
_FILTERS = ("project_ids", "event_types", "actor_ids", "actor_emails", "resource_ids")


def resources(store: Store) -> list[Resource]:
    """The path of the log."""

    async def list_all(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "before", "limit", "tenant_only", *_FILTERS), maps=("effective_at",))
        wanted = _filter(query)
        if query.flag("tenant_only"):
            _require_tenants(wanted.types)
            await reply_page(exchange, [], has_more=False)
            return
        page = await store.list_audit(wanted, limit=query.limit())
        names = await names_of(store, page.data)
        await reply_page(exchange, [_json(entry, names) for entry in page.data], has_more=page.has_more)

    return [Resource("/v1/organization/audit_logs", {"GET": list_all}, access="admin")]


def _filter(query: Query) -> AuditFilter:
    since, until = _times(query.mapping("effective_at"))
    return AuditFilter(
        since=since,
        until=until,
        projects=tuple(query.texts("project_ids")),
        types=tuple(query.texts("event_types")),
        actors=tuple(query.texts("actor_ids")),
        emails=tuple(email.lower() for email in query.texts("actor_emails")),
        resources=tuple(query.texts("resource_ids")),
        after=query.text("after"),
        before=query.text("before"),
    )


def _times(bounds: dict[str, str]) -> tuple[int | None, int | None]:
    """The first and the last second that are wanted."""
    since: list[int] = []
    until: list[int] = []
    for name, text in bounds.items():
        param = f"effective_at[{name[:100]}]"
        if name not in _BOUNDS:
            raise unknown_parameter(param)
        if not (text.isascii() and text.isdigit() and len(text) <= 12):
            raise InvalidRequest(
                f"Invalid type for '{param}': expected a time in Unix seconds.", code="invalid_type", param=param
            )
        seconds = int(text)
        if name.startswith("g"):
            since.append(seconds + (name == "gt"))
        else:
            until.append(seconds - (name == "lt"))
    return max(since, default=None), min(until, default=None)


def _require_tenants(types: tuple[str, ...]) -> None:
    """Raise `InvalidRequest` for types of events that are not about tenants, of which this server has none."""
    for name in types:
        if name in get_args(EventType):
            raise InvalidRequest(
                f"'{name}' is not a tenant's event, so 'tenant_only' leaves nothing of it.",
                code="invalid_value",
                param="event_types",
            )


def _json(entry: AuditEntry, names: dict[str, str]) -> Json:
    """Schema `AuditLog`. The details hold the values before and after the change, beside OpenAI's own members."""
    details: Json = {"id": entry.resource_id}
    if entry.type.endswith((".created", ".sent", ".added")):
        details["data"] = entry.after
    elif entry.type.endswith(".updated"):
        details["changes_requested"] = entry.after
    if entry.before:
        details["before"] = entry.before
    body: Json = {
        "id": entry.id,
        "type": entry.type,
        "effective_at": entry.at,
        "actor": _actor(entry),
        entry.type: details,
    }
    if entry.project_id is not None:
        body["project"] = {"id": entry.project_id, "name": names.get(entry.project_id, "")}
    return body


def _actor(entry: AuditEntry) -> Json:
    actor = entry.actor
    user = {"user": {"id": actor.user_id, "email": actor.email or ""}} if actor.user_id is not None else {}
    address = {"ip_address": actor.address} if actor.address is not None else {}
    if actor.kind == "session":
        return {"type": "session", "session": {**user, **address}}
    return {"type": "api_key", "api_key": {"id": actor.key_id, "type": "user", **user, **address}}
