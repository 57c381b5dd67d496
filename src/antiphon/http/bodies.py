"""Request bodies, checked against the published specification before anything looks at them."""

from __future__ import annotations

from typing import Any

from antiphon.domain.errors import InvalidRequest
from antiphon.http.exchange import Exchange
from antiphon.wire import schema


async def checked(exchange: Exchange, schema_name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The body's known members and the unknown ones.

    Raises `InvalidRequest` with the path of the first thing that does not fit the schema. Unknown members of the top
    level are given back: an upstream may know them.
    """
    return await exchange.read_json(lambda value: checked_value(value, schema_name))


def checked_value(value: object, schema_name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same of a decoded body."""
    result = schema.check(schema_name, value)
    if result.problem is not None:
        problem = result.problem
        raise InvalidRequest(problem.message, code=problem.code, param=problem.param)
    assert isinstance(value, dict)
    if not result.unknown:
        return value, {}
    extra = {name: value.pop(name) for name in result.unknown}
    return value, extra
