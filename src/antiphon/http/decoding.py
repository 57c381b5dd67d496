"""JSON that clients send, decoded without making others wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.wire import json as wire_json
from antiphon.wire.large import decode_large

T = TypeVar("T")


async def decoded(body: bytes, then: Callable[[object], T]) -> T:
    """What `then` makes of the value of a JSON document that a client sent.

    Both are done beside the event loop for large documents, so that others need not wait. Raises `InvalidRequest` (code
    "invalid_json"), and what `then` raises.
    """
    return await beside(len(body), lambda: then(_decoded(body)))


async def beside(size: int, work: Callable[[], T]) -> T:
    """Do what takes time in proportion to so many bytes: beside the event loop, if they are many."""
    return work() if size <= limits.LARGE_BODY else await asyncio.to_thread(work)


def _decoded(body: bytes) -> object:
    decode = decode_large if len(body) > limits.MIB else wire_json.decode
    try:
        return decode(body, max_depth=limits.MAX_JSON_DEPTH, max_values=limits.MAX_JSON_VALUES)
    except wire_json.MalformedJSON as error:
        raise InvalidRequest(
            f"We could not parse the JSON body of your request: {error.message}", code="invalid_json"
        ) from None


def as_it_is(value: object) -> object:
    """Of a document that is only decoded."""
    return value


def object_body(value: object) -> dict[str, Any]:
    """A decoded body that must be a JSON object. Raises `InvalidRequest` otherwise."""
    if not isinstance(value, dict):
        raise InvalidRequest("The request's body must be a JSON object.", code="invalid_type")
    return value
