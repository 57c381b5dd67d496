"""Conversations: made, read, changed and deleted. What responses do in them is in `turns`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.domain.errors import NotFound
from antiphon.domain.ids import new_id
from antiphon.domain.records import ConversationItem, Page, StoredConversation
from antiphon.ports import Clock, Store
from antiphon.protocol.responses import items as item_rules
from antiphon.run import context
from antiphon.wire import json as wire_json

Json = dict[str, Any]


class Conversations:
    """The Conversations surface. Whatever takes a conversation's id raises `NotFound` for one that is not there."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, project_id: str, items: Sequence[Json], metadata: Json) -> StoredConversation:
        """Make one with its first items (as they were sent). Raises `InvalidRequest` for what is wrong with an item."""
        full = await self._items(project_id, items)
        now = int(self._clock.now())
        conversation = StoredConversation(project_id, new_id("conv_"), now, wire_json.encode(metadata))
        await self._store.create_conversation(conversation, full)
        return conversation

    async def get(self, project_id: str, conversation_id: str) -> StoredConversation:
        """The conversation."""
        return _found(await self._store.get_conversation(project_id, conversation_id), conversation_id)

    async def update(self, project_id: str, conversation_id: str, metadata: Json) -> StoredConversation:
        """Replace the metadata."""
        encoded = wire_json.encode(metadata)
        return _found(await self._store.update_conversation(project_id, conversation_id, encoded), conversation_id)

    async def delete(self, project_id: str, conversation_id: str) -> None:
        """Delete it and its items. Responses that were made in it stay, with their own copies of what was said."""
        if not await self._store.delete_conversation(project_id, conversation_id):
            raise _unknown(conversation_id)

    # --- items --------------------------------------------------------------------------------------------------------
    async def add_items(self, project_id: str, conversation_id: str, items: Sequence[Json]) -> list[ConversationItem]:
        """Append items (as they were sent), all or none; returns them as they are kept.

        Raises `InvalidRequest` for what is wrong with one, and `ConversationLocked` while a response is being made.
        """
        await self.get(project_id, conversation_id)
        full = await self._items(project_id, items)
        await self._store.add_conversation_items(project_id, conversation_id, full)
        return full

    async def list_items(
        self, project_id: str, conversation_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[ConversationItem]:
        """A page of the items. Raises `NotFound` also for an `after` that is not among them."""
        return await self._store.list_conversation_items(
            project_id, conversation_id, after=after, limit=limit, ascending=ascending
        )

    async def get_item(self, project_id: str, conversation_id: str, item_id: str) -> ConversationItem:
        """One item."""
        item = await self._store.get_conversation_item(project_id, conversation_id, item_id)
        if item is None:
            await self.get(project_id, conversation_id)
            raise _unknown_item(item_id)
        return item

    async def delete_item(self, project_id: str, conversation_id: str, item_id: str) -> StoredConversation:
        """Delete one item; returns the conversation. Raises `ConversationLocked` while a response is being made."""
        conversation = await self._store.delete_conversation_item(project_id, conversation_id, item_id)
        if conversation is None:
            raise _unknown_item(item_id)
        return conversation

    async def _items(self, project_id: str, items: Sequence[Json]) -> list[ConversationItem]:
        full = item_rules.normalize_input(list(items), path="items")
        resolved = await context.resolve(self._store, project_id, full)
        return [ConversationItem(item["id"], wire_json.encode(item)) for item in resolved]


def _found(conversation: StoredConversation | None, conversation_id: str) -> StoredConversation:
    if conversation is None:
        raise _unknown(conversation_id)
    return conversation


def _unknown(conversation_id: str) -> NotFound:
    return NotFound(f"Conversation with id '{conversation_id[:100]}' not found.", param="conversation_id")


def _unknown_item(item_id: str) -> NotFound:
    return NotFound(f"Item with id '{item_id[:100]}' not found.", param="item_id")
