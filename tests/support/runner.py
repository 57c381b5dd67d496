"""Runners of jobs on a real store, with kinds of the test's choice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from antiphon.domain.jobs import Job
from antiphon.jobs.kinds import JobKind
from antiphon.jobs.presence import Presence
from antiphon.jobs.runner import JobRunner
from antiphon.run.clock import SystemClock
from antiphon.stores.store import SqlStore

ENDED = {"done", "cancelled", "dead"}


@asynccontextmanager
async def running(
    store: SqlStore, *kinds: JobKind[Any], worker: str = "me", alone: bool = False
) -> AsyncIterator[JobRunner]:
    """A runner, and its presence, until the block is left."""
    presence = Presence(store, worker, SystemClock(), alone=alone)
    runner = JobRunner(store, presence, kinds)
    await presence.start()
    await runner.start()
    try:
        yield runner
    finally:
        await runner.stop()
        await runner.close()
        await presence.stop()


async def until(condition: Callable[[], Awaitable[object]], what: str) -> None:
    """Wait until this is so."""
    try:
        async with asyncio.timeout(30):
            while not await condition():  # noqa: ASYNC110  (the database tells of nothing)
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(what) from None


async def ended(store: SqlStore, job_id: str, project_id: str = "proj_one") -> Job:
    """The job once it has ended."""
    async with asyncio.timeout(30):
        while True:
            job = await store.get_job(project_id, job_id)
            assert job is not None
            if job.state in ENDED:
                return job
            await asyncio.sleep(0.01)
