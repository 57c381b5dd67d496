"""Following a background response: what is in its log, then what comes, on whatever worker it is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest, NotFound
from antiphon.domain.records import EventBatch
from antiphon.periodic import PeriodicTask
from antiphon.ports import ResponseStore
from antiphon.run.bus import Bus
from antiphon.telemetry.logs import logger

_log = logger(__name__)


async def tail(
    store: ResponseStore, bus: Bus, project_id: str, response_id: str, *, after: int
) -> AsyncGenerator[bytes, None]:
    """The events after sequence number `after` (-1: all), as they were or will be sent, until the response has ended.

    Raises `NotFound`, and `InvalidRequest` (code "event_log_expired") if events after `after` are no longer kept. Ends
    early if the server stops: the client goes on from where it was. An empty piece: nothing is wrong, but there is no
    news yet.
    """
    name = (project_id, response_id)
    while not bus.closed:
        news = bus.listen(name)
        try:
            page = await store.events(project_id, response_id, after=after, limit=limits.TAIL_PAGE)
            if page is None:
                raise NotFound(f"Response with id '{response_id}' not found.", param="response_id")
            if page.start is None or after + 1 < page.start:
                raise _expired()
            for batch in page.batches:
                if batch.first > after + 1:
                    # Forgotten while the follower was slow, or lost: to go on here would hide that.
                    raise _expired()
                yield _from(batch, after)
                after = batch.first + batch.count - 1
            if page.ended:
                return
            if len(page.batches) < limits.TAIL_PAGE:
                yield b""
                await news
        finally:
            bus.forget(name, news)


def _from(batch: EventBatch, after: int) -> bytes:
    """The payload of a batch without the events up to `after`."""
    skip = after + 1 - batch.first
    if skip <= 0:
        return batch.payload
    return b"\n\n".join(batch.payload.split(b"\n\n")[skip:])


def _expired() -> InvalidRequest:
    return InvalidRequest(
        "The events that this stream should go on from are no longer kept. Get the response without 'stream'.",
        code="event_log_expired",
        param="starting_after",
    )


class Poller:
    """Finds out what other workers have said, for those who listen here."""

    def __init__(self, store: ResponseStore, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._seen: dict[tuple[str, str], int] = {}
        self._habit = PeriodicTask(_log, self._look)

    async def start(self) -> None:
        """Begin."""
        await self._habit.start()

    async def stop(self) -> None:
        """End."""
        await self._habit.stop()

    async def _look(self) -> None:
        """One look. Cheap while nobody listens."""
        await asyncio.sleep(limits.TAIL_TICK)
        newest = await self._store.newest_events(self._bus.followed())
        for name, first in newest.items():
            if self._seen.get(name) != first:
                self._bus.publish(name)
        self._seen = newest
