"""A bound on the memory that the bodies of all requests take together."""

from __future__ import annotations

from antiphon.domain import limits
from antiphon.domain.errors import Overloaded


class BodyRefused(Overloaded):
    """The bodies of other requests use the whole budget (503). The rest of this body is not read."""


class BodyBudget:
    """Counts bytes of request bodies that are in memory, from their arrival until their requests are answered."""

    __slots__ = ("_limit", "reserved")

    def __init__(self, limit: int = limits.MAX_BODIES) -> None:
        """`limit`: in bytes."""
        self._limit = limit
        self.reserved = 0

    def reserve(self, size: int) -> None:
        """Count `size` bytes more. Raises `BodyRefused`, and counts nothing, if that would exceed the limit."""
        if self.reserved + size > self._limit:
            raise BodyRefused("This server is busy with the bodies of other requests. Please retry later.")
        self.reserved += size

    def release(self, size: int) -> None:
        """Count `size` bytes less."""
        self.reserved -= size
