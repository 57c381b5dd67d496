"""/v1/responses/input_tokens and /v1/responses/compact"""

from __future__ import annotations

from antiphon.http.bodies import checked_engine_body
from antiphon.http.exchange import Exchange
from antiphon.http.resource import Resource
from antiphon.run.responses import Responses
from antiphon.wire import json as wire_json


def resources(responses: Responses) -> list[Resource]:
    """Counting and compacting a context. To be listed before `/v1/responses/{response_id}`, which matches them."""

    async def count(exchange: Exchange) -> None:
        body, unknown = await checked_engine_body(exchange, "TokenCountsBody")
        tokens = await responses.count(exchange.made_call, body, unknown)
        await exchange.reply(200, wire_json.encode({"object": "response.input_tokens", "input_tokens": tokens}))

    async def compact(exchange: Exchange) -> None:
        body, unknown = await checked_engine_body(exchange, "CompactResponseMethodPublicBody")
        await exchange.reply(200, await exchange.unless_gone(responses.compact(exchange.made_call, body, unknown)))

    return [
        Resource("/v1/responses/input_tokens", {"POST": count}),
        Resource("/v1/responses/compact", {"POST": compact}),
    ]
