"""Projects and keys: who is calling, and whose objects they may see."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Project:
    """A tenant. Every stored object belongs to exactly one. `created_at` is in Unix seconds."""

    id: str
    name: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Key:
    """A project's key as it is stored: never the secret, only its keyed hash (32 bytes) and a hint to tell it by."""

    id: str
    project_id: str
    name: str
    digest: bytes
    hint: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None

    def valid_at(self, now: float) -> bool:
        """Whether the key opens the door at `now` (Unix seconds)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
