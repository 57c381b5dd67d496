"""Locks of conversations: a conversation is held by the response that is being made in it, until that has ended.

The row of the conversation names the response (`active_response_id`) and, for as long as the response itself is not
stored, the worker that makes it (`active_owner`). The lock is valid while that worker is alive, or while a response of
that id is stored as unfinished. So a server that dies frees what it held for clients that listened, and a background
response keeps its conversation whichever server makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from sqlalchemy import bindparam, null, select, text, update

from antiphon.domain.errors import LeaseLost
from antiphon.domain.records import ConversationItem, StoredResponse
from antiphon.stores.query import DatabaseSession, Statement, insertion
from antiphon.stores.tables import UNFINISHED, conversation_items, conversations, responses, workers

THIS = (conversations.c.project_id == bindparam("project_id"), conversations.c.id == bindparam("conversation_id"))

# FOR UPDATE (PostgreSQL; SQLite has one writer anyway): what is decided from this row holds until the commit, and what
# is read after it is as new as the row.
_HOLDER = Statement(
    select(conversations.c.active_response_id, conversations.c.active_owner).where(*THIS).with_for_update()
)
_WORKER = Statement(select(workers.c.id).where(workers.c.id == bindparam("worker")))
_UNFINISHED = Statement(
    select(responses.c.background).where(
        responses.c.project_id == bindparam("project_id"),
        responses.c.id == bindparam("response_id"),
        text(f"responses.{UNFINISHED}"),
    )
)
_LOCK = Statement(
    update(conversations)
    .where(*THIS)
    .values(active_response_id=bindparam("response_id"), active_owner=bindparam("owner"))
)
_HAND_OVER = Statement(update(conversations).where(*THIS).values(active_owner=null()))
_UNLOCK = Statement(
    update(conversations)
    .where(*THIS, conversations.c.active_response_id == bindparam("response_id"))
    .values(active_response_id=null(), active_owner=null())
)

_APPEND = insertion(conversation_items, replace=("project_id", "conversation_id", "id"))


class Outcome(Enum):
    """The result of a change. Not an exception: that would cost its whole group of writes a second try."""

    DONE = auto()
    MISSING = auto()
    LOCKED = auto()
    NO_ITEM = auto()


class Name(NamedTuple):
    """Which conversation."""

    project_id: str
    conversation_id: str

    @property
    def parameters(self) -> dict[str, object]:
        """As statements take it."""
        return {"project_id": self.project_id, "conversation_id": self.conversation_id}


class Lock(NamedTuple):
    """A response wants this conversation, for as long as the worker `owner` is alive."""

    name: Name
    response_id: str
    owner: str


class Appended(NamedTuple):
    """Items of a response that is not stored itself, for its conversation."""

    name: Name
    response_id: str
    items: Sequence[ConversationItem]


def append(session: DatabaseSession, name: Name, items: Sequence[ConversationItem]) -> None:
    """Put items at the end of a conversation."""
    session.many(_APPEND, [{**name.parameters, "id": item.id, "body": item.body} for item in items])


def state_of(session: DatabaseSession, name: Name) -> Outcome:
    """Whether the conversation is there and free. Nobody else can change that before the commit."""
    row = session.one(_HOLDER, name.parameters)
    if row is None:
        return Outcome.MISSING
    holder, worker = row
    if holder is None:
        return Outcome.DONE
    if worker is not None and session.one(_WORKER, {"worker": worker}) is not None:
        return Outcome.LOCKED
    unfinished = session.one(_UNFINISHED, {"project_id": name.project_id, "response_id": holder})
    return Outcome.DONE if unfinished is None else Outcome.LOCKED


def lock(session: DatabaseSession, batch: Sequence[Lock]) -> list[Outcome]:
    """Give conversations to responses, where they are free."""
    outcomes = []
    for name, response_id, owner in batch:
        state = state_of(session, name)
        if state is Outcome.DONE:
            session.run(_LOCK, {**name.parameters, "response_id": response_id, "owner": owner})
        outcomes.append(state)
    return outcomes


def unlock(session: DatabaseSession, batch: Sequence[tuple[Name, str]]) -> list[None]:
    """Free conversations. One that is held by a stored background response is freed with the end of that only."""
    for name, response_id in batch:
        held = session.one(_HOLDER, name.parameters)
        if held is not None and held[0] == response_id:
            stored = session.one(_UNFINISHED, {"project_id": name.project_id, "response_id": response_id})
            if stored is None or not stored[0]:
                session.run(_UNLOCK, {**name.parameters, "response_id": response_id})
    return [None] * len(batch)


def append_and_unlock(session: DatabaseSession, batch: Sequence[Appended]) -> list[None]:
    """Append these items and free the conversations."""
    for name, response_id, items in batch:
        _append_and_unlock_one(session, name, response_id, items)
    return [None] * len(batch)


def _append_and_unlock_one(
    session: DatabaseSession, name: Name, response_id: str, items: Sequence[ConversationItem]
) -> None:
    """Append and unlock. A conversation that was deleted meanwhile gains nothing."""
    row = session.one(_HOLDER, name.parameters)
    if row is None:
        return
    if row[0] == response_id:
        append(session, name, items)
        session.run(_UNLOCK, {**name.parameters, "response_id": response_id})
    elif items:
        raise LeaseLost("Another response has been given this conversation meanwhile.")


def settle_lock(session: DatabaseSession, response: StoredResponse, items: Sequence[ConversationItem]) -> None:
    """Do for its conversation what storing a response means, in the same transaction.

    The conversation of one that has ended gains `items` and is free. One that has not must still hold it. A
    conversation that was deleted gains nothing. Raises `LeaseLost` if another response holds it by now.
    """
    if response.conversation_id is None:
        return
    name = Name(response.project_id, response.conversation_id)
    if response.ended:
        _append_and_unlock_one(session, name, response.id, items)
        return
    row = session.one(_HOLDER, name.parameters)
    if row is None:
        return
    if row[0] != response.id:
        raise LeaseLost("Another response has been given this conversation meanwhile.")
    if response.owner is None:
        # From here on it is held by the stored response, whichever worker makes it.
        session.run(_HAND_OVER, name.parameters)


def release_lock(session: DatabaseSession, response: StoredResponse) -> None:
    """Free the conversation of a response that is about to be deleted."""
    if response.conversation_id is not None:
        name = Name(response.project_id, response.conversation_id)
        session.run(_UNLOCK, {**name.parameters, "response_id": response.id})
