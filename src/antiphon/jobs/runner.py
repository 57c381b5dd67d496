"""Runs jobs: takes them from the database, and goes on with those of servers that are gone.

One runner on each server, with places for each kind. It looks for free jobs when it is told that there are some, once a
second in any case, and whenever a place comes free; it claims as many as it has places for, fairly between projects,
and runs each in a task. What runs here is never begun again here, whatever the database says of it: if it was claimed
by another server, its task finds that out at its next write, and ends.

Whatever the runner could not store is not forgotten: the job stays claimed, and the runner comes back to what it has
claimed and does not run (`_adopt`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, InvalidRequest, LeaseLost, StoreUnavailable, Unstorable
from antiphon.domain.jobs import End, FreeJob, Job, PutBack
from antiphon.jobs.fairness import choose, one_suspect
from antiphon.jobs.kinds import INTERRUPTED, SETTLED, GiveUp, JobContext, JobKind, Outcome, Reschedule
from antiphon.jobs.presence import Presence
from antiphon.periodic import PeriodicTask
from antiphon.ports.jobs import JobStore
from antiphon.telemetry.logs import logger

Name = tuple[str, str]
#: What is stored of a job when an attempt is over. `SETTLED`: nothing, it is stored already.
Ending = PutBack | End | Outcome

_log = logger(__name__)


@dataclass(eq=False)
class _Run:
    """A job that runs here. `missed`: looks in a row that found it to be held no more."""

    kind: JobKind[Any]
    context: JobContext[Any]
    task: asyncio.Task[None] = field(init=False)
    missed: int = 0

    @property
    def job(self) -> Job:
        return self.context.job


class JobRunner:
    """Runs jobs of these kinds. Jobs of other kinds are left to servers that know them."""

    def __init__(self, store: JobStore, presence: Presence, kinds: Iterable[JobKind[Any]] = ()) -> None:
        self._store = store
        self._presence = presence
        self._worker = presence.worker
        self._kinds: dict[str, JobKind[Any]] = {}
        self.install(kinds)
        self._runs: dict[Name, _Run] = {}
        #: Cancelled since the last claim began, and not running here: that claim may have taken them just before, or
        #: they wait for their turn.
        self._cancelled: set[Name] = set()
        #: Ends that could not be stored, with the attempt that they belong to.
        self._unwritten: dict[Name, tuple[int, Ending]] = {}
        self._notified = asyncio.Event()
        self._loops = PeriodicTask(_log, self._claim_step, self._adopt_step, self._cancel_step)

    def install(self, kinds: Iterable[JobKind[Any]]) -> None:
        """Run jobs of these kinds too, from the start on. Raises `ValueError` for a kind that is there already."""
        for kind in kinds:
            if kind.name in self._kinds:
                raise ValueError(f"there are two kinds of job with the name {kind.name}")
            self._kinds[kind.name] = kind

    # --- its life -----------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Begin. What a crash left behind is taken over first."""
        await self._claim()
        await self._loops.start()

    async def stop(self) -> None:
        """Begin nothing more, and leave to others, or to the next start, what loses nothing by that.

        What would lose something goes on until `finished` or `leave_all`. Safe to call twice.
        """
        await self._loops.stop()
        await self._leave([run for run in self._runs.values() if not run.context.would_be_lost])

    async def finished(self) -> None:
        """Wait until all that still runs has ended. Begin nothing before `stop`."""
        while self._runs:
            await asyncio.wait([run.task for run in self._runs.values()])

    async def leave_all(self) -> None:
        """Leave all that still runs as it is. Safe to call twice."""
        if self._runs:
            _log.warning("jobs are left in the middle", count=len(self._runs))
        await self._leave(list(self._runs.values()))

    async def close(self) -> None:
        """Let go of everything. Safe to call twice."""
        await self._loops.stop()
        await self.leave_all()

    @staticmethod
    async def _leave(runs: Sequence[_Run]) -> None:
        for run in runs:
            run.context.leave()
        await asyncio.gather(*(run.task for run in runs), return_exceptions=True)

    def notify(self) -> None:
        """There may be something to do."""
        self._notified.set()

    async def cancel(self, project_id: str, job_id: str) -> bool:
        """Have a job end, here or wherever it runs. False: there is none that has not ended."""
        found = await self._store.cancel_job(project_id, job_id)
        self._cancel((project_id, job_id))
        self.notify()
        return found

    def _cancel(self, name: Name) -> None:
        if name in self._runs:
            self._runs[name].context.cancel()
        else:
            self._cancelled.add(name)

    # --- claiming -----------------------------------------------------------------------------------------------------
    async def _claim_step(self) -> None:
        with contextlib.suppress(TimeoutError):
            # Not `wait_for`: Python 3.11's forgets that it was cancelled, if what it waited for came at the same time.
            async with asyncio.timeout(limits.CLAIM_TICK):
                await self._notified.wait()
        self._notified.clear()
        await self._claim()

    async def _claim(self) -> None:
        """Begin what is free, as far as there is room."""
        await self._presence.confirm()
        cancelled, self._cancelled = self._cancelled, set()
        if cancelled:
            # To end them takes no room, and nobody should have to wait for it.
            for name in self._kinds:
                await self._take(await self._store.free_cancelled_jobs(name, limit=len(cancelled)))
        for kind in self._kinds.values():
            while (room := self._room(kind)) > 0:
                free = await self._store.free_jobs(kind.name, each=room, limit=limits.CLAIM_LOOK)
                if not await self._take(self._choose(kind, free, room)):
                    break

    def _room(self, kind: JobKind[Any]) -> int:
        return kind.max_running - sum(run.kind is kind for run in self._runs.values())

    def _choose(self, kind: JobKind[Any], free: Sequence[FreeJob], room: int) -> list[FreeJob]:
        free = [each for each in free if each.name not in self._runs]
        running = any(run.job.losses >= limits.SUSPECT_LOSSES for run in self._runs.values())
        ours = Counter(run.job.project_id for run in self._runs.values() if run.kind is kind)
        return choose(one_suspect(free, running=running), room, ours, most=kind.max_of_project)

    async def _take(self, free: Sequence[FreeJob]) -> int:
        free = [each for each in free if each.name not in self._runs]
        claimed = await self._store.claim_jobs(self._worker, free) if free else []
        for job in claimed:
            self._begin(job)
        return len(claimed)

    def _begin(self, job: Job) -> None:
        run = _Run(self._kinds[job.kind], JobContext(self._store, job))
        if job.name in self._cancelled:
            run.context.cancel()
        run.task = asyncio.create_task(self._run(run), name=f"job {job.id}")
        self._runs[job.name] = run

        def over(_: asyncio.Task[None]) -> None:
            self._runs.pop(job.name, None)
            self.notify()

        run.task.add_done_callback(over)

    async def _adopt_step(self) -> None:
        await asyncio.sleep(limits.LEASE)
        before = set(self._runs)
        held = await self._store.held_jobs(self._worker)
        self._unwritten = {name: self._unwritten[name] for name in held if name in self._unwritten}
        self._drop_lost(before.difference(held))
        for name in held:
            if name in before or name in self._runs:
                continue
            job = await self._store.get_job(*name)
            if job is not None and job.holder == self._worker and job.kind in self._kinds and name not in self._runs:
                self._begin(job)

    def _drop_lost(self, names: Iterable[Name]) -> None:
        """Stop what is another worker's by now. Seen once, it may only be on its way to its end."""
        for name in names:
            run = self._runs.get(name)
            if run is not None:
                run.missed += 1
                if run.missed > 1:
                    run.context.leave()

    async def _cancel_step(self) -> None:
        await asyncio.sleep(limits.CANCEL_TICK)
        if self._runs:
            for name in await self._store.cancelled_jobs(self._worker):
                self._cancel(name)

    # --- running ------------------------------------------------------------------------------------------------------
    async def _run(self, run: _Run) -> None:
        """One attempt, and what is stored of it. The job stays claimed if that cannot be stored."""
        job = run.job
        attempt, ending = self._unwritten.pop(job.name, (0, None))
        try:
            if ending is None or attempt != job.attempts:
                ending = await self._attempt(run)
            await self._write(job, ending)
        except LeaseLost:
            _log.warning("a job was deleted or taken over", job=job.id, kind=job.kind)
        except AntiphonError as error:
            _log.error("a job could not be gone on with", job=job.id, kind=job.kind, reason=str(error))
        except Exception as error:
            _log.error("a job broke its runner", job=job.id, kind=job.kind, exc_info=error)

    async def _write(self, job: Job, ending: Ending) -> None:
        try:
            if isinstance(ending, PutBack):
                await self._store.put_back_job(job, ending)
            elif isinstance(ending, End):
                await self._store.end_job(job, ending)
        except LeaseLost:
            raise
        except (InvalidRequest, Unstorable) as error:
            # It would be refused each time.
            await self._store.end_job(job, End("dead", error=f"What this job gave cannot be stored. {error.message}"))
        except AntiphonError:
            self._unwritten[job.name] = (job.attempts, ending)
            raise

    async def _attempt(self, run: _Run) -> Ending:
        """Run it once. Raises `LeaseLost` and `StoreUnavailable`: then nothing is to be stored, or nothing can be."""
        kind, job, context = run.kind, run.job, run.context
        try:
            if job.losses >= limits.MAX_JOB_LOSSES:
                raise GiveUp("Each server that ran this job has died.")
            context.payload = kind.read(job)
            async with asyncio.timeout(kind.max_seconds):
                work = _once(kind, context)
                outcome = await (context.until_interrupted(work) if kind.interruptible else work)
        except Reschedule as pause:
            if job.waited >= limits.MAX_JOB_WAIT * 1000:
                return await self._dead(kind, job, GiveUp("This job has waited for too long."))
            return PutBack(pause.seconds, waits=True, payload=pause.payload)
        except (LeaseLost, StoreUnavailable):
            raise
        except GiveUp as error:
            return await self._dead(kind, job, error)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return await self._failed(kind, job, RuntimeError("it has cancelled itself"))
        except Exception as error:
            return await self._failed(kind, job, error)
        if outcome is not INTERRUPTED:
            return outcome if outcome is SETTLED else End("done", result=outcome)
        return PutBack() if context.leaving else await self._cancelled_end(kind, job)

    async def _cancelled_end(self, kind: JobKind[Any], job: Job) -> Ending:
        if kind.on_cancelled is not None and await self._is_settled(job, kind.on_cancelled(job)):
            return SETTLED
        return End("cancelled")

    async def _failed(self, kind: JobKind[Any], job: Job, error: Exception) -> Ending:
        _log.error("an attempt at a job has failed", job=job.id, kind=job.kind, **_reported(error))
        pause = kind.pause_after(error, job)
        if pause is None or job.failures + 1 >= job.max_attempts:
            return await self._dead(kind, job, error)
        return PutBack(pause, error=_words(error))

    async def _dead(self, kind: JobKind[Any], job: Job, error: Exception) -> Ending:
        _log.error("a job is given up", job=job.id, kind=job.kind, error=type(error).__name__)
        if kind.on_dead is not None and await self._is_settled(job, kind.on_dead(job, error)):
            return SETTLED
        return End("dead", error=_words(error))

    @staticmethod
    async def _is_settled(job: Job, ending: Awaitable[Outcome | None]) -> bool:
        """End what a job is about. A bug in that is logged, and the job ends all the same."""
        try:
            return await ending is SETTLED
        except (InvalidRequest, Unstorable) as error:
            _log.error("the end of a job has failed", job=job.id, kind=job.kind, reason=error.message)
        except AntiphonError:
            # Such as a database that is away. What the job is about would be left unfinished for ever: the job stays
            # claimed, and is tried again.
            raise
        except Exception as error:
            _log.error("the end of a job has failed", job=job.id, kind=job.kind, exc_info=error)
        return False


async def _once(kind: JobKind[Any], context: JobContext[Any]) -> bytes | Outcome | None:
    return await kind.run(context)


def _reported(error: Exception) -> dict[str, Any]:
    """What the log says of an error. One of our own has words without content; another one is a bug."""
    return {"reason": error.message} if isinstance(error, AntiphonError) else {"exc_info": error}


def _words(error: Exception) -> str:
    """What is kept of an error with its job."""
    if isinstance(error, AntiphonError):
        return error.message
    return str(error) if isinstance(error, GiveUp) else type(error).__name__
