"""Stored chat completions."""

from __future__ import annotations

from typing import Protocol

from antiphon.domain.records import Page, StoredCompletion


class CompletionStore(Protocol):
    """Stored chat completions."""

    async def put_completion(self, completion: StoredCompletion) -> None:
        """Insert or replace one. Durable when this returns."""

    async def get_completion(self, project_id: str, completion_id: str) -> StoredCompletion | None:
        """The completion, or None if this project has none of that id."""

    async def delete_completion(self, project_id: str, completion_id: str) -> bool:
        """Delete one; False if there was none."""

    async def list_completions(
        self,
        project_id: str,
        *,
        model: str | None,
        metadata: dict[str, str],
        after: str | None,
        limit: int,
        ascending: bool,
    ) -> Page[StoredCompletion]:
        """A page by time of creation. All of `metadata` must match. `after` unknown: `NotFound`, param "after"."""
