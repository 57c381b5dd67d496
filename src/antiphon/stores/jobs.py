"""Jobs for those who want something done: stored, looked up, cancelled, asked for once more, counted, forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Integer, Select, bindparam, delete, func, literal_column, null, or_, select, text, update

from antiphon.domain import limits
from antiphon.domain.durations import milliseconds
from antiphon.domain.errors import InvalidRequest, RateLimited
from antiphon.domain.jobs import Job, JobCount, JobState, NewJob
from antiphon.stores.query import DatabaseSession, Row, Statement, insertion
from antiphon.stores.section import StoreSection, is_valid_id, require_valid_id
from antiphon.stores.tables import JOB_ENDED, JOB_HELD, JOB_OPEN, JOB_QUEUED, jobs
from antiphon.stores.times import database_now

#: In the order of the fields of `Job`, but for its payload.
_HEAD = (
    jobs.c.project_id,
    jobs.c.id,
    jobs.c.kind,
    jobs.c.state,
    -jobs.c.rank,
    jobs.c.run_at,
    jobs.c.attempts,
    jobs.c.failures,
    jobs.c.losses,
    jobs.c.max_attempts,
    jobs.c.waited,
    jobs.c.holder,
    jobs.c.cancel_requested,
    jobs.c.dedupe_key,
    jobs.c.created_at,
    jobs.c.finished_at,
    jobs.c.error,
    jobs.c.progress,
    jobs.c.result,
)
_CANCEL_AT = 12

THIS_JOB = (jobs.c.project_id == bindparam("project_id"), jobs.c.id == bindparam("id"))
IS_OPEN = text(f"jobs.{JOB_OPEN}")
IS_QUEUED = text(f"jobs.{JOB_QUEUED}")

_ADD = insertion(
    jobs,
    computed={
        "state": literal_column("'queued'"),
        "run_at": database_now() + bindparam("delay"),
        "created_at": database_now(),
        **dict.fromkeys(("attempts", "failures", "losses", "waited", "cancel_requested"), literal_column("0")),
        **dict.fromkeys(("holder", "finished_at", "error", "progress", "result"), null()),
    },
)
_GET = Statement(select(*_HEAD, jobs.c.payload).where(*THIS_JOB))
_SAME = Statement(
    select(jobs.c.id).where(
        jobs.c.project_id == bindparam("project_id"),
        jobs.c.kind == bindparam("kind"),
        jobs.c.dedupe_key == bindparam("dedupe_key"),
        IS_OPEN,
    )
)
_QUEUED_OF_PROJECT = Statement(
    select(func.count()).select_from(jobs).where(jobs.c.project_id == bindparam("project_id"), IS_QUEUED)
)
_CANCEL = Statement(update(jobs).where(*THIS_JOB, IS_OPEN).values(cancel_requested=literal_column("1")))
_RETRY = Statement(
    update(jobs)
    .where(*THIS_JOB, jobs.c.state == literal_column("'dead'"))
    .values(
        state=literal_column("'queued'"),
        run_at=database_now(),
        delay=literal_column("0"),
        finished_at=null(),
        error=null(),
        **dict.fromkeys(("failures", "losses", "waited", "cancel_requested"), literal_column("0")),
    )
)
_TIME = Statement(select(database_now()))
#: Each has an index that holds just these.
_COUNTS = [
    Statement(select(jobs.c.kind, jobs.c.state, func.count()).where(*which).group_by(jobs.c.kind, jobs.c.state))
    for which in (
        (IS_QUEUED,),
        (text(f"jobs.{JOB_HELD}"), IS_OPEN),
        (text(f"jobs.{JOB_ENDED}"), jobs.c.state == literal_column("'dead'")),
    )
]
_OLD = Statement(
    select(jobs.c.project_id, jobs.c.id)
    .where(
        text(f"jobs.{JOB_ENDED}"),
        or_(
            jobs.c.finished_at < bindparam("dead_before"),
            (jobs.c.finished_at < bindparam("ended_before")) & (jobs.c.state != literal_column("'dead'")),
        ),
    )
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
DELETE_JOB = Statement(delete(jobs).where(*THIS_JOB))


class _Sweep(NamedTuple):
    ended_before: int
    dead_before: int
    limit: int


class JobSection(StoreSection):
    """Implements the first and the last part of `ports.JobStore`."""

    async def enqueue_job(self, job: NewJob) -> str:
        """Store a job; see `ports`."""
        check_size(job)
        found = await self._database.write(_enqueue, job, key=(job.project_id, job.kind, job.dedupe_key or job.id))
        if found is None:
            raise no_room()
        return found

    async def get_job(self, project_id: str, job_id: str) -> Job | None:
        """The job, or None if this project has none of that id."""
        if not is_valid_id(project_id, job_id):
            return None
        return await self._database.read(job_named, project_id, job_id)

    async def list_jobs(
        self, *, project_id: str | None = None, kind: str | None = None, state: JobState | None = None, limit: int
    ) -> list[Job]:
        """Jobs, the newest first; see `ports`."""
        if not is_valid_id(project_id or "", kind or ""):
            return []
        wanted = select(*_HEAD).order_by(jobs.c.seq.desc()).limit(limit)
        for column, value in ((jobs.c.project_id, project_id), (jobs.c.kind, kind), (jobs.c.state, state)):
            if value is not None:
                wanted = wanted.where(column == value)
        return await self._database.read(_list, wanted)

    async def cancel_job(self, project_id: str, job_id: str) -> bool:
        """Ask for the end of a job; see `ports`."""
        if not is_valid_id(project_id, job_id):
            return False
        name = (project_id, job_id)
        return await self._database.write(_cancel, name, key=name)

    async def retry_job(self, project_id: str, job_id: str) -> bool:
        """Queue a dead job once more; see `ports`."""
        if not is_valid_id(project_id, job_id):
            return False
        name = (project_id, job_id)
        found = await self._database.write(_retry, name, key=name)
        if found is None:
            raise no_room()
        return found

    async def job_time(self) -> int:
        """The database's clock, in Unix milliseconds."""
        return await self._database.read(_time)

    async def count_jobs(self) -> list[JobCount]:
        """How many jobs of each kind are queued, running and dead."""
        return await self._database.read(_count)

    async def sweep_jobs(self, *, ended_before: int, dead_before: int, limit: int) -> int:
        """Delete jobs that ended long ago; see `ports`."""
        sweep = _Sweep(ended_before, dead_before, limit)
        return await self._database.write(_sweep, sweep, key="sweep jobs", erases=True)


class JobRoom:
    """How many more jobs projects may have, within one transaction."""

    def __init__(self, session: DatabaseSession) -> None:
        self._session = session
        self._queued: dict[str, int] = {}

    def take(self, project_id: str) -> bool:
        """One more job of this project, if there is room for it."""
        count = self._queued.get(project_id)
        if count is None:
            row = self._session.one(_QUEUED_OF_PROJECT, {"project_id": project_id})
            count = row[0] if row else 0
        if count >= limits.MAX_JOBS_OF_PROJECT:
            return False
        self._queued[project_id] = count + 1
        return True


def no_room() -> RateLimited:
    """A project has too many jobs that wait."""
    return RateLimited(
        f"This project has {limits.MAX_JOBS_OF_PROJECT} jobs that wait. Try again when some have been begun.",
        retry_after=60,
    )


def check_size(job: NewJob) -> None:
    """Raise `InvalidRequest` for what is too large to be stored."""
    require_valid_id(job.project_id, job.id, job.kind, job.dedupe_key or "")
    if len(job.payload) > limits.MAX_JOB_PAYLOAD:
        raise InvalidRequest(f"A job's payload may have at most {limits.MAX_JOB_PAYLOAD} bytes.", code="job_too_large")
    if len(job.kind) > limits.MAX_JOB_KIND or len(job.dedupe_key or "") > limits.MAX_JOB_KEY:
        raise InvalidRequest("A job's kind or its key is too long.", code="job_too_large")
    if not 0 <= job.delay <= limits.MAX_JOB_DELAY:
        raise InvalidRequest(f"A job may wait for at most {limits.MAX_JOB_DELAY:.0f} seconds.", code="job_too_late")


def add_jobs(session: DatabaseSession, new: Sequence[NewJob]) -> None:
    """Insert jobs. There must be room for them, and no others with their dedupe keys."""
    session.many(
        _ADD,
        [
            {
                "project_id": job.project_id,
                "id": job.id,
                "kind": job.kind,
                "rank": -job.priority,
                "delay": milliseconds(job.delay),
                "max_attempts": job.max_attempts,
                "dedupe_key": job.dedupe_key,
                "payload": job.payload,
            }
            for job in new
        ],
    )


def job_named(session: DatabaseSession, project_id: str, job_id: str) -> Job | None:
    """The job of this name, if there is one."""
    row = session.one(_GET, {"project_id": project_id, "id": job_id})
    return None if row is None else _job(row)


def _job(row: Row) -> Job:
    values: list[Any] = list(row)
    values[_CANCEL_AT] = bool(values[_CANCEL_AT])
    return Job(*values)


def _enqueue(session: DatabaseSession, batch: Sequence[NewJob]) -> list[str | None]:
    room = JobRoom(session)
    return [_enqueue_one(session, room, job) for job in batch]


def _enqueue_one(session: DatabaseSession, room: JobRoom, job: NewJob) -> str | None:
    if job.dedupe_key is not None:
        key = {"project_id": job.project_id, "kind": job.kind, "dedupe_key": job.dedupe_key}
        same = session.one(_SAME, key)
        if same is not None:
            return str(same[0])
    if not room.take(job.project_id):
        return None
    add_jobs(session, [job])
    return job.id


def _list(session: DatabaseSession, wanted: Select[Any]) -> list[Job]:
    return [_job((*row, b"")) for row in session.select(wanted)]


def _cancel(session: DatabaseSession, batch: Sequence[tuple[str, str]]) -> list[bool]:
    return [session.run(_CANCEL, {"project_id": project_id, "id": job_id}) > 0 for project_id, job_id in batch]


def _retry(session: DatabaseSession, batch: Sequence[tuple[str, str]]) -> list[bool | None]:
    room = JobRoom(session)
    return [
        session.run(_RETRY, {"project_id": project_id, "id": job_id}) > 0 if room.take(project_id) else None
        for project_id, job_id in batch
    ]


def _time(session: DatabaseSession) -> int:
    row = session.one(_TIME, {})
    assert row is not None
    return int(row[0])


def _count(session: DatabaseSession) -> list[JobCount]:
    return [JobCount(*row) for query in _COUNTS for row in session.all(query, {})]


def _sweep(session: DatabaseSession, batch: Sequence[_Sweep]) -> list[int]:
    return [_sweep_one(session, sweep) for sweep in batch]


def _sweep_one(session: DatabaseSession, sweep: _Sweep) -> int:
    old = session.all(_OLD, sweep._asdict())
    session.many(DELETE_JOB, [{"project_id": row[0], "id": row[1]} for row in old])
    return len(old)
