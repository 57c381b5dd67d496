"""Chat completions that were stored: read, changed, listed and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from antiphon.domain.errors import NotFound
from antiphon.domain.records import Page, StoredCompletion
from antiphon.ports import CompletionStore

Json = dict[str, Any]


class StoredCompletions:
    """The stored completions of all projects. Those of another project are not found."""

    def __init__(self, store: CompletionStore) -> None:
        self._store = store

    async def get(self, project_id: str, completion_id: str) -> StoredCompletion:
        """A stored completion. Raises `NotFound`."""
        completion = await self._store.get_completion(project_id, completion_id)
        if completion is None:
            raise _not_found(completion_id)
        return completion

    async def update(self, project_id: str, completion_id: str, metadata: Mapping[str, str]) -> bytes:
        """Replace the metadata of a stored completion; returns it as JSON. Raises `NotFound`."""
        old = await self.get(project_id, completion_id)
        body = msgspec.json.encode({**msgspec.json.decode(old.body), "metadata": metadata})
        new = StoredCompletion(project_id, completion_id, old.created_at, old.model, body, old.messages, dict(metadata))
        await self._store.put_completion(new)
        return body

    async def delete(self, project_id: str, completion_id: str) -> None:
        """Delete a stored completion. Raises `NotFound`."""
        if not await self._store.delete_completion(project_id, completion_id):
            raise _not_found(completion_id)

    async def page(
        self,
        project_id: str,
        *,
        model: str | None,
        metadata: dict[str, str],
        after: str | None,
        limit: int,
        ascending: bool,
    ) -> Page[StoredCompletion]:
        """A page of stored completions. Raises `NotFound` for an unknown `after`."""
        return await self._store.list_completions(
            project_id, model=model, metadata=metadata, after=after, limit=limit, ascending=ascending
        )

    async def messages(
        self, project_id: str, completion_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[Json]:
        """A page of the messages of a stored completion's request. Raises `NotFound`."""
        messages: list[Json] = msgspec.json.decode((await self.get(project_id, completion_id)).messages)
        for index, message in enumerate(messages):
            message["id"] = f"{completion_id}-{index}"
        if not ascending:
            messages.reverse()
        if after is not None:
            ids = [message["id"] for message in messages]
            if after not in ids:
                raise NotFound(f"Message with id '{after}' not found.", param="after")
            messages = messages[ids.index(after) + 1 :]
        return Page(messages[:limit], len(messages) > limit)


def _not_found(completion_id: str) -> NotFound:
    return NotFound(f"Chat completion with id '{completion_id}' not found.", param="completion_id")
