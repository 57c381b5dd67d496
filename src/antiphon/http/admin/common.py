"""What the administration's endpoints share: bodies, lists, and how a service account's new key is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.http.bodies import checked_body
from antiphon.http.exchange import Exchange
from antiphon.http.pages import page_body
from antiphon.http.query import Query
from antiphon.policy.administration import roles
from antiphon.protocol.refusals import unknown_parameter, unsupported_parameter
from antiphon.run.organisation.service_accounts import NewKey
from antiphon.wire import json as wire_json

Json = dict[str, Any]


async def body_of(exchange: Exchange, schema_name: str, *, unsupported: Mapping[str, str] | None = None) -> Json:
    """A checked body without unknown members; nulls are left out. The query must be empty.

    `unsupported`: members that the API has and that mean nothing here, with why. Raises `InvalidRequest`, and
    `PermissionDenied` for a member that the caller's role may not set.
    """
    Query(exchange, ())
    body, extra = await checked_body(exchange, schema_name)
    if extra:
        raise unknown_parameter(next(iter(extra)))
    given = {name: value for name, value in body.items() if value is not None}
    assert exchange.administrator is not None
    roles.check_fields(exchange.administrator, exchange.method, exchange.scope["antiphon.template"], given)
    for name, why in (unsupported or {}).items():
        if name in given:
            raise unsupported_parameter(name, why)
    return given


async def reply(exchange: Exchange, body: Json) -> None:
    """Answer with an object."""
    await exchange.reply(200, wire_json.encode(body))


async def reply_page(exchange: Exchange, data: Sequence[Json], *, has_more: bool) -> None:
    """Answer with a page of objects."""
    await exchange.reply(200, page_body([(item["id"], wire_json.encode(item)) for item in data], has_more=has_more))


async def reply_deleted(exchange: Exchange, kind: str, name: str) -> None:
    """Say that an object of this kind is gone."""
    await reply(exchange, {"object": f"{kind}.deleted", "id": name, "deleted": True})


def new_key_json(made: NewKey) -> Json:
    """A service account's new key with its secret (schema `ServiceAccountApiKeyBody`)."""
    return {
        "object": "organization.project.service_account.api_key",
        "value": made.secret,
        "name": made.key.name,
        "created_at": made.key.created_at,
        "expires_at": made.key.expires_at,
        "id": made.key.id,
    }
