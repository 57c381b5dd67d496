"""What every answer has in common: its headers, its content types, its request id."""

from __future__ import annotations

from antiphon.domain.ids import random_hex

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"


def new_request_id() -> str:
    """An id for `x-request-id`."""
    return f"req_{random_hex(32)}"


def answer_headers(request_id: str, milliseconds: int) -> list[tuple[bytes, bytes]]:
    """The headers that every answer has. `milliseconds`: since the request's head had arrived."""
    return [
        (b"x-request-id", request_id.encode()),
        (b"openai-processing-ms", str(milliseconds).encode()),
        (b"openai-version", b"2020-10-01"),
    ]
