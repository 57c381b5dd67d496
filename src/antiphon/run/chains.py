"""What a connection remembers of its responses, so that `store: false` can be gone on from without being stored."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.protocol.refusals import previous_not_found
from antiphon.protocol.responses import items as item_rules

Json = dict[str, Any]


class Link:
    """One response of a chain: its items, input then output, after those of its parent.

    `persisted`: the store has the whole chain, so nothing of it is held here, and what is deleted there is gone.
    """

    __slots__ = ("depth", "items", "parent", "persisted", "size")

    def __init__(self, parent: Link | None, items: Sequence[Json], *, persisted: bool) -> None:
        self.parent: Link | None = None if persisted else parent
        self.items: tuple[Json, ...] = () if persisted else tuple(items)
        self.persisted = persisted
        self.depth: int = 1 if self.parent is None else self.parent.depth + 1
        self.size = sum(len(msgspec.json.encode(item)) for item in self.items)

    def line(self) -> list[Link]:
        """The chain up to here, newest first."""
        line: list[Link] = []
        link: Link | None = self
        while link is not None:
            line.append(link)
            link = link.parent
        return line

    def history(self) -> list[Json]:
        """All items of the chain, oldest first."""
        return item_rules.whole(item for link in reversed(self.line()) for item in link.items)


class Chains:
    """The most recent responses of one connection (`limits.SOCKET_CHAINS`, `limits.SOCKET_CHAIN_BYTES`)."""

    def __init__(self) -> None:
        self._links: OrderedDict[str, Link] = OrderedDict()

    def parent(self, response_id: str | None, *, stored: bool) -> Link | None:
        """What is remembered of this response; None if the store is to be asked.

        Raises `InvalidRequest` for a chain that is too long, and for what is not remembered if the new response is not
        `stored` itself: such a request has no part in the store (Open Responses, WebSocket Continuation).
        """
        if response_id is None:
            return None
        link = self._links.get(response_id)
        if link is None:
            if not stored:
                raise previous_not_found(response_id)
            return None
        if link.depth >= limits.MAX_CHAIN:
            raise InvalidRequest(
                f"The chain of previous responses is longer than {limits.MAX_CHAIN}.",
                code="response_chain_too_long",
                param="previous_response_id",
            )
        return link

    def keep(self, response_id: str, link: Link) -> None:
        """Remember a response. The oldest are forgotten for it."""
        self._links[response_id] = link
        while len(self._links) > 1 and self._too_much():
            self._links.popitem(last=False)

    def forget(self, response_id: str) -> None:
        """Forget a response; those that go on from it keep what they need."""
        self._links.pop(response_id, None)

    def _too_much(self) -> bool:
        if len(self._links) > limits.SOCKET_CHAINS:
            return True
        seen: set[int] = set()
        size = 0
        for link in self._links.values():
            node: Link | None = link
            while node is not None and id(node) not in seen:
                seen.add(id(node))
                size += node.size
                node = node.parent
        return size > limits.SOCKET_CHAIN_BYTES
