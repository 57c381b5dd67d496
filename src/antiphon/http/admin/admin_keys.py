"""/v1/organization/admin_api_keys"""

from __future__ import annotations

from antiphon.http.admin.common import Json, body_of, reply, reply_deleted, reply_page
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.run.organisation.admin_keys import AdminKeys, OwnedAdminKey

_ROOT = "/v1/organization/admin_api_keys"


def resources(keys: AdminKeys) -> list[Resource]:
    """The paths of admin keys."""

    async def create(exchange: Exchange) -> None:
        body = await body_of(exchange, "CreateAdminApiKey")
        who = exchange.administrator
        assert who is not None
        secret, made = await keys.create(exchange.actor, who.user, body["name"], life=body.get("expires_in_seconds"))
        await reply(exchange, {**_json(made), "value": secret})

    async def list_all(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit", "order"))
        page, has_more = await keys.page(
            after=query.text("after"), limit=query.limit(), ascending=query.ascending("asc")
        )
        await reply_page(exchange, [_json(key) for key in page], has_more=has_more)

    async def get(exchange: Exchange) -> None:
        Query(exchange, ())
        await reply(exchange, _json(await keys.get(exchange.path_param("key_id"))))

    async def delete(exchange: Exchange) -> None:
        Query(exchange, ())
        key_id = exchange.path_param("key_id")
        await keys.delete(exchange.actor, key_id)
        await reply_deleted(exchange, "organization.admin_api_key", key_id)

    return [
        Resource(_ROOT, {"GET": list_all, "POST": create}, access="admin"),
        Resource(f"{_ROOT}/{{key_id}}", {"GET": get, "DELETE": delete}, access="admin"),
    ]


def _json(owned: OwnedAdminKey) -> Json:
    """Schema `AdminApiKey`."""
    key, user = owned
    owner: Json = {"type": "user", "object": "organization.user"}
    if user is not None:
        owner |= {"id": user.id, "name": user.name, "created_at": user.created_at, "role": user.role}
    return {
        "object": "organization.admin_api_key",
        "id": key.id,
        "name": key.name,
        "redacted_value": key.hint,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "owner": owner,
    }
