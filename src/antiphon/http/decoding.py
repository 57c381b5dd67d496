"""JSON that clients send, decoded without making others wait."""

from __future__ import annotations

import asyncio
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.wire import json as wire_json


async def decoded(body: bytes) -> object:
    """The value of a JSON document that a client sent. Raises `InvalidRequest` (code "invalid_json")."""
    try:
        # Large bodies are decoded beside the event loop, so that others need not wait for them.
        if len(body) > limits.MIB:
            return await asyncio.to_thread(
                wire_json.decode, body, max_depth=limits.MAX_JSON_DEPTH, max_values=limits.MAX_JSON_VALUES
            )
        return wire_json.decode(body, max_depth=limits.MAX_JSON_DEPTH, max_values=limits.MAX_JSON_VALUES)
    except wire_json.MalformedJSON as error:
        raise InvalidRequest(
            f"We could not parse the JSON body of your request: {error.message}", code="invalid_json"
        ) from None


def object_body(value: object) -> dict[str, Any]:
    """A decoded body that must be a JSON object. Raises `InvalidRequest` otherwise."""
    if not isinstance(value, dict):
        raise InvalidRequest("The request's body must be a JSON object.", code="invalid_type")
    return value
