"""/v1/responses"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any

from antiphon.domain.errors import InvalidRequest
from antiphon.http.bodies import checked_engine_body
from antiphon.http.event_stream import send_events
from antiphon.http.events import named_events
from antiphon.http.exchange import Exchange
from antiphon.http.pages import page_body
from antiphon.http.query import Query, check_choice
from antiphon.http.resource import Resource
from antiphon.policy.call import Call
from antiphon.protocol.unknown import Unknown
from antiphon.run.responses import Responses
from antiphon.wire import json as wire_json
from antiphon.wire import sse

#: Values of `include` (published specification, `IncludeEnum`).
_INCLUDE = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)


def resources(responses: Responses) -> list[Resource]:
    """The paths of the Responses API."""

    async def create(exchange: Exchange) -> None:
        body, unknown = await checked_engine_body(exchange, "CreateResponse")
        if body.get("background"):
            await create_background(exchange, body, unknown)
            return
        if body.get("stream"):
            await send_events(exchange, _streamed(responses, exchange.made_call, body, unknown))
        else:
            await exchange.reply(200, await exchange.unless_gone(_whole(responses, exchange.made_call, body, unknown)))

    async def create_background(exchange: Exchange, body: dict[str, Any], unknown: Unknown) -> None:
        accepted = await responses.begin_background(exchange.made_call, body, unknown)
        if body.get("stream"):
            await exchange.record_as_stream_of(accepted.id)
            await send_events(exchange, responses.follow(exchange.project_id, accepted.id, after=-1))
        else:
            await exchange.reply(200, accepted.body)

    async def get(exchange: Exchange) -> None:
        query = Query(exchange, ("include", "stream", "starting_after", "include_obfuscation"))
        check_include(query)
        padded = query.choice("include_obfuscation", ("true", "false"), "true") == "true"
        after = _starting_after(query)
        response_id = exchange.path_param("response_id")
        if not query.flag("stream"):
            await exchange.reply(200, await responses.get(exchange.project_id, response_id))
            return
        events = responses.follow(exchange.project_id, response_id, after=after)
        await send_events(exchange, shown(events, padded=padded))

    async def cancel(exchange: Exchange) -> None:
        Query(exchange, ())
        await exchange.reply(200, await responses.cancel(exchange.project_id, exchange.path_param("response_id")))

    async def delete(exchange: Exchange) -> None:
        Query(exchange, ())
        response_id = exchange.path_param("response_id")
        await responses.delete(exchange.project_id, response_id)
        # The published specification shows this object for a deleted response.
        await exchange.reply(200, wire_json.encode({"id": response_id, "object": "response", "deleted": True}))

    async def input_items(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit", "order", "include"))
        check_include(query)
        page = await responses.input_items(
            exchange.project_id,
            exchange.path_param("response_id"),
            after=query.text("after"),
            limit=query.limit(),
            ascending=query.ascending("desc"),
        )
        await exchange.reply(200, page_body([(item.id, item.body) for item in page.data], has_more=page.has_more))

    return [
        Resource("/v1/responses", {"POST": create}),
        Resource("/v1/responses/{response_id}", {"GET": get, "DELETE": delete}),
        Resource("/v1/responses/{response_id}/cancel", {"POST": cancel}),
        Resource("/v1/responses/{response_id}/input_items", {"GET": input_items}),
    ]


async def _streamed(
    responses: Responses, call: Call, body: dict[str, Any], unknown: Unknown
) -> AsyncGenerator[bytes, None]:
    return named_events((await responses.begin(call, body, unknown)).events())


async def _whole(responses: Responses, call: Call, body: dict[str, Any], unknown: Unknown) -> bytes:
    return await (await responses.begin(call, body, unknown)).result()


def check_include(query: Query) -> None:
    """Raise `InvalidRequest` for a value of `include` that the published API does not have."""
    for value in query.texts("include"):
        check_choice("include", value, _INCLUDE)


def _starting_after(query: Query) -> int:
    """The sequence number after which a stream goes on; -1 is before the first."""
    after = query.text("starting_after")
    if after is None:
        return -1
    if not (after.isascii() and after.isdigit() and len(after) < 16):
        raise InvalidRequest(
            "Invalid type for 'starting_after': expected an integer, but got a string instead.",
            code="invalid_type",
            param="starting_after",
        )
    return int(after)


async def shown(opening: Awaitable[AsyncGenerator[bytes, None]], *, padded: bool) -> AsyncGenerator[bytes, None]:
    """Stored events, with or without their `obfuscation`."""
    events = await opening
    return events if padded else _without_padding(events)


async def _without_padding(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    parser = sse.SSEParser()
    async with aclosing(chunks):
        async for chunk in chunks:
            plain = []
            for event in parser.feed(chunk):
                body = wire_json.decode(event.data)
                assert isinstance(body, dict)
                body.pop("obfuscation", None)
                plain.append(sse.event(event.event, wire_json.encode(body)))
            yield b"".join(plain)
