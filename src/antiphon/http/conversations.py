"""/v1/conversations"""

from __future__ import annotations

from typing import Any

from antiphon.domain.records import StoredConversation
from antiphon.http.bodies import checked_body
from antiphon.http.exchange import Exchange
from antiphon.http.pages import page_body
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.http.responses import check_include
from antiphon.protocol.refusals import missing_parameter, unknown_parameter
from antiphon.run.conversations import Conversations
from antiphon.wire import json as wire_json

_ROOT = "/v1/conversations"
_ITEMS = "/v1/conversations/{conversation_id}/items"


def resources(conversations: Conversations) -> list[Resource]:
    """The paths of the Conversations API."""

    async def create(exchange: Exchange) -> None:
        Query(exchange, ())
        body = await _read_body(exchange, "CreateConversationBody")
        items, metadata = body.get("items") or [], body.get("metadata") or {}
        await _reply(exchange, await conversations.create(exchange.project_id, items, metadata))

    async def get(exchange: Exchange) -> None:
        Query(exchange, ())
        await _reply(exchange, await conversations.get(exchange.project_id, _id(exchange)))

    async def update(exchange: Exchange) -> None:
        Query(exchange, ())
        body = await _read_body(exchange, "UpdateConversationBody")
        if "metadata" not in body:
            raise missing_parameter("metadata")
        metadata = body["metadata"] or {}
        await _reply(exchange, await conversations.update(exchange.project_id, _id(exchange), metadata))

    async def delete(exchange: Exchange) -> None:
        Query(exchange, ())
        await conversations.delete(exchange.project_id, _id(exchange))
        deleted = {"id": _id(exchange), "object": "conversation.deleted", "deleted": True}
        await exchange.reply(200, wire_json.encode(deleted))

    async def add_items(exchange: Exchange) -> None:
        check_include(Query(exchange, ("include",)))
        body = await _read_body(exchange, "CreateConversationItems")
        items = await conversations.add_items(exchange.project_id, _id(exchange), body["items"])
        await exchange.reply(200, page_body([(item.id, item.body) for item in items], has_more=False))

    async def list_items(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit", "order", "include"))
        check_include(query)
        page = await conversations.list_items(
            exchange.project_id,
            _id(exchange),
            after=query.text("after"),
            limit=query.limit(),
            ascending=query.ascending("desc"),
        )
        await exchange.reply(200, page_body([(item.id, item.body) for item in page.data], has_more=page.has_more))

    async def get_item(exchange: Exchange) -> None:
        check_include(Query(exchange, ("include",)))
        item = await conversations.get_item(exchange.project_id, _id(exchange), exchange.path_param("item_id"))
        await exchange.reply(200, item.body)

    async def delete_item(exchange: Exchange) -> None:
        Query(exchange, ())
        item_id = exchange.path_param("item_id")
        await _reply(exchange, await conversations.delete_item(exchange.project_id, _id(exchange), item_id))

    return [
        Resource(_ROOT, {"POST": create}),
        Resource(f"{_ROOT}/{{conversation_id}}", {"GET": get, "POST": update, "DELETE": delete}),
        Resource(_ITEMS, {"GET": list_items, "POST": add_items}),
        Resource(f"{_ITEMS}/{{item_id}}", {"GET": get_item, "DELETE": delete_item}),
    ]


def _id(exchange: Exchange) -> str:
    return exchange.path_param("conversation_id")


async def _read_body(exchange: Exchange, schema_name: str) -> dict[str, Any]:
    """The checked body. Raises `InvalidRequest` for unknown members: no upstream will see them."""
    body, extra = await checked_body(exchange, schema_name)
    if extra:
        raise unknown_parameter(next(iter(extra)))
    return body


async def _reply(exchange: Exchange, conversation: StoredConversation) -> None:
    """Answer with a Conversation object (schema `ConversationResource`)."""
    body = b'{"id":%b,"object":"conversation","created_at":%d,"metadata":%b}' % (
        wire_json.encode(conversation.id),
        conversation.created_at,
        conversation.metadata,
    )
    await exchange.reply(200, body)
