"""Responses that are being made: who makes them, and who may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Integer,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    update,
)

from antiphon.domain import limits
from antiphon.domain.errors import LeaseLost
from antiphon.domain.records import ConversationItem, EventBatch, Free, StoredItem, StoredResponse
from antiphon.stores.conversation_locks import keep_turn
from antiphon.stores.query import Query, Session
from antiphon.stores.responses import RESPONSE, add_events, add_items, response_of
from antiphon.stores.section import StoreSection, is_valid_id, require_valid_id
from antiphon.stores.tables import UNFINISHED, responses, workers

_THIS = and_(responses.c.project_id == bindparam("project_id"), responses.c.id == bindparam("id"))
_UNFINISHED = text(f"responses.{UNFINISHED}")
_MINE = responses.c.owner == bindparam("expected")

_ADVANCE = Query(
    update(responses).where(_THIS, _MINE, _UNFINISHED).values(status=bindparam("status"), body=bindparam("body"))
)
_END = Query(
    update(responses)
    .where(_THIS, _MINE, _UNFINISHED)
    .values(status=bindparam("status"), body=bindparam("body"), owner=null(), wait_until=null(), request=null())
)

_NOBODYS = responses.c.owner.is_(None)
_ITS_WORKER_IS_GONE = and_(
    responses.c.owner.is_not(None),
    ~select(literal_column("1")).where(workers.c.id == responses.c.owner).correlate(responses).exists(),
)
_NOW = bindparam("now", type_=BigInteger)
#: A time to wait for that lies further ahead than any pause was written by a clock that was wrong.
_DUE = or_(
    responses.c.wait_until.is_(None), responses.c.wait_until <= _NOW, responses.c.wait_until > bindparam("furthest")
)


def _free(*conditions: object) -> Query:
    """Responses that are free: of each project the oldest `each`; the oldest of each project come first."""
    place = func.row_number().over(
        partition_by=responses.c.project_id, order_by=(responses.c.created_at, responses.c.id)
    )
    placed: Select[tuple[object, ...]] = select(
        responses.c.project_id, responses.c.id, responses.c.owner, responses.c.created_at, place.label("place")
    )
    for condition in (_UNFINISHED, *conditions):
        placed = placed.where(condition)  # type: ignore[arg-type]  # clauses of several kinds
    free = placed.subquery()
    return Query(
        select(free.c.project_id, free.c.id, free.c.owner)
        .where(free.c.place <= bindparam("each", type_=BigInteger))
        .order_by(free.c.place, free.c.created_at, free.c.id)
        .limit(bindparam("limit", type_=Integer))
        .offset(literal_column("0"))
    )


_FREE = _free(or_(and_(_NOBODYS, _DUE), _ITS_WORKER_IS_GONE))
_FREE_CANCELLED = _free(or_(_NOBODYS, _ITS_WORKER_IS_GONE), responses.c.cancel_requested == literal_column("1"))
# The conditions are looked at once more. That it is as it was seen matters on PostgreSQL: of two that take it at once,
# the second looks again at the row, but at the workers as they were before.
_TAKE = Query(
    update(responses)
    .where(
        _THIS,
        _UNFINISHED,
        func.coalesce(responses.c.owner, text("''")) == bindparam("seen"),
        or_(_NOBODYS, _ITS_WORKER_IS_GONE),
    )
    .values(owner=bindparam("new_owner"), wait_until=null())
)
_GET = Query(select(*RESPONSE).where(_THIS))
_HELD = Query(select(responses.c.project_id, responses.c.id).where(_MINE, _UNFINISHED))
_PUT_OFF = Query(
    update(responses)
    .where(_THIS, _MINE, _UNFINISHED)
    .values(owner=null(), wait_until=bindparam("until"), waited=bindparam("waits"))
)
_KEEP_REQUEST = Query(update(responses).where(_THIS, _UNFINISHED).values(request=bindparam("new_request")))
_ASK_CANCEL = Query(
    update(responses)
    .where(_THIS, _UNFINISHED, responses.c.background == literal_column("1"))
    .values(cancel_requested=literal_column("1"))
)
_CANCELLED = Query(
    select(responses.c.project_id, responses.c.id).where(
        _MINE, _UNFINISHED, responses.c.cancel_requested == literal_column("1")
    )
)


class _Advance(NamedTuple):
    response: StoredResponse
    items: Sequence[StoredItem]
    events: EventBatch | None
    appended: Sequence[ConversationItem]


class _Take(NamedTuple):
    owner: str
    free: Sequence[Free]


class _PutOff(NamedTuple):
    response: StoredResponse
    until: int
    request: bytes | None


class Making(StoreSection):
    """Implements who makes what of `ports.ResponseStore`."""

    async def advance_response(
        self,
        response: StoredResponse,
        items: Sequence[StoredItem] = (),
        events: EventBatch | None = None,
        *,
        appended: Sequence[ConversationItem] = (),
    ) -> None:
        """Change a response that its owner is making; see `ports`. Raises `LeaseLost`."""
        require_valid_id(response.project_id, response.id, *(item.id for item in items))
        await self._database.write(
            _advance, _Advance(response, items, events, appended), key=(response.project_id, response.id)
        )

    async def free_responses(self, *, now: int, each: int, limit: int, cancelled: bool = False) -> list[Free]:
        """Unfinished responses that nobody makes; see `ports`."""
        return await self._database.read(_find_free, now, each, limit, cancelled)

    async def take_responses(self, owner: str, free: Sequence[Free]) -> list[StoredResponse]:
        """Take those of these that are still free; see `ports`."""
        return await self._database.write(_take, _Take(owner, free), key="take")

    async def held_responses(self, owner: str) -> list[tuple[str, str]]:
        """(project, id) of what `owner` is making."""
        return await self._database.read(_held, owner)

    async def put_off_response(self, response: StoredResponse, until: int, request: bytes | None = None) -> None:
        """Let it wait until `until`; see `ports`."""
        await self._database.write(_put_off, _PutOff(response, until, request), key=(response.project_id, response.id))

    async def request_cancel(self, project_id: str, response_id: str) -> None:
        """Ask whoever makes this background response to stop."""
        if is_valid_id(project_id, response_id):
            name = (project_id, response_id)
            await self._database.write(_ask_cancel, name, key=name)

    async def cancelled_responses(self, owner: str) -> list[tuple[str, str]]:
        """(project, id) of what `owner` is making and was asked to stop."""
        return await self._database.read(_cancelled, owner)


def _advance(session: Session, batch: Sequence[_Advance]) -> list[None]:
    for response, _, _, appended in batch:
        changed = session.run(
            _END if response.ended else _ADVANCE,
            {
                "project_id": response.project_id,
                "id": response.id,
                "expected": response.owner,
                "status": response.status,
                "body": response.body,
            },
        )
        if changed != 1:
            raise LeaseLost("The response is gone, or is made by another worker now.")
        if response.ended:
            keep_turn(session, response, appended)
    add_items(session, [(entry.response, entry.items) for entry in batch])
    add_events(session, [(entry.response, entry.events) for entry in batch if entry.events is not None])
    return [None] * len(batch)


def _find_free(session: Session, now: int, each: int, limit: int, cancelled: bool) -> list[Free]:
    place: dict[str, object] = {"each": each, "limit": limit}
    if cancelled:
        return [Free(*row) for row in session.all(_FREE_CANCELLED, place)]
    furthest = now + int(limits.MAX_BACKGROUND_PAUSE * (1 + limits.BACKGROUND_JITTER) * 1000)
    return [Free(*row) for row in session.all(_FREE, {**place, "now": now, "furthest": furthest})]


def _take(session: Session, batch: Sequence[_Take]) -> list[list[StoredResponse]]:
    return [_take_all(session, take) for take in batch]


def _take_all(session: Session, take: _Take) -> list[StoredResponse]:
    taken = []
    for project_id, response_id, seen in take.free:
        name = {"project_id": project_id, "id": response_id}
        if session.run(_TAKE, {**name, "new_owner": take.owner, "seen": seen or ""}):
            row = session.one(_GET, name)
            if row is not None:
                taken.append(response_of(row))
    return taken


def _held(session: Session, owner: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in session.all(_HELD, {"expected": owner})]


def _put_off(session: Session, batch: Sequence[_PutOff]) -> list[None]:
    for response, until, request in batch:
        name = {"project_id": response.project_id, "id": response.id}
        changes = {"expected": response.owner, "until": until, "waits": response.waited}
        if session.run(_PUT_OFF, {**name, **changes}) and request is not None:
            session.run(_KEEP_REQUEST, {**name, "new_request": request})
    return [None] * len(batch)


def _ask_cancel(session: Session, batch: Sequence[tuple[str, str]]) -> list[None]:
    for project_id, response_id in batch:
        session.run(_ASK_CANCEL, {"project_id": project_id, "id": response_id})
    return [None] * len(batch)


def _cancelled(session: Session, owner: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in session.all(_CANCELLED, {"expected": owner})]
