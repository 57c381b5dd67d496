"""A program that runs jobs until it is killed, by one of them or by the test.

python job_client.py URL alone      its database is its own: what others held is anybody's at once
python job_client.py URL shared     it beats, as servers do that share a database

A job's payload says for how many seconds it goes on, and whether it kills its process then. Prints the ids of jobs as
they begin.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import msgspec

from antiphon.domain import limits
from antiphon.jobs.kinds import JobContext, JobKind
from antiphon.jobs.presence import Presence, worker_name
from antiphon.jobs.runner import JobRunner
from antiphon.run.clock import SystemClock
from antiphon.stores.store import SqlStore


class Task(msgspec.Struct):
    """See above."""

    seconds: float = 0.0
    kills: bool = False


async def work(context: JobContext[Task]) -> bytes:
    """Do what the payload says."""
    print(context.job.id, flush=True)
    await asyncio.sleep(context.payload.seconds)
    if context.payload.kills:
        os.kill(os.getpid(), signal.SIGKILL)
    return b"well"


KIND = JobKind("task", payload=Task, run=work)


async def main(url: str, *, alone: bool) -> None:
    """Run jobs without end."""
    limits.LEASE, limits.LEASE_RENEWAL, limits.CLAIM_TICK = 0.6, 0.2, 0.02
    store = SqlStore(url, backups=None)
    await store.open()
    presence = Presence(store, worker_name(), SystemClock(), alone=alone)
    runner = JobRunner(store, presence, [KIND])
    await presence.start()
    await runner.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], alone=sys.argv[2] == "alone"))
