"""/v1/responses"""

from __future__ import annotations

from antiphon.domain.errors import InvalidRequest
from antiphon.http.api import Resource
from antiphon.http.bodies import checked
from antiphon.http.exchange import Exchange
from antiphon.http.pages import page_body
from antiphon.http.query import Query, check_choice
from antiphon.protocol.refusals import unsupported_parameter
from antiphon.run.responses import Responses
from antiphon.wire import json as wire_json

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
        body, extra = await checked(exchange, "CreateResponse")
        run = await responses.begin(exchange.project_id, body, extra)
        if body.get("stream"):
            await exchange.stream(run.events(), named=True)
        else:
            await exchange.reply(200, await exchange.unless_gone(run.result()))

    async def get(exchange: Exchange) -> None:
        query = Query(exchange, ("include", "stream", "starting_after", "include_obfuscation"))
        _check_include(query)
        query.flag("include_obfuscation")
        if query.flag("stream"):
            raise unsupported_parameter("stream", "is only supported when a response is created")
        await exchange.reply(200, await responses.get(exchange.project_id, exchange.path_param("response_id")))

    async def delete(exchange: Exchange) -> None:
        Query(exchange, ())
        response_id = exchange.path_param("response_id")
        await responses.delete(exchange.project_id, response_id)
        # The published specification shows this object for a deleted response.
        await exchange.reply(200, wire_json.encode({"id": response_id, "object": "response", "deleted": True}))

    async def input_items(exchange: Exchange) -> None:
        query = Query(exchange, ("after", "limit", "order", "include"))
        _check_include(query)
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
        Resource("/v1/responses/{response_id}/input_items", {"GET": input_items}),
    ]


def _check_include(query: Query) -> None:
    for value in query.texts("include"):
        check_choice("include", value, _INCLUDE)
    after = query.text("starting_after")
    if after is not None and not (after.isascii() and after.isdigit()):
        raise InvalidRequest(
            "Invalid type for 'starting_after': expected an integer, but got a string instead.",
            code="invalid_type",
            param="starting_after",
        )
