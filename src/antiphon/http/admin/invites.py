"""/v1/organization/invites"""

from __future__ import annotations

import time

from antiphon.domain.organisation import Invite
from antiphon.http.admin.common import Json, body_of, reply, reply_deleted, reply_page
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.run.organisation.invites import Invites

_ROOT = "/v1/organization/invites"


def resources(invites: Invites) -> list[Resource]:
    """The paths of invites."""

    async def create(exchange: Exchange) -> None:
        body = await body_of(exchange, "InviteRequest")
        projects = body.get("projects")
        places = None if projects is None else [(place["id"], place["role"]) for place in projects]
        await reply(exchange, _json(await invites.create(exchange.actor, body["email"], body["role"], places)))

    async def list_all(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit"))
        page = await invites.page(after=query.text("after"), limit=query.limit())
        await reply_page(exchange, [_json(invite) for invite in page.data], has_more=page.has_more)

    async def get(exchange: Exchange) -> None:
        Query(exchange, ())
        await reply(exchange, _json(await invites.get(exchange.path_param("invite_id"))))

    async def delete(exchange: Exchange) -> None:
        Query(exchange, ())
        invite_id = exchange.path_param("invite_id")
        await invites.delete(exchange.actor, invite_id)
        await reply_deleted(exchange, "organization.invite", invite_id)

    return [
        Resource(_ROOT, {"GET": list_all, "POST": create}, access="admin"),
        Resource(f"{_ROOT}/{{invite_id}}", {"GET": get, "DELETE": delete}, access="admin"),
    ]


def _json(invite: Invite) -> Json:
    """Schema `Invite`."""
    return {
        "object": "organization.invite",
        "id": invite.id,
        "email": invite.email,
        "role": invite.role,
        "status": invite.status(time.time()),
        "created_at": invite.created_at,
        "expires_at": invite.expires_at,
        "accepted_at": invite.accepted_at,
        "projects": [{"id": project_id, "role": role} for project_id, role in invite.projects],
    }
