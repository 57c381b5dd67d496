"""The event log of a response: read whole, and ended where it cannot be gone on with."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import StoreFailed
from antiphon.domain.records import EventBatch, StoredItem, StoredResponse
from antiphon.ports import ResponseStore
from antiphon.protocol.responses import request as requests
from antiphon.run.bus import Bus
from antiphon.wire import json as wire_json
from antiphon.wire import sse

CUT_OFF = "The server was stopped while this response was being made"
#: As `ResponseStore.advance_response` takes it.
Ending = tuple[StoredResponse, tuple[StoredItem, ...], EventBatch | None]


async def whole_log(store: ResponseStore, project_id: str, response_id: str) -> AsyncGenerator[EventBatch, None]:
    """All batches that are kept, a page at a time."""
    after = -1
    while True:
        page = await store.events(project_id, response_id, after=after, limit=limits.TAIL_PAGE)
        if page is None:
            return
        for batch in page.batches:
            yield batch
        if len(page.batches) < limits.TAIL_PAGE:
            return
        after = page.batches[-1].first + page.batches[-1].count - 1


async def failed(store: ResponseStore, response: StoredResponse, message: str) -> Ending:
    """How a response is stored that has failed without its machine: its last event included, where it has a log.

    Whatever is stored of it may be unreadable.
    """
    error = {"code": "server_error", "message": message}
    body = _readable(response) | {"status": "failed", "error": error}
    ended = replace(response, status="failed", body=msgspec.json.encode(body))
    number = await _next_event(store, response) if response.background else None
    if number is None:
        return ended, (), None
    event = wire_json.encode({"type": "response.failed", "sequence_number": number, "response": body})
    return ended, (), EventBatch(number, 1, sse.event("response.failed", event))


async def end_as_failed(
    store: ResponseStore, bus: Bus, response: StoredResponse, message: str, *, dead: bool = False
) -> None:
    """End a response that cannot be gone on with, and tell whoever follows it.

    `dead`: the job that makes it stays as a dead letter. Raises `LeaseLost`.
    """
    record, items, events = await failed(store, response, message)
    await store.advance_response(record, items, events, dead=message if dead else None)
    bus.publish((response.project_id, response.id))


async def _next_event(store: ResponseStore, response: StoredResponse) -> int | None:
    """The number that the next event of a log has; None if there is no log."""
    name = (response.project_id, response.id)
    newest = (await store.newest_events([name])).get(name)
    if newest is None:
        return None
    page = await store.events(*name, after=newest - 1, limit=limits.TAIL_PAGE)
    if page is None or not page.batches:
        raise StoreFailed("The log of a response has changed while it was read.")
    return page.batches[-1].first + page.batches[-1].count


def _readable(response: StoredResponse) -> dict[str, Any]:
    """The response's own object; where that cannot be read, the least that one must have."""
    try:
        body = msgspec.json.decode(response.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = {}
    if body.get("id") == response.id:
        return body
    # As any request for this model would have begun.
    request = requests.parse({"model": response.model, "input": [], "background": response.background}, {})
    return requests.new_response(request, response.model, response.created_at) | {"id": response.id}
