"""Conversations and their items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from antiphon.domain.records import ConversationItem, Page, StoredConversation


class ConversationStore(Protocol):
    """Conversations and their items. Everything is looked up by (project, id).

    What says that it raises `NotFound` does so, with param "conversation_id", for a conversation that is not there.
    What says that it raises `ConversationLocked` does so while a response holds the conversation: from
    `lock_conversation` on, for as long as it is stored as unfinished or its worker is there.
    """

    async def create_conversation(
        self, conversation: StoredConversation, items: Sequence[ConversationItem] = ()
    ) -> None:
        """Add a conversation with its first items. Raises `InvalidRequest` (code "duplicate_item") for an id twice."""

    async def get_conversation(self, project_id: str, conversation_id: str) -> StoredConversation | None:
        """The conversation, or None if this project has none of that id."""

    async def update_conversation(
        self, project_id: str, conversation_id: str, metadata: bytes
    ) -> StoredConversation | None:
        """Replace the metadata; None if there is no such conversation."""

    async def delete_conversation(self, project_id: str, conversation_id: str) -> bool:
        """Delete a conversation and its items, whatever is going on in it; False if there was none."""

    async def add_conversation_items(
        self, project_id: str, conversation_id: str, items: Sequence[ConversationItem]
    ) -> None:
        """Append items, all or none.

        Raises `NotFound`, `ConversationLocked`, and `InvalidRequest` (code "duplicate_item", param "items[…].id") for
        an id that the conversation has already.
        """

    async def list_conversation_items(
        self, project_id: str, conversation_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[ConversationItem]:
        """A page of the items. Raises `NotFound`, also (param "after") for an `after` that is not among them."""

    async def get_conversation_item(
        self, project_id: str, conversation_id: str, item_id: str
    ) -> ConversationItem | None:
        """The item, or None if there is no such conversation or item."""

    async def delete_conversation_item(
        self, project_id: str, conversation_id: str, item_id: str
    ) -> StoredConversation | None:
        """Delete an item and return its conversation; None if it has no such item.

        Raises `NotFound` and `ConversationLocked`.
        """

    async def conversation_history(
        self, project_id: str, conversation_id: str, *, limit: int
    ) -> list[ConversationItem]:
        """All items in order. Raises `NotFound`, and `InvalidRequest` if there are more than `limit`."""

    async def lock_conversation(self, project_id: str, conversation_id: str, response_id: str, *, owner: str) -> None:
        """Give the conversation to a response that worker `owner` makes, for as long as that worker is there.

        Raises `NotFound` and `ConversationLocked`.
        """

    async def unlock_conversation(self, project_id: str, conversation_id: str, response_id: str) -> None:
        """Free the conversation, if that response holds it and is not stored as a background response to be made."""

    async def append_and_unlock(
        self, project_id: str, conversation_id: str, response_id: str, items: Sequence[ConversationItem]
    ) -> None:
        """Append what a response that is not stored has said, and free the conversation.

        Raises `LeaseLost`, and changes nothing, if another response holds it by now. A conversation that was deleted
        gains nothing.
        """
