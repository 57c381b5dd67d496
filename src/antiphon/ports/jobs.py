"""Jobs, and the workers that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from antiphon.domain.jobs import End, FreeJob, Job, JobCount, JobState, NewJob, PutBack


class WorkerStore(Protocol):
    """Workers: the servers of a database. Each has a row for as long as it is alive, and counts a number up in it."""

    async def beat(self, worker: str) -> bool:
        """Count this worker's number up. False: it had no row, because it is new, or was taken for dead."""

    async def workers(self) -> dict[str, int]:
        """All workers, with their numbers."""

    async def remove_worker(self, worker: str, beat: int) -> bool:
        """Remove a worker, unless its number is another than `beat`: then False. What it held can be claimed then."""

    async def remove_other_workers(self, worker: str) -> None:
        """Remove all workers but this one."""

    async def leave(self, worker: str) -> None:
        """Remove this worker. What it still holds can be claimed."""


class JobStore(Protocol):
    """Jobs (`domain.jobs`). Everything is looked up by (project, id). All times are the database's.

    What takes a `Job` takes it as it was claimed, and raises `LeaseLost`, and changes nothing, if the claim is over.
    """

    # --- for those who want something done ----------------------------------------------------------------------------
    async def enqueue_job(self, job: NewJob) -> str:
        """Store a job; returns its id. Where one with the same dedupe key has not ended, that one's, and stores none.

        Raises `RateLimited` if `limits.MAX_JOBS_OF_PROJECT` jobs of the project wait already, and `InvalidRequest` for
        what is too large.
        """

    async def get_job(self, project_id: str, job_id: str) -> Job | None:
        """The job, or None if this project has none of that id."""

    async def list_jobs(
        self, *, project_id: str | None = None, kind: str | None = None, state: JobState | None = None, limit: int
    ) -> list[Job]:
        """Jobs, the newest first, without their payloads."""

    async def cancel_job(self, project_id: str, job_id: str) -> bool:
        """Ask for the end of a job that has not ended. False: there is none."""

    async def retry_job(self, project_id: str, job_id: str) -> bool:
        """Queue a dead job once more, with all its counts at zero. False: there is no dead job of this id.

        Raises `Conflict` if another job with its dedupe key has not ended, and `RateLimited` as `enqueue_job` does.
        """

    # --- for workers --------------------------------------------------------------------------------------------------
    async def free_jobs(self, kind: str, *, each: int, limit: int) -> list[FreeJob]:
        """Jobs of this kind that can be claimed: those that are due, and those whose worker is gone.

        Of those that are due, the first `each` of each project; the first of every project come first, then the second
        ones. What has killed workers (`limits.SUSPECT_LOSSES`) is never in the way of others. At most `limit` of each
        sort.
        """

    async def free_cancelled_jobs(self, kind: str, *, limit: int) -> list[FreeJob]:
        """Those of this kind that can be claimed and were asked to end, whatever they wait for."""

    async def claim_jobs(self, worker: str, free: Sequence[FreeJob]) -> list[Job]:
        """Claim those of these that are still as they were seen."""

    async def held_jobs(self, worker: str) -> list[tuple[str, str]]:
        """(project, id) of what this worker holds."""

    async def cancelled_jobs(self, worker: str) -> list[tuple[str, str]]:
        """(project, id) of what this worker holds and was asked to end."""

    async def note_progress(self, job: Job, progress: bytes) -> None:
        """Keep a note of how far it has come, in place of the last one."""

    async def put_back_job(self, job: Job, back: PutBack) -> None:
        """Queue it again, for any worker."""

    async def end_job(self, job: Job, end: End) -> None:
        """It has ended. Its payload is forgotten, unless it is dead."""

    # --- for all jobs together ----------------------------------------------------------------------------------------
    async def job_time(self) -> int:
        """What time it is for jobs: the database's clock, in Unix milliseconds."""

    async def count_jobs(self) -> list[JobCount]:
        """How many jobs of each kind are queued, running and dead."""

    async def sweep_jobs(self, *, ended_before: int, dead_before: int, limit: int) -> int:
        """Delete jobs that ended before these times (Unix milliseconds). Returns how many, at most `limit`."""
