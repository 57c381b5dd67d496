"""Projects and keys: who is calling, and whose objects they may see."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.domain import limits

#: A project's `response_ttl` that says that its responses do not expire.
NEVER = 0


@dataclass(frozen=True, slots=True)
class Project:
    """A tenant. Every stored object belongs to exactly one. `created_at` is in Unix seconds.

    `response_ttl`: how long its responses are kept (seconds); `NEVER`: they do not expire; None: the default.
    `archived_at`: since when (Unix seconds) its keys do not work any more; that is for ever.
    """

    id: str
    name: str
    created_at: int
    response_ttl: int | None = None
    archived_at: int | None = None

    def expiry(self, created_at: int) -> int | None:
        """When a response that is made at `created_at` expires (both Unix seconds); None: it does not."""
        ttl = limits.RESPONSE_TTL if self.response_ttl is None else self.response_ttl
        return None if ttl == NEVER else created_at + ttl


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


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: a key, and the project it belongs to."""

    key: Key
    project: Project


@dataclass(frozen=True, slots=True)
class AdminKey:
    """A key for the administration of the organisation, as it is stored. Times are Unix seconds.

    `role`: with an "owner" key its user may do all that they may do; with a "reader" key only look. A key without a
    user is the organisation's own, and its role is all there is.
    """

    id: str
    name: str
    digest: bytes
    hint: str
    role: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    user_id: str | None = None
    last_used_at: int | None = None

    def valid_at(self, now: float) -> bool:
        """Whether the key opens the door at `now` (Unix seconds)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
