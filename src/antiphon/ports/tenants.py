"""Projects, their keys, and what these may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from antiphon.domain.organisation import AuditEntry
from antiphon.domain.rates import RateLimit, RateLimits
from antiphon.domain.tenancy import Caller, Key, Project


class TenantStore(Protocol):
    """Projects and their keys."""

    async def create_project(self, project: Project) -> None:
        """Add a project. Raises `Conflict` if a project with that name exists."""

    async def get_project(self, name_or_id: str) -> Project | None:
        """The project with this id or name."""

    async def list_projects(self) -> list[Project]:
        """All projects, oldest first."""

    async def set_response_ttl(self, project_id: str, ttl: int | None) -> bool:
        """How long responses that this project makes from now on are kept; see `Project`. False if there is none."""

    async def create_key(self, key: Key) -> None:
        """Add a key."""

    async def find_key(self, digest: bytes) -> Key | None:
        """The key with this keyed hash, revoked or not."""

    async def list_keys(self, project_id: str | None = None) -> list[Key]:
        """All keys, or one project's, oldest first."""

    async def revoke_key(self, key_id: str, at: int) -> bool:
        """Revoke a key from `at` (Unix seconds) on. False if there is none; revoking twice keeps the first time."""

    async def find_caller(self, digest: bytes) -> Caller | None:
        """The key with this keyed hash, revoked or not, and its project."""

    async def get_key(self, key_id: str) -> Key | None:
        """The key with this id, revoked or not."""


class AccessStore(Protocol):
    """What keys may do, and how much."""

    async def rotate_key(self, key_id: str, successor: Key, until: int, entry: AuditEntry | None = None) -> bool:
        """Add a key in the place of another one, which works until `until` (Unix seconds) at most from then on.

        False, and nothing is changed, if the other one is not there, was revoked, or was replaced before. Raises
        `Conflict` if the new one is there already. `entry` is written with the change, if it was one.
        """

    async def note_uses(self, uses: Mapping[str, int]) -> None:
        """When keys (by id) were last used (Unix seconds). A time before the one that is known is passed over."""

    async def put_rate_limit(self, limit: RateLimit, entry: AuditEntry | None = None) -> None:
        """Set the limits of a subject and a model, whatever they were; an empty one removes them.

        `entry` is written with the change. Raises `InvalidRequest` if the subject has limits for too many models.
        """

    async def list_rate_limits(self, scope: str | None = None, subject: str | None = None) -> list[RateLimit]:
        """All limits, or one scope's, or one subject's; by scope, subject and model."""

    async def limits_of(self, key: Key) -> RateLimits:
        """All limits that a key's calls come under."""
