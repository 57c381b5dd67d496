"""/v1/organization/projects/{project_id}/users"""

from __future__ import annotations

from antiphon.domain.organisation import Member
from antiphon.http.admin.common import Json, body_of, reply, reply_deleted, reply_page
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.run.organisation.members import Members

_ROOT = "/v1/organization/projects/{project_id}/users"


def resources(members: Members) -> list[Resource]:
    """The paths of projects' members."""

    async def add(exchange: Exchange) -> None:
        body = await body_of(exchange, "ProjectUserCreateRequest")
        member = await members.add(
            exchange.actor,
            _project(exchange),
            user_id=body.get("user_id"),
            email=body.get("email"),
            role=body["role"],
        )
        await reply(exchange, _json(member))

    async def list_all(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit"))
        page = await members.page(_project(exchange), after=query.text("after"), limit=query.limit())
        await reply_page(exchange, [_json(member) for member in page.data], has_more=page.has_more)

    async def get(exchange: Exchange) -> None:
        Query(exchange, ())
        await reply(exchange, _json(await members.get(_project(exchange), _user(exchange))))

    async def update(exchange: Exchange) -> None:
        body = await body_of(exchange, "ProjectUserUpdateRequest")
        member = await members.update(exchange.actor, _project(exchange), _user(exchange), body.get("role"))
        await reply(exchange, _json(member))

    async def delete(exchange: Exchange) -> None:
        Query(exchange, ())
        await members.delete(exchange.actor, _project(exchange), _user(exchange))
        await reply_deleted(exchange, "organization.project.user", _user(exchange))

    return [
        Resource(_ROOT, {"GET": list_all, "POST": add}, access="admin"),
        Resource(f"{_ROOT}/{{user_id}}", {"GET": get, "POST": update, "DELETE": delete}, access="admin"),
    ]


def _project(exchange: Exchange) -> str:
    return exchange.path_param("project_id")


def _user(exchange: Exchange) -> str:
    return exchange.path_param("user_id")


def _json(member: Member) -> Json:
    """Schema `ProjectUser`."""
    return {
        "object": "organization.project.user",
        "id": member.user.id,
        "name": member.user.name,
        "email": member.user.email,
        "role": member.role,
        "added_at": member.added_at,
    }
