"""Responses that are being made: who makes them, until when, and what they have said so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Integer, and_, bindparam, delete, func, literal_column, null, or_, select, text, update

from antiphon.domain.errors import LeaseLost
from antiphon.domain.records import ConversationItem, EventBatch, EventPage, StoredItem, StoredResponse
from antiphon.stores.part import Part, possible, require_possible
from antiphon.stores.query import Query, Session
from antiphon.stores.responses import RESPONSE, add_events, add_items, response_of
from antiphon.stores.tables import HAS_LOG, UNFINISHED, conversations, response_events, responses
from antiphon.stores.turns import keep_turn

#: Responses asked about in one statement.
_AT_ONCE = 500

_THIS = and_(responses.c.project_id == bindparam("project_id"), responses.c.id == bindparam("id"))
_UNFINISHED = text(f"responses.{UNFINISHED}")
_MINE = responses.c.owner == bindparam("expected")

_ADVANCE = Query(
    update(responses).where(_THIS, _MINE, _UNFINISHED).values(status=bindparam("status"), body=bindparam("body"))
)
_END = Query(
    update(responses)
    .where(_THIS, _MINE, _UNFINISHED)
    .values(status=bindparam("status"), body=bindparam("body"), owner=null(), lease_until=null(), request=null())
)
_FREE = or_(responses.c.lease_until.is_(None), responses.c.lease_until < bindparam("now"))
_OLDEST = (
    select(responses.c.project_id, responses.c.id)
    .where(_UNFINISHED, _FREE)
    .order_by(responses.c.created_at, responses.c.id)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_CLAIMABLE = Query(_OLDEST)
_CLAIMABLE_CANCELLED = Query(_OLDEST.where(responses.c.cancel_requested == literal_column("1")))
# The condition is looked at once more: on PostgreSQL another worker may have been faster.
_CLAIM = Query(
    update(responses)
    .where(_THIS, _UNFINISHED, _FREE)
    .values(owner=bindparam("new_owner"), lease_until=bindparam("until"))
)
_GET = Query(select(*RESPONSE).where(_THIS))
_RENEW = Query(update(responses).where(_MINE, _UNFINISHED).values(lease_until=bindparam("until")))
_RENEW_CONVERSATIONS = Query(
    update(conversations)
    .where(conversations.c.active_owner == bindparam("expected"))
    .values(active_until=bindparam("until"))
)
_RELEASE = Query(
    update(responses)
    .where(_MINE, _UNFINISHED, responses.c.background == literal_column("1"))
    .values(owner=null(), lease_until=null())
)
_RELEASE_ONE = Query(
    update(responses).where(_THIS, _MINE, _UNFINISHED).values(owner=null(), lease_until=bindparam("until"))
)
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

_LOG = (
    response_events.c.project_id == bindparam("project_id"),
    response_events.c.response_id == bindparam("response_id"),
)
_EVENTS = Query(
    select(response_events.c.first, response_events.c.count, response_events.c.payload, response_events.c.progress)
    .where(*_LOG, response_events.c.first + response_events.c.count > bindparam("from"))
    .order_by(response_events.c.first)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_LOG_START = Query(select(func.min(response_events.c.first)).where(*_LOG))
_STATUS = Query(select(responses.c.status).where(_THIS))
_TRIM = Query(
    delete(response_events).where(*_LOG, response_events.c.first + response_events.c.count <= bindparam("before"))
)
_EXPIRED = Query(
    select(responses.c.project_id, responses.c.id)
    .where(responses.c.expires_at < bindparam("now"))
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_DELETE = Query(delete(responses).where(_THIS))
_OLD_LOGS = Query(
    select(responses.c.project_id, responses.c.id)
    .where(
        text(f"responses.{HAS_LOG}"),
        responses.c.created_at < bindparam("logs_before"),
        text("responses.status NOT IN ('in_progress', 'queued')"),
    )
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_DELETE_LOG = Query(
    delete(response_events).where(
        response_events.c.project_id == bindparam("project_id"), response_events.c.response_id == bindparam("id")
    )
)
_FORGET_LOG = Query(update(responses).where(_THIS).values(has_log=literal_column("0")))


class _Advance(NamedTuple):
    response: StoredResponse
    items: Sequence[StoredItem]
    events: EventBatch | None
    appended: Sequence[ConversationItem]


class _Claim(NamedTuple):
    owner: str
    now: int
    until: int
    limit: int
    cancelled: bool


class _Sweep(NamedTuple):
    now: int
    logs_before: int
    limit: int


class Making(Part):
    """Implements the leases and event logs of `ports.ResponseStore`."""

    async def advance_response(
        self,
        response: StoredResponse,
        items: Sequence[StoredItem] = (),
        events: EventBatch | None = None,
        *,
        appended: Sequence[ConversationItem] = (),
    ) -> None:
        """Change a response that its owner is making; see `ports`. Raises `LeaseLost`."""
        require_possible(response.project_id, response.id, *(item.id for item in items))
        await self._database.write(
            _advance, _Advance(response, items, events, appended), key=(response.project_id, response.id)
        )

    async def claim_responses(
        self, owner: str, *, now: int, until: int, limit: int, cancelled: bool = False
    ) -> list[StoredResponse]:
        """Take unfinished responses that nobody holds; see `ports`."""
        return await self._database.write(_claim, _Claim(owner, now, until, limit, cancelled), key="claim")

    async def renew_leases(self, owner: str, until: int) -> None:
        """Hold what `owner` is making until `until` (Unix milliseconds)."""
        await self._database.write(_renew, (owner, until), key=("lease", owner))

    async def release_leases(self, owner: str) -> None:
        """Let others take over what `owner` is making in the background."""
        await self._database.write(_release, owner, key=("lease", owner))

    async def release_lease(self, response: StoredResponse, until: int) -> None:
        """Let others take over one response, from `until` (Unix milliseconds) on."""
        await self._database.write(_release_one, (response, until), key=(response.project_id, response.id))

    async def request_cancel(self, project_id: str, response_id: str) -> None:
        """Ask whoever makes this background response to stop."""
        if possible(project_id, response_id):
            name = (project_id, response_id)
            await self._database.write(_ask_cancel, name, key=name)

    async def cancelled_responses(self, owner: str) -> list[tuple[str, str]]:
        """(project, id) of what `owner` is making and was asked to stop."""
        return await self._database.read(_cancelled, owner)

    async def events(self, project_id: str, response_id: str, *, after: int, limit: int) -> EventPage | None:
        """Up to `limit` batches with events after `after`; see `ports`."""
        if not possible(project_id, response_id):
            return None
        return await self._database.read(_events, project_id, response_id, after, limit)

    async def newest_events(self, responses: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """The first number of the newest batch of each of these (project, id), where there is one."""
        return await self._database.read(_newest, responses) if responses else {}

    async def trim_events(self, project_id: str, response_id: str, before: int) -> None:
        """Forget the batches that end before sequence number `before`."""
        await self._database.write(_trim, (project_id, response_id, before), key=(project_id, response_id), erases=True)

    async def sweep(self, *, now: int, logs_before: int, limit: int) -> int:
        """Delete what has expired; see `ports`."""
        return await self._database.write(_sweep, _Sweep(now, logs_before, limit), key="sweep", erases=True)


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


def _claim(session: Session, batch: Sequence[_Claim]) -> list[list[StoredResponse]]:
    return [_claim_one(session, claim) for claim in batch]


def _claim_one(session: Session, claim: _Claim) -> list[StoredResponse]:
    taken = []
    claimable = _CLAIMABLE_CANCELLED if claim.cancelled else _CLAIMABLE
    for project_id, response_id in session.all(claimable, {"now": claim.now, "limit": claim.limit}):
        name = {"project_id": project_id, "id": response_id}
        if session.run(_CLAIM, {**name, "new_owner": claim.owner, "until": claim.until, "now": claim.now}):
            row = session.one(_GET, name)
            if row is not None:
                taken.append(replace(response_of(row), owner=claim.owner, lease_until=claim.until))
    return taken


def _renew(session: Session, batch: Sequence[tuple[str, int]]) -> list[None]:
    for owner, until in batch:
        session.run(_RENEW, {"expected": owner, "until": until})
        session.run(_RENEW_CONVERSATIONS, {"expected": owner, "until": until})
    return [None] * len(batch)


def _release(session: Session, batch: Sequence[str]) -> list[None]:
    for owner in batch:
        session.run(_RELEASE, {"expected": owner})
    return [None] * len(batch)


def _release_one(session: Session, batch: Sequence[tuple[StoredResponse, int]]) -> list[None]:
    for response, until in batch:
        name = {"project_id": response.project_id, "id": response.id}
        session.run(_RELEASE_ONE, {**name, "expected": response.owner, "until": until})
    return [None] * len(batch)


def _ask_cancel(session: Session, batch: Sequence[tuple[str, str]]) -> list[None]:
    for project_id, response_id in batch:
        session.run(_ASK_CANCEL, {"project_id": project_id, "id": response_id})
    return [None] * len(batch)


def _cancelled(session: Session, owner: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in session.all(_CANCELLED, {"expected": owner})]


def _events(session: Session, project_id: str, response_id: str, after: int, limit: int) -> EventPage | None:
    log = {"project_id": project_id, "response_id": response_id}
    with session.snapshot():
        status = session.one(_STATUS, {"project_id": project_id, "id": response_id})
        if status is None:
            return None
        start = session.one(_LOG_START, log)
        rows = session.all(_EVENTS, {**log, "from": after + 1, "limit": limit})
    unfinished = status[0] in {"queued", "in_progress"}
    return EventPage(
        [EventBatch(*row) for row in rows], start[0] if start else None, ended=not unfinished and len(rows) < limit
    )


def _newest(session: Session, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        ids = [response_id for _, response_id in wanted[start : start + _AT_ONCE]]
        statement = (
            select(response_events.c.project_id, response_events.c.response_id, func.max(response_events.c.first))
            .where(response_events.c.response_id.in_(ids))
            .group_by(response_events.c.project_id, response_events.c.response_id)
        )
        found.update({(row[0], row[1]): row[2] for row in session.select(statement)})
    asked = set(wanted)
    return {name: first for name, first in found.items() if name in asked}


def _trim(session: Session, batch: Sequence[tuple[str, str, int]]) -> list[None]:
    for project_id, response_id, before in batch:
        session.run(_TRIM, {"project_id": project_id, "response_id": response_id, "before": before})
    return [None] * len(batch)


def _sweep(session: Session, batch: Sequence[_Sweep]) -> list[int]:
    return [_sweep_one(session, sweep) for sweep in batch]


def _sweep_one(session: Session, sweep: _Sweep) -> int:
    expired = session.all(_EXPIRED, {"now": sweep.now, "limit": sweep.limit})
    session.many(_DELETE, [{"project_id": row[0], "id": row[1]} for row in expired])
    old = session.all(_OLD_LOGS, {"logs_before": sweep.logs_before, "limit": sweep.limit})
    logs = [{"project_id": row[0], "id": row[1]} for row in old]
    session.many(_DELETE_LOG, logs)
    session.many(_FORGET_LOG, logs)
    return max(len(expired), len(old))
