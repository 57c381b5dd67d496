"""Reads JSON bodies and checks them against the published specification."""

from __future__ import annotations

from typing import Any

from antiphon.domain.errors import InvalidRequest
from antiphon.http.exchange import Exchange
from antiphon.protocol.unknown import NOTHING, Unknown
from antiphon.wire import schema


async def checked_body(exchange: Exchange, schema_name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The body's known members, and the unknown ones at its top level.

    Raises `InvalidRequest` with the path of the first value that does not fit the schema, or of an unknown member
    further down.
    """
    body, unknown = await checked_engine_body(exchange, schema_name)
    if unknown.nested is not None:
        raise unknown.nested
    return body, dict(unknown.fields)


async def checked_engine_body(exchange: Exchange, schema_name: str) -> tuple[dict[str, Any], Unknown]:
    """The same for what an engine will see: all unknown members are returned, since an upstream may know them."""
    return await exchange.read_json(lambda value: checked_value(value, schema_name))


def checked_value(value: object, schema_name: str) -> tuple[dict[str, Any], Unknown]:
    """Check a body that is decoded already; otherwise as `checked_engine_body`."""
    result = schema.check(schema_name, value)
    if result.problem is not None:
        raise _refusal(result.problem)
    assert isinstance(value, dict)
    if not result.unknown and result.nested is None:
        return value, NOTHING
    fields = {name: value.pop(name) for name in result.unknown}
    return value, Unknown(fields, None if result.nested is None else _refusal(result.nested))


def _refusal(problem: schema.Problem) -> InvalidRequest:
    return InvalidRequest(problem.message, code=problem.code, param=problem.param)
