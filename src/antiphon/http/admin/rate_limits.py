"""/v1/organization/projects/{project_id}/rate_limits"""

from __future__ import annotations

from dataclasses import replace

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest, NotFound
from antiphon.domain.organisation import AuditEntry, changed
from antiphon.domain.rates import RateLimit
from antiphon.domain.routes import Routes
from antiphon.domain.tenancy import Project
from antiphon.http.admin.common import Json, body_of, reply, reply_page
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.ports import Route, Store

PATH = "/v1/organization/projects/{project_id}/rate_limits"
#: What is limited here, and the member of OpenAI's object that says so.
_MEMBERS = {"rpm": "max_requests_per_1_minute", "tpm": "max_tokens_per_1_minute", "rpd": "max_requests_per_1_day"}
#: What else that object can limit.
_UNLIMITED = dict.fromkeys(
    ("max_images_per_1_minute", "max_audio_megabytes_per_1_minute", "batch_1_day_max_input_tokens"),
    "is not limited by this server",
)
_PREFIX = "rl-"
#: Published specification, list-project-rate-limits.
_DEFAULT_PAGE = 100


def resources(store: Store, routes: Routes[Route]) -> list[Resource]:
    """The paths for the limits of a project, one for each model that it may ask for."""

    async def list_all(exchange: Exchange) -> None:
        query = Query(exchange, ("limit", "after", "before"))
        project = await _project(store, exchange)
        found = {limit.model: limit for limit in await store.list_rate_limits("project", project.id)}
        models = [route.name for route in routes.visible(project.id)]
        shown, more = _page(models, query)
        await reply_page(exchange, [_body(_of(project, name, found)) for name in shown], has_more=more)

    async def update(exchange: Exchange) -> None:
        body = await body_of(exchange, "ProjectRateLimitUpdateRequest", unsupported=_UNLIMITED)
        project = await _project(store, exchange)
        name = _model(exchange, routes, project)
        found = {limit.model: limit for limit in await store.list_rate_limits("project", project.id)}
        old = _of(project, name, found)
        new = replace(old, **_changes(body))
        if new != old:
            before, after = changed(_body(old), _body(new))
            entry = AuditEntry("rate_limit.updated", exchange.actor, _PREFIX + name, project.id, before, after)
            await store.put_rate_limit(new, entry)
        await reply(exchange, _body(new))

    return [
        Resource(PATH, {"GET": list_all}, access="admin"),
        # Names of models may hold slashes.
        Resource(PATH + "/{rate_limit_id:path}", {"POST": update}, access="admin"),
    ]


async def _project(store: Store, exchange: Exchange) -> Project:
    """The project of the path, by its id alone. Raises `NotFound`."""
    project_id = exchange.path_param("project_id")
    project = await store.get_project(project_id)
    if project is None or project.id != project_id:
        raise NotFound(f"The project '{project_id}' was not found.", param="project_id")
    return project


def _model(exchange: Exchange, routes: Routes[Route], project: Project) -> str:
    """The model whose limits the path names. Raises `NotFound`."""
    rate_limit_id = exchange.path_param("rate_limit_id")
    for route in routes.visible(project.id):
        if _PREFIX + route.name == rate_limit_id:
            return route.name
    raise NotFound(f"The rate limit '{rate_limit_id}' was not found.", param="rate_limit_id")


def _of(project: Project, model: str, found: dict[str, RateLimit]) -> RateLimit:
    return found.get(model) or RateLimit("project", project.id, model)


def _body(limit: RateLimit) -> Json:
    """The object (schema `ProjectRateLimit`): as it must name two numbers, the highest one stands for no limit."""
    body: Json = {"object": "project.rate_limit", "id": _PREFIX + limit.model, "model": limit.model}
    for field, member in _MEMBERS.items():
        value = getattr(limit, field)
        if value is not None or member != _MEMBERS["rpd"]:
            body[member] = limits.MAX_RATE if value is None else value
    return body


def _changes(body: Json) -> Json:
    """What to change. Raises `InvalidRequest` for numbers that are no limits."""
    changes: Json = {}
    for field, member in _MEMBERS.items():
        value = body.get(member)
        if value is not None:
            if value < 1:
                raise InvalidRequest(
                    f"Invalid '{member}': integer below minimum value. Expected a value >= 1, but got {value} instead.",
                    code="integer_below_min_value",
                    param=member,
                )
            changes[field] = None if value >= limits.MAX_RATE else int(value)
    return changes


def _page(names: list[str], query: Query) -> tuple[list[str], bool]:
    """The names of a page, and whether there are more in its direction."""
    size = query.limit() if query.text("limit") is not None else _DEFAULT_PAGE
    after, before = query.text("after"), query.text("before")
    begin = 0 if after is None else _place(names, after, "after") + 1
    end = len(names) if before is None else _place(names, before, "before")
    if before is not None and after is None:
        return names[max(0, end - size) : end], end > size
    return names[begin : min(begin + size, max(begin, end))], begin + size < end


def _place(names: list[str], rate_limit_id: str, param: str) -> int:
    try:
        return names.index(rate_limit_id.removeprefix(_PREFIX))
    except ValueError:
        raise NotFound(f"The rate limit '{rate_limit_id}' was not found.", param=param) from None
