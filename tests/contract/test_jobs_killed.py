"""Jobs whose processes are killed: another one goes on with them, and what is itself the cause is given up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from antiphon.domain import limits
from antiphon.stores.store import SqlStore
from contract.job_client import KIND, Task
from contract.store_kit import ONE, TWO, run
from support.inside import store_at
from support.runner import ended, running

PROGRAM = Path(__file__).with_name("job_client.py")


def start(url: str, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(PROGRAM), url, how], stdout=subprocess.PIPE, text=True)


def test_a_job_that_kills_its_process_each_time_is_given_up_and_takes_no_other_with_it(url: str) -> None:
    async def fill(store: SqlStore) -> None:
        for number in range(3):
            await store.enqueue_job(KIND.new(ONE, Task(0.5), id=f"before_{number}"))
        await store.enqueue_job(KIND.new(ONE, Task(0.1, kills=True), id="killer"))
        await store.enqueue_job(KIND.new(TWO, Task(0.5), id="theirs"))

    run(url, fill)
    deaths = 0
    while deaths < limits.MAX_JOB_LOSSES:
        process = start(url, "alone")
        assert process.wait(30) == -9
        assert process.stdout is not None
        process.stdout.close()
        deaths += 1

    async def check(store: SqlStore) -> None:
        async with running(store, KIND, worker="last", alone=True):
            killer = await ended(store, "killer")
            assert (killer.state, killer.losses) == ("dead", limits.MAX_JOB_LOSSES)
            assert killer.error == "Each server that ran this job has died."
            others = [await ended(store, f"before_{number}") for number in range(3)]
            others.append(await ended(store, "theirs", TWO))
            # Those that had run beside it twice ran alone afterwards, and came to no further harm.
            assert {job.state for job in others} == {"done"}
            assert max(job.losses for job in others) <= limits.SUSPECT_LOSSES

    run(url, check)


def test_another_server_goes_on_after_kill_9(postgres_url: str) -> None:
    async def fill(store: SqlStore) -> None:
        await store.enqueue_job(KIND.new(ONE, Task(0.5), id="job_1"))

    run(postgres_url, fill)
    process = start(postgres_url, "shared")
    assert process.stdout is not None
    assert process.stdout.readline() == "job_1\n"
    process.kill()
    process.wait(10)
    process.stdout.close()

    second = start(postgres_url, "shared")
    try:
        job = store_at(postgres_url, lambda store: ended(store, "job_1"))
        assert (job.state, job.result, job.losses, job.attempts) == ("done", b"well", 1, 2)
    finally:
        second.kill()
        second.wait(10)
        assert second.stdout is not None
        second.stdout.close()
