"""`antiphon jobs`: work that outlives its request, such as background responses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.domain.errors import SetupError
from antiphon.domain.jobs import JobState
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.domain.jobs import Job
    from antiphon.ports import Store

app = typer.Typer(help="Jobs: list, retry, cancel.", no_args_is_help=True, rich_markup_mode=None)

_PROJECT = Annotated[str, typer.Option("--project", metavar="NAME", help="The project's name or id.")]
_JOB = Annotated[str, typer.Argument(metavar="JOB", help="The job's id; a background response's own.")]
_STATES = get_args(JobState)
#: Shown with `--json`, in this order.
_FIELDS = (
    *("project_id", "id", "kind", "state", "priority", "attempts", "failures", "losses", "max_attempts", "holder"),
    *("cancel_requested", "created_at", "run_at", "finished_at", "error"),
)


@app.command("list")
@with_settings("data_dir", "database")
def list_jobs(
    loaded: Loaded,
    project: Annotated[str | None, typer.Option(metavar="NAME", help="Only this project's (name or id).")] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind, such as 'response'.")] = None,
    state: Annotated[str | None, typer.Option(metavar="|".join(_STATES), help="Only in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs: what waits, what runs, and what was given up."""
    from antiphon.cli.output import moment, table
    from antiphon.cli.tenants import get_project, with_store

    if state is not None and state not in _STATES:
        raise SetupError(f"--state is one of {', '.join(_STATES)}.")

    async def work(store: Store, data_dir: DataDir) -> list[Job]:
        project_id = None if project is None else (await get_project(store, project)).id
        return await store.list_jobs(
            project_id=project_id, kind=kind, state=cast("JobState | None", state), limit=limit
        )

    found = with_store(loaded, work)
    if as_json:
        typer.echo(json.dumps([{name: getattr(job, name) for name in _FIELDS} for job in found], indent=2))
        return
    table(
        ["JOB", "KIND", "STATE", "ATTEMPTS", "CREATED (UTC)", "PROJECT", "ERROR"],
        [
            [
                job.id,
                job.kind,
                job.state,
                str(job.attempts),
                moment(job.created_at // 1000),
                job.project_id,
                _error(job),
            ]
            for job in found
        ],
    )


def _error(job: Job) -> str:
    return "-" if job.error is None else job.error.replace("\n", " ")[:80]


@app.command("retry")
@with_settings("data_dir", "database")
def retry(loaded: Loaded, job: _JOB, project: _PROJECT) -> None:
    """Have a job that was given up run again. A running server begins with it within a second."""
    from antiphon.cli.tenants import get_project, with_store

    async def work(store: Store, data_dir: DataDir) -> bool:
        return await store.retry_job((await get_project(store, project)).id, job)

    if not with_store(loaded, work):
        raise SetupError(f"There is no job '{job}' in '{project}' that was given up.")
    typer.echo("It is queued again.")


@app.command("cancel")
@with_settings("data_dir", "database")
def cancel(loaded: Loaded, job: _JOB, project: _PROJECT) -> None:
    """Have a job end that waits or runs."""
    from antiphon.cli.tenants import get_project, with_store

    async def work(store: Store, data_dir: DataDir) -> bool:
        return await store.cancel_job((await get_project(store, project)).id, job)

    if not with_store(loaded, work):
        raise SetupError(f"There is no job '{job}' in '{project}' that waits or runs.")
    typer.echo("It will end.")
