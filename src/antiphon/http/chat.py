"""/v1/chat/completions"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from antiphon.http.bodies import checked_body, checked_engine_body
from antiphon.http.event_stream import send_events
from antiphon.http.events import error_chunk, unnamed_events
from antiphon.http.exchange import Exchange
from antiphon.http.pages import page_body
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.policy.call import Call
from antiphon.protocol.refusals import unknown_parameter
from antiphon.protocol.unknown import Unknown
from antiphon.run.chat import Chat
from antiphon.wire import json as wire_json


def resources(chat: Chat) -> list[Resource]:
    """The paths of Chat Completions, stored completions included."""

    async def create(exchange: Exchange) -> None:
        body, unknown = await checked_engine_body(exchange, "CreateChatCompletionRequest")
        if body.get("stream"):
            await send_events(exchange, streamed(exchange.made_call, body, unknown), failed=error_chunk)
        else:
            await exchange.reply(200, await exchange.unless_gone(whole(exchange.made_call, body, unknown)))

    async def streamed(call: Call, body: dict[str, Any], unknown: Unknown) -> AsyncGenerator[bytes, None]:
        return unnamed_events((await chat.create(call, body, unknown)).events())

    async def whole(call: Call, body: dict[str, Any], unknown: Unknown) -> bytes:
        return await (await chat.create(call, body, unknown)).result()

    async def list_all(exchange: Exchange) -> None:
        query = Query(exchange, ("model", "after", "limit", "order"), maps=("metadata",))
        page = await chat.stored.page(
            exchange.project_id,
            model=query.text("model"),
            metadata=query.mapping("metadata"),
            after=query.text("after"),
            limit=query.limit(bounded=False),
            ascending=query.ascending("asc"),
        )
        items = [(completion.id, completion.body) for completion in page.data]
        await exchange.reply(200, page_body(items, has_more=page.has_more))

    async def get(exchange: Exchange) -> None:
        Query(exchange, ())
        completion = await chat.stored.get(exchange.project_id, exchange.path_param("completion_id"))
        await exchange.reply(200, completion.body)

    async def update(exchange: Exchange) -> None:
        body, extra = await checked_body(exchange, "UpdateChatCompletionRequest")
        if extra:
            raise unknown_parameter(next(iter(extra)))
        metadata = body.get("metadata") or {}
        await exchange.reply(
            200, await chat.stored.update(exchange.project_id, exchange.path_param("completion_id"), metadata)
        )

    async def delete(exchange: Exchange) -> None:
        Query(exchange, ())
        completion_id = exchange.path_param("completion_id")
        await chat.stored.delete(exchange.project_id, completion_id)
        deleted = {"object": "chat.completion.deleted", "id": completion_id, "deleted": True}
        await exchange.reply(200, wire_json.encode(deleted))

    async def messages(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit", "order"))
        page = await chat.stored.messages(
            exchange.project_id,
            exchange.path_param("completion_id"),
            after=query.text("after"),
            limit=query.limit(bounded=False),
            ascending=query.ascending("asc"),
        )
        items = [(message["id"], wire_json.encode(message)) for message in page.data]
        await exchange.reply(200, page_body(items, has_more=page.has_more))

    return [
        Resource("/v1/chat/completions", {"POST": create, "GET": list_all}),
        Resource("/v1/chat/completions/{completion_id}", {"GET": get, "POST": update, "DELETE": delete}),
        Resource("/v1/chat/completions/{completion_id}/messages", {"GET": messages}),
    ]
