"""Responses that clients listen to while they are made: known here, and ended if nobody makes them any more.

Such a response is stored as unfinished from its first event on. Its server may die, or its client hang up while the
database takes no end. Nobody can resume it, so it has failed.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from antiphon.domain import limits
from antiphon.domain.errors import LeaseLost
from antiphon.domain.records import StoredResponse
from antiphon.jobs.presence import Presence
from antiphon.jobs.sweeps import Sweep
from antiphon.ports import ResponseStore
from antiphon.run.bus import Bus
from antiphon.run.logs import CUT_OFF, end_as_failed


class Foreground:
    """The responses that this server makes for clients that listen."""

    def __init__(self, store: ResponseStore, presence: Presence, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._presence = presence
        self._under_way: Counter[tuple[str, str]] = Counter()

    @contextlib.contextmanager
    def under_way(self, project_id: str, response_id: str) -> Iterator[None]:
        """For as long as this response is made here."""
        name = (project_id, response_id)
        self._under_way[name] += 1
        try:
            yield
        finally:
            self._under_way[name] -= 1
            if not self._under_way[name]:
                del self._under_way[name]

    def sweeps(self) -> list[Sweep]:
        """As the registry takes them. Servers die at any time; ends that could not be stored have time."""
        return [
            Sweep("interrupted_responses", limits.CLAIM_TICK, self.end_interrupted),
            Sweep("unended_responses", limits.LEASE, self.end_own),
        ]

    async def end_interrupted(self) -> None:
        """End those of servers that have died."""
        await self._presence.confirm()
        worker = self._presence.worker
        for response in await self._store.interrupted_responses(limit=limits.SWEEP_STEP):
            name = (response.project_id, response.id)
            # One of ours, if others have taken this server for dead.
            if name not in self._under_way and await self._store.adopt_response(response, worker):
                await self._end(replace(response, owner=worker))

    async def end_own(self) -> None:
        """End those of this server that are over and whose end could not be stored."""
        worker = self._presence.worker
        before = set(self._under_way)
        for name in await self._store.held_responses(worker):
            if name in before or name in self._under_way:
                continue
            response = await self._store.get_response(*name)
            if response is not None and response.owner == worker and not response.ended:
                await self._end(response)

    async def _end(self, response: StoredResponse) -> None:
        with contextlib.suppress(LeaseLost):  # it was deleted, or another server was quicker
            await end_as_failed(self._store, self._bus, response, f"{CUT_OFF}.")
