"""Projects and keys: who is calling, and whose objects they may see."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.domain import limits
from antiphon.domain.rates import NO_LIMITS, RateLimits
from antiphon.domain.scopes import ANYTHING, Permits

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
    """A project's key as it is stored: never the secret, only its keyed hash (32 bytes) and a hint to tell it by.

    Times are Unix seconds. `scopes`, `models`, `addresses`: what it may do, which models it may ask for, which networks
    it may come from (see `scopes.Permits`); None: no restriction. It belongs to a user, a service account, or neither.
    `replaced_by`: the key that was made in its place. `last_used_at` is up to a minute behind.
    """

    id: str
    project_id: str
    name: str
    digest: bytes
    hint: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    scopes: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None
    user_id: str | None = None
    service_account_id: str | None = None
    replaced_by: str | None = None
    last_used_at: int | None = None

    def valid_at(self, now: float) -> bool:
        """Whether the key opens the door at `now` (Unix seconds)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: a key, and the project it belongs to.

    `limits`: the rate limits that its calls come under. `permits`: what its key may do, compiled.
    """

    key: Key
    project: Project
    limits: RateLimits = NO_LIMITS
    permits: Permits = ANYTHING


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
