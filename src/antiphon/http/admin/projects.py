"""/v1/organization/projects"""

from __future__ import annotations

from antiphon.domain.tenancy import Project
from antiphon.http.admin.common import Json, body_of, reply, reply_page
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.protocol.refusals import missing_parameter
from antiphon.run.organisation.projects import Projects

_ROOT = "/v1/organization/projects"
_UNSUPPORTED = {
    "residency": "says where OpenAI keeps data; here it is where the server is",
    "geography": "says where OpenAI keeps data; here it is where the server is",
    "external_key_id": "is for keys that OpenAI encrypts with",
}


def resources(projects: Projects) -> list[Resource]:
    """The paths of projects."""

    async def create(exchange: Exchange) -> None:
        body = await body_of(exchange, "ProjectCreateRequest", unsupported=_UNSUPPORTED)
        await reply(exchange, _json(await projects.create(exchange.actor, body["name"])))

    async def list_all(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit", "include_archived"))
        page = await projects.page(
            after=query.text("after"), limit=query.limit(), archived=query.flag("include_archived")
        )
        await reply_page(exchange, [_json(project) for project in page.data], has_more=page.has_more)

    async def get(exchange: Exchange) -> None:
        Query(exchange, ())
        await reply(exchange, _json(await projects.get(_id(exchange))))

    async def update(exchange: Exchange) -> None:
        body = await body_of(exchange, "ProjectUpdateRequest", unsupported=_UNSUPPORTED)
        if "name" not in body:
            raise missing_parameter("name")
        await reply(exchange, _json(await projects.rename(exchange.actor, _id(exchange), body["name"])))

    async def archive(exchange: Exchange) -> None:
        Query(exchange, ())
        await reply(exchange, _json(await projects.archive(exchange.actor, _id(exchange))))

    return [
        Resource(_ROOT, {"GET": list_all, "POST": create}, access="admin"),
        Resource(f"{_ROOT}/{{project_id}}", {"GET": get, "POST": update}, access="admin"),
        Resource(f"{_ROOT}/{{project_id}}/archive", {"POST": archive}, access="admin"),
    ]


def _id(exchange: Exchange) -> str:
    return exchange.path_param("project_id")


def _json(project: Project) -> Json:
    """Schema `Project`."""
    return {
        "object": "organization.project",
        "id": project.id,
        "name": project.name,
        "created_at": project.created_at,
        "archived_at": project.archived_at,
        "status": "active" if project.archived_at is None else "archived",
    }
