"""Turns events into server-sent events, in the form of each API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from antiphon.domain.errors import AntiphonError
from antiphon.protocol.events import Event, Passed
from antiphon.wire import json as wire_json
from antiphon.wire import sse


async def named_events(events: AsyncGenerator[list[Event], None]) -> AsyncGenerator[bytes, None]:
    """Events with `event:` lines, as the Responses API has them. Events that come together are sent together."""
    async with aclosing(events):
        async for batch in events:
            yield b"".join([sse.event(event.type, wire_json.encode(event.body)) for event in batch])


async def unnamed_events(events: AsyncGenerator[Sequence[Event | Passed], None]) -> AsyncGenerator[bytes, None]:
    """Events without names, as Chat Completions has them."""
    async with aclosing(events):
        async for batch in events:
            yield b"".join(
                [sse.data(event.data if isinstance(event, Passed) else wire_json.encode(event.body)) for event in batch]
            )


def error_event(error: AntiphonError) -> bytes:
    """An error as the only event of a stream, in the Responses API's form (`ResponseErrorEvent`)."""
    details = error.body()["error"]
    body = {"type": "error", "code": details["code"], "message": details["message"], "param": details["param"]}
    return sse.event("error", wire_json.encode({**body, "sequence_number": 0}))


def error_chunk(error: AntiphonError) -> bytes:
    """An error as the only event of a stream, in the form of Chat Completions."""
    return sse.data(wire_json.encode(error.body()))
