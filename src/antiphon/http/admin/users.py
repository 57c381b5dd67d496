"""/v1/organization/users"""

from __future__ import annotations

from antiphon.domain.organisation import User
from antiphon.http.admin.common import Json, body_of, reply, reply_deleted, reply_page
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.run.organisation.users import Users

_ROOT = "/v1/organization/users"


def resources(users: Users) -> list[Resource]:
    """The paths of users."""

    async def list_all(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit", "emails"))
        page = await users.page(query.texts("emails"), after=query.text("after"), limit=query.limit())
        first = await users.first_id()
        await reply_page(exchange, [_json(user, first) for user in page.data], has_more=page.has_more)

    async def get(exchange: Exchange) -> None:
        Query(exchange, ())
        await reply(exchange, _json(await users.get(_id(exchange)), await users.first_id()))

    async def update(exchange: Exchange) -> None:
        unsupported = {"role_id": "is for roles of one's own, which there are not: give a 'role'"}
        body = await body_of(exchange, "UserRoleUpdateRequest", unsupported=unsupported)
        await reply(exchange, _json(await users.update(exchange.actor, _id(exchange), **body), await users.first_id()))

    async def delete(exchange: Exchange) -> None:
        Query(exchange, ())
        await users.delete(exchange.actor, _id(exchange))
        await reply_deleted(exchange, "organization.user", _id(exchange))

    return [
        Resource(_ROOT, {"GET": list_all}, access="admin"),
        Resource(f"{_ROOT}/{{user_id}}", {"GET": get, "POST": update, "DELETE": delete}, access="admin"),
    ]


def _id(exchange: Exchange) -> str:
    return exchange.path_param("user_id")


def _json(user: User, first_id: str | None) -> Json:
    """Schema `User`."""
    return {
        "object": "organization.user",
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "role": user.role,
        "added_at": user.created_at,
        "created": user.created_at,
        "is_default": user.id == first_id,
        "is_service_account": False,
        "is_scim_managed": False,
        "technical_level": user.technical_level,
        "developer_persona": user.developer_persona,
        "user": {"object": "user", "id": user.id, "email": user.email, "name": user.name, "enabled": True},
    }
