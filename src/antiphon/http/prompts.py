"""/v1/prompts: our own endpoints; OpenAI's prompts could only be made in its dashboard."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.domain.errors import InvalidRequest
from antiphon.domain.records import StoredPrompt, StoredPromptVersion
from antiphon.http.decoding import object_body, unchanged
from antiphon.http.exchange import Exchange
from antiphon.http.pages import page_body
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.protocol.refusals import missing_parameter, unknown_parameter
from antiphon.run.prompts import Prompts
from antiphon.wire import json as wire_json


def resources(prompts: Prompts) -> list[Resource]:
    """The paths of prompts."""

    async def create(exchange: Exchange) -> None:
        Query(exchange, ())
        prompt = await prompts.create(exchange.project_id, await exchange.read_json(unchanged))
        await exchange.reply(200, _prompt(prompt))

    async def list_all(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit", "order"))
        page = await prompts.page(
            exchange.project_id, after=query.text("after"), limit=query.limit(), ascending=query.ascending("desc")
        )
        await exchange.reply(
            200, page_body([(prompt.id, _prompt(prompt)) for prompt in page.data], has_more=page.has_more)
        )

    async def get(exchange: Exchange) -> None:
        Query(exchange, ())
        await exchange.reply(200, _prompt(await prompts.get(exchange.project_id, _prompt_id(exchange))))

    async def update(exchange: Exchange) -> None:
        Query(exchange, ())
        name = _only_name(await exchange.read_json(object_body))
        await exchange.reply(200, _prompt(await prompts.rename(exchange.project_id, _prompt_id(exchange), name)))

    async def delete(exchange: Exchange) -> None:
        Query(exchange, ())
        prompt_id = _prompt_id(exchange)
        await prompts.delete(exchange.project_id, prompt_id)
        await exchange.reply(200, wire_json.encode({"id": prompt_id, "object": "prompt.deleted", "deleted": True}))

    async def add_version(exchange: Exchange) -> None:
        Query(exchange, ())
        version = await prompts.add_version(
            exchange.project_id, _prompt_id(exchange), await exchange.read_json(unchanged)
        )
        await exchange.reply(200, _version(version))

    async def list_versions(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit", "order"))
        page = await prompts.versions(
            exchange.project_id,
            _prompt_id(exchange),
            after=query.text("after"),
            limit=query.limit(),
            ascending=query.ascending("desc"),
        )
        items = [(str(version.version), _version(version)) for version in page.data]
        await exchange.reply(200, page_body(items, has_more=page.has_more))

    async def get_version(exchange: Exchange) -> None:
        Query(exchange, ())
        number = exchange.path_param("version")
        await exchange.reply(
            200, _version(await prompts.get_version(exchange.project_id, _prompt_id(exchange), number))
        )

    async def publish(exchange: Exchange) -> None:
        Query(exchange, ())
        number = exchange.path_param("version")
        await exchange.reply(200, _prompt(await prompts.publish(exchange.project_id, _prompt_id(exchange), number)))

    return [
        Resource("/v1/prompts", {"POST": create, "GET": list_all}),
        Resource("/v1/prompts/{prompt_id}", {"GET": get, "POST": update, "DELETE": delete}),
        Resource("/v1/prompts/{prompt_id}/versions", {"POST": add_version, "GET": list_versions}),
        Resource("/v1/prompts/{prompt_id}/versions/{version}", {"GET": get_version}),
        Resource("/v1/prompts/{prompt_id}/versions/{version}/publish", {"POST": publish}),
    ]


def _prompt_id(exchange: Exchange) -> str:
    return exchange.path_param("prompt_id")


def _only_name(body: dict[str, Any]) -> str:
    for member, value in body.items():
        if member != "name" and value is not None:
            raise unknown_parameter(member[:100])
    name = body.get("name")
    if name is None:
        raise missing_parameter("name")
    if not isinstance(name, str):
        raise InvalidRequest("Invalid type for 'name': expected a string.", code="invalid_type", param="name")
    return name


def _prompt(prompt: StoredPrompt) -> bytes:
    """A prompt as clients see it."""
    return wire_json.encode(
        {
            "id": prompt.id,
            "object": "prompt",
            "created_at": prompt.created_at,
            "name": prompt.name,
            "published_version": None if prompt.published is None else str(prompt.published),
            "latest_version": str(prompt.latest),
        }
    )


def _version(version: StoredPromptVersion) -> bytes:
    """A version as clients see it."""
    head = {
        "object": "prompt.version",
        "prompt_id": version.prompt_id,
        "version": str(version.version),
        "created_at": version.created_at,
    }
    return wire_json.encode({**head, **msgspec.json.decode(version.body)})
