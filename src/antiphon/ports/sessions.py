"""Sessions of browsers."""

from __future__ import annotations

from typing import Protocol

from antiphon.domain.sessions import Session
from antiphon.domain.tenancy import Caller


class SessionStore(Protocol):
    """Sessions, each opened with a project's key. They go with their key."""

    async def add_session(self, session: Session, *, most: int) -> None:
        """Add a session. Expired ones are removed, and the key's oldest beyond `most`.

        Raises `NotFound` if there is no such key.
        """

    async def find_session(self, digest: bytes) -> tuple[Session, Caller] | None:
        """The session with this keyed hash, expired or not, and who has opened it, revoked or not."""

    async def delete_session(self, digest: bytes) -> bool:
        """Remove a session. False if there is none."""
