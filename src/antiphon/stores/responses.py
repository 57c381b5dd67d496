"""Responses and their items in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import CTE, Integer, bindparam, delete, func, literal_column, select, text

from antiphon.domain.errors import InvalidRequest, NotFound
from antiphon.domain.jobs import NewJob
from antiphon.domain.records import ConversationItem, EventBatch, Page, StoredItem, StoredResponse
from antiphon.stores.conversation_locks import release_lock, settle_lock
from antiphon.stores.jobs import DELETE_JOB, JobRoom, add_jobs, check_size, no_room
from antiphon.stores.query import DatabaseSession, Row, Statement, insertion
from antiphon.stores.section import PageCursor, StoreSection, is_valid_id, require_valid_id
from antiphon.stores.tables import conversation_items, items, response_events, responses

#: Ids looked for in one statement.
_IDS_AT_ONCE = 500

# The columns stand in the order of the dataclass' fields.
RESPONSE = (
    responses.c.project_id,
    responses.c.id,
    responses.c.created_at,
    responses.c.status,
    responses.c.model,
    responses.c.body,
    responses.c.previous_response_id,
    responses.c.owner,
    responses.c.background,
    responses.c.conversation_id,
    responses.c.expires_at,
)
_BACKGROUND_AT = RESPONSE.index(responses.c.background)
_ITEM = (items.c.id, items.c.position, items.c.direction, items.c.body)

_OF_PROJECT = responses.c.project_id == bindparam("project_id")
_OF_RESPONSE = (
    items.c.project_id == bindparam("project_id"),
    items.c.response_id == bindparam("response_id"),
)
_INPUT = items.c.direction == text("'input'")

_PUT = insertion(responses, replace=("project_id", "id"))
_GET = Statement(select(*RESPONSE).where(_OF_PROJECT, responses.c.id == bindparam("id")))
# The items go by ON DELETE CASCADE.
_DELETE = Statement(delete(responses).where(_OF_PROJECT, responses.c.id == bindparam("id")))
_ADD_EVENTS = insertion(response_events)
_PUT_ITEM = insertion(items, replace=("project_id", "response_id", "direction", "position"))

# An id that a client sent twice in one input stands at two positions. Going on from the further one never loops.
_AFTER_UP = Statement(select(func.max(items.c.position)).where(*_OF_RESPONSE, _INPUT, items.c.id == bindparam("id")))
_AFTER_DOWN = Statement(select(func.min(items.c.position)).where(*_OF_RESPONSE, _INPUT, items.c.id == bindparam("id")))
# OFFSET is said because SQLAlchemy writes one for SQLite anyway, with a parameter.
_PAGE_UP = Statement(
    select(*_ITEM)
    .where(*_OF_RESPONSE, _INPUT, items.c.position > bindparam("after"))
    .order_by(items.c.position)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_PAGE_DOWN = Statement(
    select(*_ITEM)
    .where(*_OF_RESPONSE, _INPUT, items.c.position < bindparam("after"))
    .order_by(items.c.position.desc())
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_FIRST, _LAST = -1, 2**31 - 1


def _ancestry() -> CTE:
    """(project_id, id, previous_response_id, status, depth) of a response (depth 1) and its ancestors.

    One more than `limit` are followed at most, so that a chain that is too long, or a circle, shows and ends.
    """
    one = literal_column("1", Integer)
    link = (responses.c.project_id, responses.c.id, responses.c.previous_response_id, responses.c.status)
    own = (
        select(*link, one.label("depth"))
        .where(_OF_PROJECT, responses.c.id == bindparam("id"))
        .cte("ancestry", recursive=True)
    )
    older = select(*link, own.c.depth + one).where(
        responses.c.project_id == own.c.project_id,
        responses.c.id == own.c.previous_response_id,
        own.c.depth <= bindparam("limit", type_=Integer),
    )
    return own.union_all(older)


_CHAIN = _ancestry()
_CHAIN_IDS = Statement(select(_CHAIN.c.id, _CHAIN.c.previous_response_id, _CHAIN.c.status).order_by(_CHAIN.c.depth))
_ITEMS_OF = Statement(select(*_ITEM).where(*_OF_RESPONSE).order_by(items.c.direction, items.c.position))


class _Put(NamedTuple):
    response: StoredResponse
    items: Sequence[StoredItem]
    events: EventBatch | None
    appended: Sequence[ConversationItem]
    job: NewJob | None


class ResponseSection(StoreSection):
    """Implements `ports.ResponseStore`."""

    async def put_response(
        self,
        response: StoredResponse,
        items: Sequence[StoredItem] = (),
        events: EventBatch | None = None,
        *,
        appended: Sequence[ConversationItem] = (),
        job: NewJob | None = None,
    ) -> None:
        """Insert or replace a response, and add items and events to it, and its job; see `ports`.

        Raises `InvalidRequest` for an id that cannot be stored, `StoreFailed` if the project does not exist.
        """
        require_valid_id(response.project_id, response.id, *(item.id for item in items))
        if job is not None:
            check_size(job)
        put = _Put(response, items, events, appended, job)
        if not await self._database.write(_put, put, key=(response.project_id, response.id)):
            raise no_room()

    async def get_response(self, project_id: str, response_id: str) -> StoredResponse | None:
        """The response, or None if this project has none of that id."""
        if not is_valid_id(project_id, response_id):
            return None
        return await self._database.read(_get, project_id, response_id)

    async def delete_response(self, project_id: str, response_id: str) -> bool:
        """Delete a response and its items; False if there was none."""
        if not is_valid_id(project_id, response_id):
            return False
        name = (project_id, response_id)
        return await self._database.write(_delete, name, key=name, erases=True)

    async def list_items(
        self, project_id: str, response_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[StoredItem]:
        """A page of a response's input items. `after` is an item id (unknown: raises `NotFound`, param "after")."""
        if after is not None and not is_valid_id(after):
            raise _unknown_after(after)
        if not is_valid_id(project_id, response_id):
            return Page([], has_more=False)
        return await self._database.read(_list_items, project_id, response_id, PageCursor(after, limit, ascending))

    async def chain(self, project_id: str, response_id: str, *, limit: int) -> list[tuple[str, str]]:
        """(id, status) of a response and its ancestors, oldest first; see `ports`."""
        if not is_valid_id(project_id, response_id):
            return []
        return await self._database.read(_chain, project_id, response_id, limit)

    async def items_of(self, project_id: str, response_ids: Sequence[str]) -> dict[str, list[StoredItem]]:
        """The items of each of these responses that the project has: its input, then its output, in order."""
        wanted = [response_id for response_id in dict.fromkeys(response_ids) if is_valid_id(response_id)]
        if not wanted or not is_valid_id(project_id):
            return {}
        return await self._database.read(_items_of, project_id, wanted)

    async def get_items(self, project_id: str, item_ids: Sequence[str]) -> dict[str, StoredItem]:
        """Those of these items that this project has, in responses or conversations.

        Of several with one id, a response's goes before a conversation's, and what was stored last before the others.
        """
        wanted = [item_id for item_id in dict.fromkeys(item_ids) if is_valid_id(item_id)]
        if not wanted or not is_valid_id(project_id):
            return {}
        return await self._database.read(_get_items, project_id, wanted)


def _put(session: DatabaseSession, batch: Sequence[_Put]) -> list[bool]:
    room = JobRoom(session)
    fits = [put.job is None or room.take(put.response.project_id) for put in batch]
    puts = [put for put, its_job_fits in zip(batch, fits, strict=True) if its_job_fits]
    session.many(_PUT, [response_row(put.response) for put in puts])
    add_items(session, [(put.response, put.items) for put in puts])
    add_events(session, [(put.response, put.events) for put in puts if put.events is not None])
    add_jobs(session, [put.job for put in puts if put.job is not None])
    for put in puts:
        settle_lock(session, put.response, put.appended)
    return fits


def response_row(response: StoredResponse) -> dict[str, Any]:
    """A response as its row."""
    return {
        "project_id": response.project_id,
        "id": response.id,
        "created_at": response.created_at,
        "status": response.status,
        "model": response.model,
        "body": response.body,
        "previous_response_id": response.previous_response_id,
        "owner": response.owner,
        "background": int(response.background),
        "conversation_id": response.conversation_id,
        "expires_at": response.expires_at,
        "has_log": int(response.background),
    }


def response_of(row: Row) -> StoredResponse:
    """A row of `RESPONSE` as a response."""
    # SQLite knows truth values only as numbers.
    values: list[Any] = list(row)
    values[_BACKGROUND_AT] = bool(values[_BACKGROUND_AT])
    return StoredResponse(*values)


def add_items(session: DatabaseSession, batch: Sequence[tuple[StoredResponse, Sequence[StoredItem]]]) -> None:
    """Put items at their places."""
    session.many(
        _PUT_ITEM,
        [
            {
                "project_id": response.project_id,
                "response_id": response.id,
                "direction": item.direction,
                "position": item.position,
                "id": item.id,
                "body": item.body,
            }
            for response, its_items in batch
            for item in its_items
        ],
    )


def add_events(session: DatabaseSession, batch: Sequence[tuple[StoredResponse, EventBatch]]) -> None:
    """Append to event logs. The same first number twice is refused by the database."""
    session.many(
        _ADD_EVENTS,
        [
            {
                "project_id": response.project_id,
                "response_id": response.id,
                "first": events.first,
                "count": events.count,
                "payload": events.payload,
                "progress": events.progress,
            }
            for response, events in batch
        ],
    )


def _get(session: DatabaseSession, project_id: str, response_id: str) -> StoredResponse | None:
    row = session.one(_GET, {"project_id": project_id, "id": response_id})
    return response_of(row) if row else None


def _delete(session: DatabaseSession, batch: Sequence[tuple[str, str]]) -> list[bool]:
    return [_delete_one(session, project_id, response_id) for project_id, response_id in batch]


def _delete_one(session: DatabaseSession, project_id: str, response_id: str) -> bool:
    response = _get(session, project_id, response_id)
    if response is None:
        return False
    release_lock(session, response)
    name = {"project_id": project_id, "id": response_id}
    if response.background:
        session.run(DELETE_JOB, name)
    return session.run(_DELETE, name) > 0


def _list_items(session: DatabaseSession, project_id: str, response_id: str, cut: PageCursor) -> Page[StoredItem]:
    after, limit, ascending = cut
    owner = {"project_id": project_id, "response_id": response_id}
    with session.snapshot():
        position = _FIRST if ascending else _LAST
        if after is not None:
            row = session.one(_AFTER_UP if ascending else _AFTER_DOWN, {**owner, "id": after})
            if row is None or row[0] is None:
                raise _unknown_after(after)
            position = row[0]
        page = _PAGE_UP if ascending else _PAGE_DOWN
        rows = session.all(page, {**owner, "after": position, "limit": limit + 1})
    return Page([StoredItem(*row) for row in rows[:limit]], has_more=len(rows) > limit)


def _unknown_after(after: str) -> NotFound:
    return NotFound(f"No item with id '{after[:100]}' found.", param="after")


def _chain(session: DatabaseSession, project_id: str, response_id: str, limit: int) -> list[tuple[str, str]]:
    rows = session.all(_CHAIN_IDS, {"project_id": project_id, "id": response_id, "limit": limit})
    if not rows:
        return []
    if len(rows) > limit:
        raise InvalidRequest(
            f"This response follows more than {limit} others by previous_response_id; start a new chain.",
            code="response_chain_too_long",
            param="previous_response_id",
        )
    missing = rows[-1][1]
    if missing is not None:
        raise InvalidRequest(
            f"Previous response with id '{missing}' not found.",
            code="previous_response_not_found",
            param="previous_response_id",
        )
    return [(row[0], row[2]) for row in reversed(rows)]


def _items_of(session: DatabaseSession, project_id: str, response_ids: Sequence[str]) -> dict[str, list[StoredItem]]:
    with session.snapshot():
        found = {
            response_id: session.all(_ITEMS_OF, {"project_id": project_id, "response_id": response_id})
            for response_id in response_ids
        }
    return {response_id: [StoredItem(*row) for row in rows] for response_id, rows in found.items() if rows}


def _get_items(session: DatabaseSession, project_id: str, item_ids: Sequence[str]) -> dict[str, StoredItem]:
    found: dict[str, StoredItem] = {}
    for start in range(0, len(item_ids), _IDS_AT_ONCE):
        some = item_ids[start : start + _IDS_AT_ONCE]
        statement = (
            select(*_ITEM)
            .where(items.c.project_id == project_id, items.c.id.in_(some))
            .order_by(items.c.seq)  # so that the newest of several with one id stays
        )
        found.update((row[0], StoredItem(*row)) for row in session.select(statement))
        missing = [item_id for item_id in some if item_id not in found]
        if missing:
            found.update(_conversation_items(session, project_id, missing))
    return found


def _conversation_items(session: DatabaseSession, project_id: str, item_ids: Sequence[str]) -> dict[str, StoredItem]:
    item = conversation_items.c
    statement = select(item.id, item.body).where(item.project_id == project_id, item.id.in_(item_ids))
    return {row[0]: StoredItem(row[0], 0, "input", row[1]) for row in session.select(statement.order_by(item.seq))}
