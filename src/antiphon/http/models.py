"""/v1/models"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from antiphon.domain.errors import ModelNotFound
from antiphon.domain.routes import Routes
from antiphon.domain.routing import LOCAL
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.ports import Route
from antiphon.wire import json as wire_json

#: The names of this member at OpenRouter, vLLM and Groq.
_CONTEXT = ("context_length", "max_model_len", "context_window")


def context(route: Route) -> dict[str, int]:
    """How many tokens prompt and answer may have together, where that is known.

    OpenAI's API does not have it. These are the names under which clients look for it at other servers.
    """
    targets = route.spec.targets if route.spec is not None else ()
    known = [target.context_tokens for target in targets]
    if all(target.upstream == LOCAL for target in targets):
        known = [route.capabilities.context_tokens]
    # The least of them holds wherever the route goes.
    return {} if None in known else dict.fromkeys(_CONTEXT, min(filter(None, known)))


def resources(routes: Routes[Route], shutdown: Callable[[Route], date | None] = lambda route: None) -> list[Resource]:
    """The paths that list models and their aliases. `shutdown`: the day on which a route's model is shut down."""

    def model(route: Route) -> dict[str, Any]:
        day = shutdown(route)
        return {
            "id": route.name,
            "object": "model",
            "created": route.created_at,
            "owned_by": route.owner,
            "shutdown_date": None if day is None else day.isoformat(),
            **context(route),
        }

    async def list_all(exchange: Exchange) -> None:
        Query(exchange, ())
        allowed = exchange.made_call.caller.permits.model
        visible = [route for route in routes.visible(exchange.project_id) if allowed(route.name)]
        body = {"object": "list", "data": [model(route) for route in visible]}
        await exchange.reply(200, wire_json.encode(body))

    async def get(exchange: Exchange) -> None:
        Query(exchange, ())
        name = exchange.path_param("model")
        route = routes.find(name, exchange.project_id)
        if not exchange.made_call.caller.permits.model(name, route.name):
            raise ModelNotFound(name)
        await exchange.reply(200, wire_json.encode(model(route)))

    return [
        Resource("/v1/models", {"GET": list_all}),
        # Names of models may hold slashes.
        Resource("/v1/models/{model:path}", {"GET": get}),
    ]
