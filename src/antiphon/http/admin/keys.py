"""/v1/organization/projects/{project_id}/api_keys"""

from __future__ import annotations

from antiphon.http.admin.common import Json, body_of, reply, reply_deleted, reply_page
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.run.organisation.keys import Keys, OwnedKey

_ROOT = "/v1/organization/projects/{project_id}/api_keys"


def resources(keys: Keys) -> list[Resource]:
    """The paths of projects' keys."""

    async def list_all(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit", "owner_project_access"))
        access = query.choice("owner_project_access", ("active", "inactive", "any"), "any")
        page, has_more = await keys.page(_project(exchange), after=query.text("after"), limit=query.limit())
        if access == "inactive":
            # A member who is removed from a project loses their keys for it at once, so there are none.
            page, has_more = [], False
        await reply_page(exchange, [_json(key) for key in page], has_more=has_more)

    async def get(exchange: Exchange) -> None:
        Query(exchange, ())
        await reply(exchange, _json(await keys.get(_project(exchange), _id(exchange))))

    async def update(exchange: Exchange) -> None:
        body = await body_of(exchange, "UpdateProjectApiKey")
        key = await keys.update(
            exchange.actor,
            _project(exchange),
            _id(exchange),
            life=body.get("expires_in_seconds"),
            scopes=body.get("scopes"),
        )
        await reply(exchange, _json(key))

    async def delete(exchange: Exchange) -> None:
        Query(exchange, ())
        await keys.delete(exchange.actor, _project(exchange), _id(exchange))
        await reply_deleted(exchange, "organization.project.api_key", _id(exchange))

    return [
        Resource(_ROOT, {"GET": list_all}, access="admin"),
        Resource(f"{_ROOT}/{{api_key_id}}", {"GET": get, "POST": update, "DELETE": delete}, access="admin"),
    ]


def _project(exchange: Exchange) -> str:
    return exchange.path_param("project_id")


def _id(exchange: Exchange) -> str:
    return exchange.path_param("api_key_id")


def _json(owned: OwnedKey) -> Json:
    """Schema `ProjectApiKey`, with the official package's `expires_at`."""
    key = owned.key
    return {
        "object": "organization.project.api_key",
        "id": key.id,
        "name": key.name,
        "redacted_value": key.hint,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "owner_project_access": "active",
        "owner": _owner(owned),
    }


def _owner(owned: OwnedKey) -> Json:
    account, user = owned.account, owned.user
    if account is not None:
        shown = {"id": account.id, "name": account.name, "created_at": account.created_at, "role": account.role}
        return {"type": "service_account", "service_account": shown}
    if user is None:
        return {}
    shown = {"id": user.id, "email": user.email, "name": user.name, "created_at": user.created_at, "role": owned.role}
    return {"type": "user", "user": shown}
