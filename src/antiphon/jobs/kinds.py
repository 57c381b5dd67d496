"""What a kind of job is: how one is run, how often, and what becomes of it at the end.

A kind is declared once, by the feature that it belongs to:

    JobKind("thumbnail", payload=Picture, run=make_thumbnail, max_running=4)

`run` is given a `JobContext` and does the job. How it returns says what becomes of the job:

- bytes or None: it is done, and that is its result.
- `SETTLED`: its end is in the database already, in one transaction with the rows that it is about.
- raises `Reschedule`: it has to wait, and does so in the database, not in a place of the runner.
- raises `GiveUp`: no further attempt can help. It is dead.
- raises anything else: this attempt has failed. There is another one after a pause (`pause_after`), until
  `max_attempts` have failed. Then it is dead.

An attempt may be the second one of a job: its server died, or it failed half-way. So whatever it does must bear being
done twice, or look first (at its rows, at `context.job.progress`) how far it had come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from antiphon.domain import limits
from antiphon.domain.chance import random
from antiphon.domain.errors import AntiphonError
from antiphon.domain.jobs import Job, NewJob
from antiphon.ports.jobs import JobStore
from antiphon.tasks import end

P = TypeVar("P")
T = TypeVar("T")


class Outcome(Enum):
    """How an attempt is over, other than with a result."""

    #: The end of the job is stored.
    SETTLED = auto()
    #: It was interrupted: the job is cancelled, or its server stops.
    INTERRUPTED = auto()


SETTLED: Final = Outcome.SETTLED
INTERRUPTED: Final = Outcome.INTERRUPTED


class Reschedule(Exception):
    """The job waits for `seconds`, and is begun again then. That counts as no failed attempt.

    `payload`, where given, replaces what it is begun with.
    """

    def __init__(self, seconds: float, *, payload: bytes | None = None) -> None:
        super().__init__(f"begun again in {seconds:.1f} seconds")
        self.seconds = seconds
        self.payload = payload


class GiveUp(Exception):
    """No further attempt can help. The message is kept with the dead job."""


class Unreadable(GiveUp):
    """What is stored of the job cannot be read."""


class JobContext(Generic[P]):
    """One attempt at a job, as its kind sees it."""

    def __init__(self, store: JobStore, job: Job) -> None:
        #: The job as it was claimed.
        self.job = job
        self.payload: P
        #: Nobody wants it any more.
        self.cancelled = job.cancel_requested
        #: It is to be left as it is, for another worker: this one stops, or has lost it.
        self.leaving = False
        #: Set by the kind: a stopping server waits for this attempt, as far as it can, since much would be lost.
        self.would_be_lost = False
        self._store = store
        self._work: asyncio.Future[Any] | None = None

    async def note(self, progress: bytes) -> None:
        """Keep a note of how far it has come. Raises `LeaseLost` if the job is another worker's by now."""
        await self._store.note_progress(self.job, progress)

    async def until_interrupted(self, work: Coroutine[Any, Any, T]) -> T | Literal[Outcome.INTERRUPTED]:
        """Do `work`; it is cancelled when the job is, or when its server stops."""
        if self.is_interrupted():
            work.close()
            return INTERRUPTED
        self._work = task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task})
        finally:
            self._work = None
            if not task.done():
                await end(task)
        if task.cancelled() and self.is_interrupted():
            return INTERRUPTED
        return task.result()

    def is_interrupted(self) -> bool:
        """Whether it is to end, or to be left."""
        return self.cancelled or self.leaving

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self.cancelled = True
        self._interrupt()

    def leave(self) -> None:
        """Leave it as it is."""
        self.leaving = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self._work is not None:
            self._work.cancel()


def default_pause(error: Exception, job: Job) -> float | None:
    """Seconds before the next attempt: twice as long each time, and never sooner than the error asks for."""
    grown = min(limits.JOB_PAUSE * 2.0 ** min(job.failures, 32), limits.MAX_JOB_PAUSE)
    asked = float(error.retry_after or 0) if isinstance(error, AntiphonError) else 0.0
    # What a server asks for may be a lie, or a year.
    return max(grown, min(asked, limits.MAX_JOB_PAUSE)) * (1 + limits.JOB_JITTER * random())


@dataclass(frozen=True)
class JobKind(Generic[P]):
    """A kind of job. `payload`: the type that payloads are JSON of.

    `on_dead` and `on_cancelled` end what the job is about, before the job itself ends. They may return `SETTLED`.
    `pause_after`: seconds before the next attempt; None gives the job up. `max_running`, `max_of_project`: on one
    server at once, of all projects and of one. `interruptible`: `run` is cancelled when the job is; otherwise it has to
    look after that itself, with `JobContext.until_interrupted`.
    """

    name: str
    payload: type[P]
    run: Callable[[JobContext[P]], Awaitable[bytes | Outcome | None]]
    on_dead: Callable[[Job, Exception], Awaitable[Outcome | None]] | None = None
    on_cancelled: Callable[[Job], Awaitable[Outcome | None]] | None = None
    pause_after: Callable[[Exception, Job], float | None] = default_pause
    max_running: int = limits.MAX_JOBS_OF_KIND
    max_of_project: int = limits.MAX_JOBS_OF_KIND_AND_PROJECT
    max_attempts: int = limits.MAX_JOB_TRIES
    max_seconds: float = limits.MAX_JOB_SECONDS
    interruptible: bool = True

    def new(self, project_id: str, payload: P, **options: Any) -> NewJob:
        """A job of this kind, to be enqueued. `options`: other members of `NewJob`."""
        options = {"max_attempts": self.max_attempts, **options}
        return NewJob(project_id, self.name, msgspec.json.encode(payload), **options)

    def read(self, job: Job) -> P:
        """The job's payload. Raises `Unreadable`."""
        try:
            return msgspec.json.decode(job.payload, type=self.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Unreadable("What is stored of this job cannot be read.") from None
