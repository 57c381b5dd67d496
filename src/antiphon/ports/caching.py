"""Answers that may be given again."""

from __future__ import annotations

from typing import Protocol

from antiphon.domain.caching import CachedAnswer, CacheState


class CacheStore(Protocol):
    """Answers that may be given again, and each project's rule for them."""

    async def get_cached(self, project_id: str, key: bytes, *, now: int) -> CachedAnswer | None:
        """The answer with this key, unless it has expired at `now` (Unix seconds)."""

    async def put_cached(self, answer: CachedAnswer) -> None:
        """Keep an answer in place of the one with its key; none of a project whose rule is `OFF`.

        The oldest answers are forgotten where there would be more than `limits.CACHE_PROJECT_BYTES` of the project, or
        more than `limits.CACHE_TOTAL_BYTES` of all.
        """

    async def clear_cached(self, project_id: str) -> int:
        """Forget all answers of a project. Returns how many there were."""

    async def sweep_cached(self, *, now: int, limit: int) -> int:
        """Delete up to `limit` answers that have expired at `now` (Unix seconds). Returns how many were deleted."""

    async def cache_ttl(self, project_id: str) -> int | None:
        """A project's own rule; see `CacheState`. None also if there is no such project."""

    async def set_cache_ttl(self, project_id: str, ttl: int | None) -> None:
        """Set a project's own rule; see `CacheState`. `OFF` forgets its answers. The project must exist."""

    async def cache_states(self) -> list[CacheState]:
        """The caches of all projects that have one, or a rule for it."""
