"""Decodes JSON that clients send; large documents in a thread, so that the event loop stays free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.wire import json as wire_json
from antiphon.wire.large import decode_large

T = TypeVar("T")


async def decode_json(body: bytes, convert: Callable[[object], T]) -> T:
    """Decode a JSON document that a client sent, and return what `convert` makes of its value.

    Both run in a thread for large documents. Raises `InvalidRequest` (code "invalid_json"), and what `convert` raises.
    """
    return await run_off_loop(len(body), lambda: convert(_decode(body)))


async def run_off_loop(size: int, work: Callable[[], T]) -> T:
    """Do work that takes time in proportion to `size` bytes: in a thread if there are more than `LARGE_BODY`."""
    return work() if size <= limits.LARGE_BODY else await asyncio.to_thread(work)


def _decode(body: bytes) -> object:
    decode = decode_large if len(body) > limits.MIB else wire_json.decode
    try:
        return decode(body, max_depth=limits.MAX_JSON_DEPTH, max_values=limits.MAX_JSON_VALUES)
    except wire_json.MalformedJSON as error:
        raise InvalidRequest(
            f"We could not parse the JSON body of your request: {error.message}", code="invalid_json"
        ) from None


def unchanged(value: object) -> object:
    """The `convert` of a document that is only decoded."""
    return value


def object_body(value: object) -> dict[str, Any]:
    """A decoded body that must be a JSON object. Raises `InvalidRequest` otherwise."""
    if not isinstance(value, dict):
        raise InvalidRequest("The request's body must be a JSON object.", code="invalid_type")
    return value
