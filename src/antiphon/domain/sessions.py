"""Sessions of browsers: opened with a project's key, and as good as that key for as long as both last."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is stored: never its token, only a keyed hash of it (32 bytes). Times are Unix seconds."""

    id: str
    key_id: str
    digest: bytes
    created_at: int
    expires_at: int
