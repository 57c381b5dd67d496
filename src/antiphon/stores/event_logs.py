"""Event logs of responses, and what is forgotten of responses in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Integer, and_, bindparam, delete, func, literal_column, select, text, update

from antiphon.domain.records import EventBatch, EventPage
from antiphon.stores.jobs import DELETE_JOB
from antiphon.stores.query import DatabaseSession, Statement
from antiphon.stores.section import StoreSection, is_valid_id
from antiphon.stores.tables import HAS_LOG, response_events, responses

#: Responses asked about in one statement.
_AT_ONCE = 500

_THIS = and_(responses.c.project_id == bindparam("project_id"), responses.c.id == bindparam("id"))
_LOG = (
    response_events.c.project_id == bindparam("project_id"),
    response_events.c.response_id == bindparam("response_id"),
)
_EVENTS = Statement(
    select(response_events.c.first, response_events.c.count, response_events.c.payload, response_events.c.progress)
    .where(*_LOG, response_events.c.first + response_events.c.count > bindparam("from"))
    .order_by(response_events.c.first)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_LOG_START = Statement(select(func.min(response_events.c.first)).where(*_LOG))
_STATUS = Statement(select(responses.c.status).where(_THIS))
_TRIM = Statement(
    delete(response_events).where(*_LOG, response_events.c.first + response_events.c.count <= bindparam("before"))
)
_EXPIRED = Statement(
    select(responses.c.project_id, responses.c.id)
    .where(responses.c.expires_at < bindparam("now"))
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_DELETE = Statement(delete(responses).where(_THIS))
_OLD_LOGS = Statement(
    select(responses.c.project_id, responses.c.id)
    .where(
        text(f"responses.{HAS_LOG}"),
        responses.c.created_at < bindparam("logs_before"),
        text("responses.status NOT IN ('in_progress', 'queued')"),
    )
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_DELETE_LOG = Statement(
    delete(response_events).where(
        response_events.c.project_id == bindparam("project_id"), response_events.c.response_id == bindparam("id")
    )
)
_FORGET_LOG = Statement(update(responses).where(_THIS).values(has_log=literal_column("0")))


class _Sweep(NamedTuple):
    now: int
    logs_before: int
    limit: int


class EventLogSection(StoreSection):
    """Implements the event logs of `ports.ResponseStore`."""

    async def events(self, project_id: str, response_id: str, *, after: int, limit: int) -> EventPage | None:
        """Up to `limit` batches with events after `after`; see `ports`."""
        if not is_valid_id(project_id, response_id):
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


def _events(session: DatabaseSession, project_id: str, response_id: str, after: int, limit: int) -> EventPage | None:
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


def _newest(session: DatabaseSession, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
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


def _trim(session: DatabaseSession, batch: Sequence[tuple[str, str, int]]) -> list[None]:
    for project_id, response_id, before in batch:
        session.run(_TRIM, {"project_id": project_id, "response_id": response_id, "before": before})
    return [None] * len(batch)


def _sweep(session: DatabaseSession, batch: Sequence[_Sweep]) -> list[int]:
    return [_sweep_one(session, sweep) for sweep in batch]


def _sweep_one(session: DatabaseSession, sweep: _Sweep) -> int:
    expired = session.all(_EXPIRED, {"now": sweep.now, "limit": sweep.limit})
    names = [{"project_id": row[0], "id": row[1]} for row in expired]
    session.many(DELETE_JOB, names)
    session.many(_DELETE, names)
    old = session.all(_OLD_LOGS, {"logs_before": sweep.logs_before, "limit": sweep.limit})
    logs = [{"project_id": row[0], "id": row[1]} for row in old]
    session.many(_DELETE_LOG, logs)
    session.many(_FORGET_LOG, logs)
    return max(len(expired), len(old))
