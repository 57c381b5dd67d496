"""/v1/organization/projects/{project_id}/service_accounts"""

from __future__ import annotations

from antiphon.domain.organisation import ServiceAccount
from antiphon.http.admin.common import Json, body_of, new_key_json, reply, reply_deleted, reply_page
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.run.organisation.service_accounts import ServiceAccounts

_ROOT = "/v1/organization/projects/{project_id}/service_accounts"
_ONE = f"{_ROOT}/{{service_account_id}}"


def resources(accounts: ServiceAccounts) -> list[Resource]:
    """The paths of service accounts."""

    async def create(exchange: Exchange) -> None:
        body = await body_of(exchange, "ProjectServiceAccountCreateRequest")
        account, made = await accounts.create(
            exchange.actor,
            _project(exchange),
            body["name"],
            alone=body.get("create_service_account_only", False),
            life=body.get("expires_in_seconds"),
        )
        await reply(exchange, {**_json(account), "api_key": None if made is None else new_key_json(made)})

    async def list_all(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit"))
        page = await accounts.page(_project(exchange), after=query.text("after"), limit=query.limit())
        await reply_page(exchange, [_json(account) for account in page.data], has_more=page.has_more)

    async def get(exchange: Exchange) -> None:
        Query(exchange, ())
        await reply(exchange, _json(await accounts.get(_project(exchange), _id(exchange))))

    async def update(exchange: Exchange) -> None:
        body = await body_of(exchange, "UpdateProjectServiceAccountBody")
        account = await accounts.update(
            exchange.actor, _project(exchange), _id(exchange), name=body.get("name"), role=body.get("role")
        )
        await reply(exchange, _json(account))

    async def delete(exchange: Exchange) -> None:
        Query(exchange, ())
        await accounts.delete(exchange.actor, _project(exchange), _id(exchange))
        await reply_deleted(exchange, "organization.project.service_account", _id(exchange))

    async def create_key(exchange: Exchange) -> None:
        body = await body_of(exchange, "CreateProjectServiceAccountApiKeyBody")
        made = await accounts.create_key(
            exchange.actor,
            _project(exchange),
            _id(exchange),
            name=body.get("name"),
            life=body.get("expires_in_seconds"),
            scopes=body.get("scopes", ()),
        )
        await reply(exchange, new_key_json(made))

    return [
        Resource(_ROOT, {"GET": list_all, "POST": create}, access="admin"),
        Resource(_ONE, {"GET": get, "POST": update, "DELETE": delete}, access="admin"),
        Resource(f"{_ONE}/api_keys", {"POST": create_key}, access="admin"),
    ]


def _project(exchange: Exchange) -> str:
    return exchange.path_param("project_id")


def _id(exchange: Exchange) -> str:
    return exchange.path_param("service_account_id")


def _json(account: ServiceAccount) -> Json:
    """Schema `ProjectServiceAccount`."""
    return {
        "object": "organization.project.service_account",
        "id": account.id,
        "name": account.name,
        "role": account.role,
        "created_at": account.created_at,
    }
