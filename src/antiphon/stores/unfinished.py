"""Responses that are being made: who may change them, and what their end means for their job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Integer, and_, bindparam, delete, func, literal_column, null, or_, select, text, update

from antiphon.domain.errors import LeaseLost
from antiphon.domain.records import ConversationItem, EventBatch, StoredItem, StoredResponse
from antiphon.stores.conversation_locks import settle_lock
from antiphon.stores.query import DatabaseSession, Statement
from antiphon.stores.responses import RESPONSE, add_events, add_items, response_of
from antiphon.stores.section import StoreSection, require_valid_id
from antiphon.stores.tables import JOB_OPEN, UNFINISHED, jobs, responses, workers
from antiphon.stores.times import database_now

_THIS = and_(responses.c.project_id == bindparam("project_id"), responses.c.id == bindparam("id"))
_UNFINISHED = text(f"responses.{UNFINISHED}")
_MINE = responses.c.owner == bindparam("expected")

_ADVANCE = Statement(
    update(responses).where(_THIS, _MINE, _UNFINISHED).values(status=bindparam("status"), body=bindparam("body"))
)
_END = Statement(
    update(responses)
    .where(_THIS, _MINE, _UNFINISHED)
    .values(status=bindparam("status"), body=bindparam("body"), owner=null())
)

_THEIR_WORKER_IS_GONE = or_(
    responses.c.owner.is_(None),
    ~select(literal_column("1")).where(workers.c.id == responses.c.owner).correlate(responses).exists(),
)
_INTERRUPTED = Statement(
    select(*RESPONSE)
    .where(_UNFINISHED, responses.c.background == literal_column("0"), _THEIR_WORKER_IS_GONE)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_ADOPT = Statement(
    update(responses)
    .where(
        _THIS,
        _UNFINISHED,
        func.coalesce(responses.c.owner, text("''")) == bindparam("seen"),
        _THEIR_WORKER_IS_GONE,
    )
    .values(owner=bindparam("worker"))
)
_HELD = Statement(
    select(responses.c.project_id, responses.c.id).where(
        _UNFINISHED, responses.c.background == literal_column("0"), responses.c.owner == bindparam("worker")
    )
)
_OPEN_JOB = (jobs.c.project_id == bindparam("project_id"), jobs.c.id == bindparam("id"), text(f"jobs.{JOB_OPEN}"))
_END_JOB = Statement(delete(jobs).where(*_OPEN_JOB))
_BURY_JOB = Statement(
    update(jobs)
    .where(*_OPEN_JOB)
    .values(state=literal_column("'dead'"), holder=null(), finished_at=database_now(), error=bindparam("reason"))
)


class _Advance(NamedTuple):
    response: StoredResponse
    items: Sequence[StoredItem]
    events: EventBatch | None
    appended: Sequence[ConversationItem]
    dead: str | None


class UnfinishedResponseSection(StoreSection):
    """Implements what `ports.ResponseStore` says of responses that are being made."""

    async def advance_response(
        self,
        response: StoredResponse,
        items: Sequence[StoredItem] = (),
        events: EventBatch | None = None,
        *,
        appended: Sequence[ConversationItem] = (),
        dead: str | None = None,
    ) -> None:
        """Change a response that its owner is making; see `ports`. Raises `LeaseLost`."""
        require_valid_id(response.project_id, response.id, *(item.id for item in items))
        advance = _Advance(response, items, events, appended, dead)
        await self._database.write(_advance, advance, key=(response.project_id, response.id))

    async def interrupted_responses(self, *, limit: int) -> list[StoredResponse]:
        """Foreground responses whose worker is dead; see `ports`."""
        return await self._database.read(_interrupted, limit)

    async def adopt_response(self, response: StoredResponse, worker: str) -> bool:
        """Make an unfinished response `worker`'s; see `ports`."""
        return await self._database.write(_adopt, (response, worker), key=(response.project_id, response.id))

    async def held_responses(self, worker: str) -> list[tuple[str, str]]:
        """(project, id) of the unfinished foreground responses of this worker."""
        return await self._database.read(_held, worker)


def _advance(session: DatabaseSession, batch: Sequence[_Advance]) -> list[None]:
    for response, _, _, appended, dead in batch:
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
            settle_lock(session, response, appended)
            _end_job(session, response, dead)
    add_items(session, [(entry.response, entry.items) for entry in batch])
    add_events(session, [(entry.response, entry.events) for entry in batch if entry.events is not None])
    return [None] * len(batch)


def _end_job(session: DatabaseSession, response: StoredResponse, dead: str | None) -> None:
    """The job of a background response has ended with it."""
    name = {"project_id": response.project_id, "id": response.id}
    if response.background and dead is None:
        session.run(_END_JOB, name)
    elif response.background:
        session.run(_BURY_JOB, {**name, "reason": dead})


def _interrupted(session: DatabaseSession, limit: int) -> list[StoredResponse]:
    return [response_of(row) for row in session.all(_INTERRUPTED, {"limit": limit})]


def _held(session: DatabaseSession, worker: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in session.all(_HELD, {"worker": worker})]


def _adopt(session: DatabaseSession, batch: Sequence[tuple[StoredResponse, str]]) -> list[bool]:
    return [_adopt_one(session, response, worker) for response, worker in batch]


def _adopt_one(session: DatabaseSession, response: StoredResponse, worker: str) -> bool:
    name = {"project_id": response.project_id, "id": response.id}
    return session.run(_ADOPT, {**name, "worker": worker, "seen": response.owner or ""}) > 0
