"""Jobs for workers: which are free, who claims them, and what the holder of a claim may write.

Of two workers that claim a job at once, one gets it: a claim names the `attempts` that were seen, and counts them up.
Every later write names the claim's holder and attempts, so it changes nothing once the job was claimed again.

What a job is about is claimed with it where its rows name their owner: see `_ABOUT`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Integer, Select, and_, bindparam, case, func, literal_column, null, or_, select, text, update

from antiphon.domain import limits
from antiphon.domain.durations import milliseconds
from antiphon.domain.errors import InvalidRequest, LeaseLost
from antiphon.domain.jobs import RESPONSE, End, FreeJob, Job, PutBack
from antiphon.stores.jobs import IS_OPEN, IS_QUEUED, THIS_JOB, job_named
from antiphon.stores.query import DatabaseSession, Statement
from antiphon.stores.section import StoreSection
from antiphon.stores.tables import JOB_CANCELLED, JOB_HELD, JOB_LOST, JOB_QUEUED, UNFINISHED, jobs, responses, workers
from antiphon.stores.times import database_now

_ITS_WORKER_IS_GONE = and_(
    jobs.c.holder.is_not(None),
    ~select(literal_column("1")).where(workers.c.id == jobs.c.holder).correlate(jobs).exists(),
)
_CANCELLED = jobs.c.cancel_requested == literal_column("1")
#: A time further ahead than the pause was long comes from a clock that has been set back since.
_DUE = or_(jobs.c.run_at <= database_now(), jobs.c.run_at > database_now() + jobs.c.delay)
#: A job that can be claimed and has a holder has just lost it.
_LOSSES = jobs.c.losses + case((jobs.c.holder.is_(None), literal_column("0")), else_=literal_column("1"))
_OF_KIND = jobs.c.kind == bindparam("kind")
_FREE = (jobs.c.project_id, jobs.c.id, jobs.c.kind, -jobs.c.rank, jobs.c.attempts, _LOSSES)


def _limited(statement: Select[Any]) -> Select[Any]:
    return statement.limit(bindparam("limit", type_=Integer)).offset(literal_column("0"))


def _due() -> Statement:
    """The first `each` of each project that are due.

    A project is found by a jump in the index from the one before it, and its jobs stand there in their order: so this
    takes as long as there are projects that wait, and not jobs.
    """
    first = select(func.min(jobs.c.project_id).label("id")).where(IS_QUEUED)
    project = first.cte("waiting", recursive=True)
    following = select(func.min(jobs.c.project_id)).where(IS_QUEUED, jobs.c.project_id > project.c.id)
    project = project.union_all(select(following.scalar_subquery()).where(project.c.id.is_not(None)))
    its = jobs.alias("its")
    chosen = (
        select(its.c.seq)
        .where(
            its.c.project_id == project.c.id,
            its.c.kind == bindparam("kind"),
            text(f"its.{JOB_QUEUED}"),
            its.c.losses < bindparam("suspect"),
            or_(its.c.run_at <= database_now(), its.c.run_at > database_now() + its.c.delay),
        )
        .order_by(its.c.rank, its.c.seq)
        .limit(bindparam("each", type_=Integer))
        .offset(literal_column("0"))
        .correlate(project)
    )
    of_projects = select(*_FREE).select_from(project.join(jobs, jobs.c.seq.in_(chosen)))
    place = func.row_number().over(partition_by=jobs.c.project_id, order_by=(jobs.c.rank, jobs.c.seq))
    return Statement(_limited(of_projects.order_by(place, jobs.c.seq)))


_DUE_JOBS = _due()
_WITHOUT_WORKER = Statement(
    _limited(select(*_FREE).where(_OF_KIND, text(f"jobs.{JOB_HELD}"), IS_OPEN, _ITS_WORKER_IS_GONE)).order_by(
        jobs.c.rank, jobs.c.seq
    )
)
_SUSPECTS = Statement(
    _limited(
        select(*_FREE)
        .where(_OF_KIND, text(f"jobs.{JOB_LOST}"), jobs.c.losses >= bindparam("suspect"), _DUE)
        .order_by(jobs.c.seq)
    )
)
_FREE_CANCELLED = Statement(
    _limited(
        select(*_FREE)
        .where(_OF_KIND, text(f"jobs.{JOB_CANCELLED}"), or_(jobs.c.holder.is_(None), _ITS_WORKER_IS_GONE))
        .order_by(jobs.c.seq)
    )
)


# That it is as it was seen matters on PostgreSQL: of two that claim it at once, the second looks again at the row, but
# at the workers as they were before.
_CLAIM = Statement(
    update(jobs)
    .where(
        *THIS_JOB,
        IS_OPEN,
        jobs.c.attempts == bindparam("seen"),
        or_(jobs.c.holder.is_(None), _ITS_WORKER_IS_GONE),
    )
    .values(
        state=literal_column("'running'"),
        holder=bindparam("worker"),
        attempts=jobs.c.attempts + literal_column("1"),
        losses=_LOSSES,
    )
)
#: By kind: what names its owner, so that only the holder of the job may change it.
_ABOUT = {
    RESPONSE: Statement(
        update(responses)
        .where(
            responses.c.project_id == bindparam("project_id"),
            responses.c.id == bindparam("id"),
            text(f"responses.{UNFINISHED}"),
        )
        .values(owner=bindparam("worker"))
    )
}
_HELD = Statement(select(jobs.c.project_id, jobs.c.id).where(jobs.c.holder == bindparam("worker"), IS_OPEN))
_HELD_CANCELLED = Statement(
    select(jobs.c.project_id, jobs.c.id).where(jobs.c.holder == bindparam("worker"), IS_OPEN, _CANCELLED)
)
_MINE = (*THIS_JOB, IS_OPEN, jobs.c.holder == bindparam("worker"), jobs.c.attempts == bindparam("claim"))
_NOTE = Statement(update(jobs).where(*_MINE).values(progress=bindparam("note")))
_PUT_BACK = Statement(
    update(jobs)
    .where(*_MINE)
    .values(
        state=literal_column("'queued'"),
        holder=null(),
        run_at=database_now() + bindparam("pause"),
        delay=bindparam("pause"),
        failures=jobs.c.failures + bindparam("failed"),
        waited=jobs.c.waited + bindparam("waits"),
        error=func.coalesce(bindparam("reason"), jobs.c.error),
    )
)
_REPLACE_PAYLOAD = Statement(update(jobs).where(*THIS_JOB, IS_OPEN).values(payload=bindparam("content")))
_ENDED = {
    "state": bindparam("ending"),
    "holder": null(),
    "finished_at": database_now(),
    "error": bindparam("reason"),
    "result": bindparam("outcome"),
}
_END = Statement(update(jobs).where(*_MINE).values(**_ENDED, payload=bindparam("nothing")))
_BURY = Statement(update(jobs).where(*_MINE).values(**_ENDED))


class _Claim(NamedTuple):
    worker: str
    free: Sequence[FreeJob]


class ClaimSection(StoreSection):
    """Implements the workers' part of `ports.JobStore`."""

    async def free_jobs(self, kind: str, *, each: int, limit: int) -> list[FreeJob]:
        """Jobs that can be claimed; see `ports`."""
        return await self._database.read(_find_free, kind, each, limit)

    async def free_cancelled_jobs(self, kind: str, *, limit: int) -> list[FreeJob]:
        """Jobs that can be claimed and were asked to end; see `ports`."""
        return await self._database.read(_find_cancelled, kind, limit)

    async def claim_jobs(self, worker: str, free: Sequence[FreeJob]) -> list[Job]:
        """Claim those of these that are still as they were seen; see `ports`."""
        return await self._database.write(_claim, _Claim(worker, free), key="claim")

    async def held_jobs(self, worker: str) -> list[tuple[str, str]]:
        """(project, id) of what this worker holds."""
        return await self._database.read(_names, _HELD, worker)

    async def cancelled_jobs(self, worker: str) -> list[tuple[str, str]]:
        """(project, id) of what this worker holds and was asked to end."""
        return await self._database.read(_names, _HELD_CANCELLED, worker)

    async def note_progress(self, job: Job, progress: bytes) -> None:
        """Keep a note of how far it has come; see `ports`."""
        if len(progress) > limits.MAX_JOB_PROGRESS:
            raise InvalidRequest("A job's note of its progress is too long.", code="job_too_large")
        await self._database.write(_note, (job, progress), key=job.name)

    async def put_back_job(self, job: Job, back: PutBack) -> None:
        """Queue it again; see `ports`."""
        await self._database.write(_put_back, (job, back), key=job.name)

    async def end_job(self, job: Job, end: End) -> None:
        """It has ended; see `ports`."""
        if len(end.result or b"") > limits.MAX_JOB_RESULT:
            raise InvalidRequest("A job's result is too large.", code="job_too_large")
        await self._database.write(_end, (job, end), key=job.name)


def _find_free(session: DatabaseSession, kind: str, each: int, limit: int) -> list[FreeJob]:
    which: dict[str, object] = {"kind": kind, "limit": limit}
    suspect = {"suspect": limits.SUSPECT_LOSSES}
    rows = session.all(_FREE_CANCELLED, which)
    rows += session.all(_WITHOUT_WORKER, which)
    rows += session.all(_DUE_JOBS, {**which, **suspect, "each": each})
    rows += session.all(_SUSPECTS, {**which, **suspect})
    return [FreeJob(*row) for row in dict.fromkeys(rows)]


def _find_cancelled(session: DatabaseSession, kind: str, limit: int) -> list[FreeJob]:
    return [FreeJob(*row) for row in session.all(_FREE_CANCELLED, {"kind": kind, "limit": limit})]


def _claim(session: DatabaseSession, batch: Sequence[_Claim]) -> list[list[Job]]:
    return [_claim_all(session, claim) for claim in batch]


def _claim_all(session: DatabaseSession, claim: _Claim) -> list[Job]:
    claimed = []
    for free in claim.free:
        name = {"project_id": free.project_id, "id": free.id, "worker": claim.worker}
        if session.run(_CLAIM, {**name, "seen": free.attempts}):
            if free.kind in _ABOUT:
                session.run(_ABOUT[free.kind], name)
            job = job_named(session, free.project_id, free.id)
            if job is not None:
                claimed.append(job)
    return claimed


def _names(session: DatabaseSession, query: Statement, worker: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in session.all(query, {"worker": worker})]


def _claim_of(job: Job) -> dict[str, object]:
    return {"project_id": job.project_id, "id": job.id, "worker": job.holder, "claim": job.attempts}


def _require(changed: int) -> None:
    if changed != 1:
        raise LeaseLost("The job has ended, or is another worker's now.")


def _note(session: DatabaseSession, batch: Sequence[tuple[Job, bytes]]) -> list[None]:
    for job, progress in batch:
        _require(session.run(_NOTE, {**_claim_of(job), "note": progress}))
    return [None] * len(batch)


def _put_back(session: DatabaseSession, batch: Sequence[tuple[Job, PutBack]]) -> list[None]:
    for job, back in batch:
        pause = milliseconds(min(max(back.pause, 0.0), limits.MAX_JOB_DELAY))
        values = {
            "pause": pause,
            "failed": int(back.error is not None),
            "waits": pause if back.waits else 0,
            "reason": _shortened(back.error),
        }
        _require(session.run(_PUT_BACK, {**_claim_of(job), **values}))
        if back.payload is not None:
            name = {"project_id": job.project_id, "id": job.id}
            session.run(_REPLACE_PAYLOAD, {**name, "content": back.payload})
    return [None] * len(batch)


def _end(session: DatabaseSession, batch: Sequence[tuple[Job, End]]) -> list[None]:
    for job, end in batch:
        end_claimed(session, job, end)
    return [None] * len(batch)


def end_claimed(session: DatabaseSession, job: Job, end: End) -> None:
    """End a job within a transaction that also ends what it is about. Raises `LeaseLost` if the claim is over."""
    values = {**_claim_of(job), "ending": end.state, "outcome": end.result, "reason": _shortened(end.error)}
    if end.state == "dead":
        _require(session.run(_BURY, values))
    else:
        _require(session.run(_END, {**values, "nothing": b""}))


def _shortened(text_: str | None) -> str | None:
    return None if text_ is None else text_.replace("\x00", "")[: limits.MAX_JOB_ERROR]
