"""Conversations and their items in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Integer, bindparam, delete, func, literal_column, select, update

from antiphon.domain.errors import ConversationLocked, InvalidRequest, NotFound
from antiphon.domain.records import ConversationItem, Page, StoredConversation
from antiphon.stores.conversation_locks import (
    THIS,
    Appended,
    Lock,
    Name,
    Outcome,
    append,
    append_and_unlock,
    lock,
    state_of,
    unlock,
)
from antiphon.stores.query import DatabaseSession, Statement, insertion
from antiphon.stores.section import PageCursor, StoreSection, is_valid_id, require_valid_id
from antiphon.stores.tables import conversation_items, conversations

# The columns stand in the order of the dataclasses' fields.
_CONVERSATION = (
    conversations.c.project_id,
    conversations.c.id,
    conversations.c.created_at,
    conversations.c.metadata,
)
_ITEM = (conversation_items.c.id, conversation_items.c.body)

_ITS = (
    conversation_items.c.project_id == bindparam("project_id"),
    conversation_items.c.conversation_id == bindparam("conversation_id"),
)
_THIS_ITEM = (*_ITS, conversation_items.c.id == bindparam("id"))

_CREATE = insertion(conversations)
_GET = Statement(select(*_CONVERSATION).where(*THIS))
_UPDATE = Statement(update(conversations).where(*THIS).values(metadata=bindparam("new_metadata")))
# The items go by ON DELETE CASCADE.
_DELETE = Statement(delete(conversations).where(*THIS))

_ITEM_SEQ = Statement(select(conversation_items.c.seq).where(*_THIS_ITEM))
_GET_ITEM = Statement(select(*_ITEM).where(*_THIS_ITEM))
_DELETE_ITEM = Statement(delete(conversation_items).where(*_THIS_ITEM))
_COUNT = Statement(select(func.count()).select_from(conversation_items).where(*_ITS))
_HISTORY = Statement(select(*_ITEM).where(*_ITS).order_by(conversation_items.c.seq))
_PAGE_UP = Statement(
    select(*_ITEM)
    .where(*_ITS, conversation_items.c.seq > bindparam("after"))
    .order_by(conversation_items.c.seq)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_PAGE_DOWN = Statement(
    select(*_ITEM)
    .where(*_ITS, conversation_items.c.seq < bindparam("after"))
    .order_by(conversation_items.c.seq.desc())
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_FIRST, _LAST = -1, 2**63 - 1


class _Create(NamedTuple):
    conversation: StoredConversation
    items: Sequence[ConversationItem]


class _Add(NamedTuple):
    name: Name
    items: Sequence[ConversationItem]


class _DeleteItem(NamedTuple):
    name: Name
    item_id: str


class ConversationSection(StoreSection):
    """Implements `ports.ConversationStore`."""

    async def create_conversation(
        self, conversation: StoredConversation, items: Sequence[ConversationItem] = ()
    ) -> None:
        """Add a conversation with its first items. Raises `InvalidRequest` for an id twice."""
        require_valid_id(conversation.project_id, conversation.id, *(item.id for item in items))
        _check_unique(items)
        key = _key(conversation.project_id, conversation.id)
        await self._database.write(_create, _Create(conversation, items), key=key)

    async def get_conversation(self, project_id: str, conversation_id: str) -> StoredConversation | None:
        """The conversation, or None if this project has none of that id."""
        if not is_valid_id(project_id, conversation_id):
            return None
        return await self._database.read(_get, Name(project_id, conversation_id))

    async def update_conversation(
        self, project_id: str, conversation_id: str, metadata: bytes
    ) -> StoredConversation | None:
        """Replace the metadata; None if there is no such conversation."""
        if not is_valid_id(project_id, conversation_id):
            return None
        name = Name(project_id, conversation_id)
        return await self._database.write(_update, (name, metadata), key=_key(*name), erases=True)

    async def delete_conversation(self, project_id: str, conversation_id: str) -> bool:
        """Delete a conversation and its items, whatever is going on in it; False if there was none."""
        if not is_valid_id(project_id, conversation_id):
            return False
        name = Name(project_id, conversation_id)
        return await self._database.write(_delete, name, key=_key(*name), erases=True)

    # --- items --------------------------------------------------------------------------------------------------------
    async def add_conversation_items(
        self, project_id: str, conversation_id: str, items: Sequence[ConversationItem]
    ) -> None:
        """Append items, all or none; see `ports`."""
        require_valid_id(*(item.id for item in items))
        _check_unique(items)
        name = _possible(project_id, conversation_id)
        outcome = await self._database.write(_add, _Add(name, items), key=_key(*name))
        if isinstance(outcome, int):
            raise duplicate(items[outcome].id, f"items[{outcome}].id")
        _check(outcome, name)

    async def list_conversation_items(
        self, project_id: str, conversation_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[ConversationItem]:
        """A page of the items. `after` is an item id (unknown: raises `NotFound`, param "after")."""
        if after is not None and not is_valid_id(after):
            raise _unknown_after(after)
        name = _possible(project_id, conversation_id)
        return await self._database.read(_list, name, PageCursor(after, limit, ascending))

    async def get_conversation_item(
        self, project_id: str, conversation_id: str, item_id: str
    ) -> ConversationItem | None:
        """The item, or None if the conversation has none of that id."""
        if not is_valid_id(project_id, conversation_id, item_id):
            return None
        return await self._database.read(_get_item, Name(project_id, conversation_id), item_id)

    async def delete_conversation_item(
        self, project_id: str, conversation_id: str, item_id: str
    ) -> StoredConversation | None:
        """Delete an item; see `ports`."""
        name = _possible(project_id, conversation_id)
        if not is_valid_id(item_id):
            return None
        change = _DeleteItem(name, item_id)
        outcome = await self._database.write(_delete_item, change, key=_key(*name), erases=True)
        if outcome is Outcome.NO_ITEM:
            return None
        _check(outcome, name)
        return await self.get_conversation(project_id, conversation_id)

    async def conversation_history(
        self, project_id: str, conversation_id: str, *, limit: int
    ) -> list[ConversationItem]:
        """All items in order; see `ports`."""
        return await self._database.read(_history, _possible(project_id, conversation_id), limit)

    # --- turns --------------------------------------------------------------------------------------------------------
    async def lock_conversation(self, project_id: str, conversation_id: str, response_id: str, *, owner: str) -> None:
        """Give the conversation to a response; see `ports`."""
        name = _possible(project_id, conversation_id)
        outcome = await self._database.write(lock, Lock(name, response_id, owner), key=_key(*name))
        _check(outcome, name)

    async def unlock_conversation(self, project_id: str, conversation_id: str, response_id: str) -> None:
        """Free the conversation, if that response holds it."""
        name = Name(project_id, conversation_id)
        await self._database.write(unlock, (name, response_id), key=_key(*name))

    async def append_and_unlock(
        self, project_id: str, conversation_id: str, response_id: str, items: Sequence[ConversationItem]
    ) -> None:
        """Append what a response that is not stored has said, and free the conversation; see `ports`."""
        require_valid_id(*(item.id for item in items))
        name = Name(project_id, conversation_id)
        await self._database.write(append_and_unlock, Appended(name, response_id, items), key=_key(*name))


def _key(project_id: str, conversation_id: str) -> tuple[str, str, str]:
    return ("conversation", project_id, conversation_id)


def _possible(project_id: str, conversation_id: str) -> Name:
    if not is_valid_id(project_id, conversation_id):
        raise unknown_conversation(conversation_id)
    return Name(project_id, conversation_id)


def _check(outcome: Outcome, name: Name) -> None:
    if outcome is Outcome.MISSING:
        raise unknown_conversation(name.conversation_id)
    if outcome is Outcome.LOCKED:
        raise ConversationLocked


def unknown_conversation(conversation_id: str) -> NotFound:
    """This project has no such conversation."""
    return NotFound(f"Conversation with id '{conversation_id[:100]}' not found.", param="conversation_id")


def duplicate(item_id: str, param: str) -> InvalidRequest:
    """An item that the conversation has already (the published API's words)."""
    return InvalidRequest(
        f"Duplicate item found with id '{item_id}'. Remove duplicate items from your input and try again.",
        code="duplicate_item",
        param=param,
    )


def _check_unique(items: Sequence[ConversationItem]) -> None:
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item.id in seen:
            raise duplicate(item.id, f"items[{index}].id")
        seen.add(item.id)


def _unknown_after(after: str) -> NotFound:
    return NotFound(f"No item with id '{after[:100]}' found.", param="after")


# --- in the reader's threads ------------------------------------------------------------------------------------------
def _get(session: DatabaseSession, name: Name) -> StoredConversation | None:
    row = session.one(_GET, name.parameters)
    return StoredConversation(*row) if row else None


def _get_item(session: DatabaseSession, name: Name, item_id: str) -> ConversationItem | None:
    row = session.one(_GET_ITEM, {**name.parameters, "id": item_id})
    return ConversationItem(*row) if row else None


def _list(session: DatabaseSession, name: Name, cut: PageCursor) -> Page[ConversationItem]:
    after, limit, ascending = cut
    with session.snapshot():
        if session.one(_GET, name.parameters) is None:
            raise unknown_conversation(name.conversation_id)
        position = _FIRST if ascending else _LAST
        if after is not None:
            row = session.one(_ITEM_SEQ, {**name.parameters, "id": after})
            if row is None:
                raise _unknown_after(after)
            position = row[0]
        page = _PAGE_UP if ascending else _PAGE_DOWN
        rows = session.all(page, {**name.parameters, "after": position, "limit": limit + 1})
    return Page([ConversationItem(*row) for row in rows[:limit]], has_more=len(rows) > limit)


def _history(session: DatabaseSession, name: Name, limit: int) -> list[ConversationItem]:
    with session.snapshot():
        if session.one(_GET, name.parameters) is None:
            raise unknown_conversation(name.conversation_id)
        # Counted first: one that is refused should not be read with all its bodies.
        if session.all(_COUNT, name.parameters)[0][0] > limit:
            raise InvalidRequest(
                f"This conversation has more than {limit} items; start a new one.",
                code="conversation_too_long",
                param="conversation",
            )
        return [ConversationItem(*row) for row in session.all(_HISTORY, name.parameters)]


# --- in the writer's thread -------------------------------------------------------------------------------------------
def _create(session: DatabaseSession, batch: Sequence[_Create]) -> list[None]:
    for new in batch:
        row = {
            "project_id": new.conversation.project_id,
            "id": new.conversation.id,
            "created_at": new.conversation.created_at,
            "metadata": new.conversation.metadata,
            "active_response_id": None,
            "active_owner": None,
        }
        session.run(_CREATE, row)
        append(session, Name(new.conversation.project_id, new.conversation.id), new.items)
    return [None] * len(batch)


def _update(session: DatabaseSession, batch: Sequence[tuple[Name, bytes]]) -> list[StoredConversation | None]:
    updated = []
    for name, metadata in batch:
        session.run(_UPDATE, {**name.parameters, "new_metadata": metadata})
        updated.append(_get(session, name))
    return updated


def _delete(session: DatabaseSession, batch: Sequence[Name]) -> list[bool]:
    return [session.run(_DELETE, name.parameters) > 0 for name in batch]


def _add(session: DatabaseSession, batch: Sequence[_Add]) -> list[Outcome | int]:
    """What became of each; the index of an item that is there already."""
    return [_add_one(session, change) for change in batch]


def _add_one(session: DatabaseSession, change: _Add) -> Outcome | int:
    state = state_of(session, change.name)
    if state is not Outcome.DONE:
        return state
    for index, item in enumerate(change.items):
        if session.one(_ITEM_SEQ, {**change.name.parameters, "id": item.id}) is not None:
            return index
    append(session, change.name, change.items)
    return state


def _delete_item(session: DatabaseSession, batch: Sequence[_DeleteItem]) -> list[Outcome]:
    outcomes = []
    for name, item_id in batch:
        state = state_of(session, name)
        if state is Outcome.DONE and not session.run(_DELETE_ITEM, {**name.parameters, "id": item_id}):
            state = Outcome.NO_ITEM
        outcomes.append(state)
    return outcomes
