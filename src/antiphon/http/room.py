"""How much of all requests' bodies is in memory at once."""

from __future__ import annotations

from antiphon.domain import limits
from antiphon.domain.errors import Overloaded


class BodyRefused(Overloaded):
    """The bodies of other requests take all the room there is (503). The rest of this one is not worth reading."""


class Room:
    """Counts the bytes of bodies, from when they come until their requests are answered."""

    __slots__ = ("_most", "taken")

    def __init__(self, most: int = limits.MAX_BODIES) -> None:
        self._most = most
        self.taken = 0

    def take(self, size: int) -> None:
        """So many bytes more. Raises `BodyRefused` if there is no room for them; they are not counted then."""
        if self.taken + size > self._most:
            raise BodyRefused("This server is busy with the bodies of other requests. Please retry later.")
        self.taken += size

    def give(self, size: int) -> None:
        """So many bytes less."""
        self.taken -= size
