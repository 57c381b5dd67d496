"""A response that takes long for certain, so that something can happen to it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from openai import OpenAI
from openai.types.responses import ResponseStreamEvent

from antiphon.domain import limits
from antiphon.domain.records import UNFINISHED

#: The schema is enforced: however small the model, it cannot stop before it has said this often enough.
LONG: dict[str, Any] = {
    "model": "gpt-5-mini",
    "input": "Go on and on.",
    "text": {
        "format": {
            "type": "json_schema",
            "name": "long",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {
                    "said": {"type": "array", "items": {"enum": ["more"]}, "minItems": 400, "maxItems": 400}
                },
                "required": ["said"],
                "additionalProperties": False,
            },
        }
    },
}


class Begun:
    """A stream whose first text has come."""

    def __init__(self, events: Iterator[ResponseStreamEvent]) -> None:
        self._events = events
        self.response_id = ""
        for event in events:
            if event.type == "response.created":
                self.response_id = event.response.id
            if event.type == "response.output_text.delta":
                return

    def ending(self) -> str:
        """The last event's type."""
        return [event.type for event in self._events][-1]


@contextlib.contextmanager
def begin(client: OpenAI, **ask: Any) -> Iterator[Begun]:
    """Stream a response until its first text."""
    with client.responses.create(**ask, stream=True) as stream:
        yield Begun(iter(stream))


def ends_as(client: OpenAI, response_id: str, status: str) -> None:
    """Check how a stored response has ended, or ends once the lease of a server that died is over."""
    deadline = time.monotonic() + limits.LEASE + 10
    while (response := client.responses.retrieve(response_id)).status in UNFINISHED:
        assert time.monotonic() < deadline, response.status
        time.sleep(0.1)
    assert response.status == status
    assert (response.error is not None) == (status == "failed")
