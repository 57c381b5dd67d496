"""What was said in a chain of responses before the one that goes on from it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.domain.records import UNFINISHED, StoredItem
from antiphon.ports import ResponseStore
from antiphon.protocol.refusals import previous_not_found
from antiphon.protocol.responses import items as item_rules

Json = dict[str, Any]


class History:
    """Reads chains, and remembers the items of their responses: those of one that has ended never change.

    Which responses a chain has is always asked of the database, so one that was deleted is gone at once. The items that
    are given out are shared: nobody may change them.
    """

    def __init__(self, store: ResponseStore, *, most: int = limits.HISTORY_CACHE) -> None:
        self._store = store
        self._most = most
        self._known: OrderedDict[tuple[str, str], tuple[list[Json], int]] = OrderedDict()
        self._bytes = 0

    async def before(self, project_id: str, previous_id: str) -> list[Json]:
        """The items of a chain up to and with `previous_id`, oldest first.

        Raises `InvalidRequest` (code "previous_response_not_found") for an id this project does not have, and (code
        "previous_response_not_completed") for one that is still being made.
        """
        chain = await self._store.chain(project_id, previous_id, limit=limits.MAX_CHAIN)
        if not chain:
            raise previous_not_found(previous_id)
        if chain[-1][1] in UNFINISHED:
            raise InvalidRequest(
                f"Previous response with id '{previous_id}' is not finished yet.",
                code="previous_response_not_completed",
                param="previous_response_id",
            )
        ids = [response_id for response_id, _ in chain]
        unknown = [response_id for response_id in ids if (project_id, response_id) not in self._known]
        fresh = await self._store.items_of(project_id, unknown) if unknown else {}
        read = {response_id: _decoded(items) for response_id, items in fresh.items()}
        said = []
        for response_id in ids:
            said += read[response_id] if response_id in read else self._recall(project_id, response_id)
        for response_id, status in chain:
            if response_id in read and status not in UNFINISHED:
                self._remember(project_id, response_id, read[response_id], fresh[response_id])
        return item_rules.whole(said)

    def _recall(self, project_id: str, response_id: str) -> list[Json]:
        """The items of a response; none if it never had any."""
        known = self._known.get((project_id, response_id))
        if known is None:
            return []
        self._known.move_to_end((project_id, response_id))
        return known[0]

    def _remember(self, project_id: str, response_id: str, items: list[Json], stored: list[StoredItem]) -> None:
        if (project_id, response_id) in self._known:  # another request was faster
            return
        size = sum(len(item.body) for item in stored) + limits.KIB
        self._known[project_id, response_id] = (items, size)
        self._bytes += size
        while self._bytes > self._most:
            _, (_, freed) = self._known.popitem(last=False)
            self._bytes -= freed


def _decoded(items: list[StoredItem]) -> list[Json]:
    return [msgspec.json.decode(item.body) for item in items]
