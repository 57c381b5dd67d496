"""`antiphon jobs`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.domain.jobs import End, NewJob
from antiphon.stores.store import SqlStore

from .conftest import Run


def fill(data: Path, project_id: str) -> None:
    """A job that waits, and one that was given up."""

    async def work() -> None:
        store = SqlStore(f"sqlite:///{data / 'antiphon.db'}", backups=None)
        await store.open()
        try:
            await store.enqueue_job(NewJob(project_id, "k", b"a secret", id="job_1"))
            [job] = await store.claim_jobs("w", await store.free_jobs("k", each=1, limit=1))
            await store.end_job(job, End("dead", error="It is\nbroken."))
            await store.enqueue_job(NewJob(project_id, "other", b"a secret", id="job_2"))
        finally:
            await store.close()

    asyncio.run(work())


def listed(run: Run, *options: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = json.loads(run("jobs", "list", "--json", *options).stdout)
    return result


def test_jobs_are_listed_retried_and_cancelled(run: Run, tmp_path: Path) -> None:
    project_id = run("projects", "create", "acme").stdout.strip()
    fill(tmp_path / "data", project_id)
    assert [job["id"] for job in listed(run)] == ["job_2", "job_1"]
    [dead] = listed(run, "--state", "dead", "--project", "acme", "--kind", "k")
    assert (dead["id"], dead["error"], dead["attempts"], dead["project_id"]) == (
        "job_1",
        "It is\nbroken.",
        1,
        project_id,
    )
    assert listed(run, "--project", "default") == []
    shown = run("jobs", "list").stdout
    assert "It is broken." in shown
    assert "secret" not in shown
    assert run("jobs", "retry", "job_1", "--project", "acme").stdout == "It is queued again.\n"
    assert run("jobs", "cancel", "job_2", "--project", "acme").stdout == "It will end.\n"
    assert [(job["state"], job["cancel_requested"]) for job in listed(run)] == [("queued", True), ("queued", False)]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("retry", "job_1", "--project", "default"), "There is no job 'job_1' in 'default' that was given up."),
        (("cancel", "job_1", "--project", "default"), "There is no job 'job_1' in 'default' that waits or runs."),
        (("cancel", "job_1", "--project", "nobody"), "There is no project 'nobody'"),
        (("list", "--state", "tired"), "--state is one of queued, running, done, cancelled, dead."),
    ],
)
def test_what_is_not_there_is_said(run: Run, command: tuple[str, ...], said: str) -> None:
    done = run("jobs", *command)
    assert done.returncode == 1
    assert said in done.stderr
