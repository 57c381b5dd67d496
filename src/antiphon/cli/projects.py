"""`antiphon projects`: the tenants. Every stored object and every key belongs to one."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.domain import limits
from antiphon.domain.errors import SetupError
from antiphon.domain.tenancy import NEVER, Project
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.ports import Store, TenantStore

app = typer.Typer(help="Projects: create, list, set, rename, archive.", no_args_is_help=True, rich_markup_mode=None)

_DAY = 24 * 3600
#: Days that responses can be told to be kept; more is a slip of the keyboard ("never" is for ever).
_MAX_DAYS = 36_500


@app.command("create")
@with_settings("data_dir", "database")
def create(
    loaded: Loaded,
    name: Annotated[str, typer.Argument(help="A name that no other project has.")],
) -> None:
    """Create a project. Its id is printed; make keys for it with 'antiphon keys create --project NAME'."""
    from antiphon.cli.tenants import with_store
    from antiphon.domain.organisation import CLI
    from antiphon.run.clock import SystemClock
    from antiphon.run.organisation.projects import Projects

    async def work(store: Store, data_dir: DataDir) -> Project:
        return await Projects(store, SystemClock()).create(CLI, name)

    typer.echo(with_store(loaded, work).id)


@app.command("rename")
@with_settings("data_dir", "database")
def rename(
    loaded: Loaded,
    name: Annotated[str, typer.Argument(help="The project's name or id.")],
    new_name: Annotated[str, typer.Argument(help="A name that no other project has.")],
) -> None:
    """Change a project's name."""
    from antiphon.cli.tenants import get_project, with_store
    from antiphon.domain.organisation import CLI
    from antiphon.run.clock import SystemClock
    from antiphon.run.organisation.projects import Projects

    async def work(store: Store, data_dir: DataDir) -> Project:
        return await Projects(store, SystemClock()).rename(CLI, (await get_project(store, name)).id, new_name)

    project = with_store(loaded, work)
    typer.echo(f"Project {project.id} is named '{project.name}'.")


@app.command("archive")
@with_settings("data_dir", "database")
def archive(
    loaded: Loaded,
    name: Annotated[str, typer.Argument(help="The project's name or id.")],
) -> None:
    """End a project for ever: its keys stop to work within seconds. What it has stored stays."""
    from antiphon.cli.tenants import get_project, with_store
    from antiphon.domain.organisation import CLI
    from antiphon.run.clock import SystemClock
    from antiphon.run.organisation.projects import Projects

    async def work(store: Store, data_dir: DataDir) -> Project:
        return await Projects(store, SystemClock()).archive(CLI, (await get_project(store, name)).id)

    typer.echo(f"Project {with_store(loaded, work).id} is archived.")


@app.command("set")
@with_settings("data_dir", "database")
def set_project(
    loaded: Loaded,
    name: Annotated[str, typer.Argument(help="The project's name or id.")],
    response_ttl_days: Annotated[
        str, typer.Option(metavar="N|never", help="Days that responses made from now on are kept; never: no end.")
    ],
) -> None:
    """Change a project. A running server knows it within seconds; what is stored already stays as it is."""
    from antiphon.cli.tenants import get_project, with_store
    from antiphon.domain.organisation import CLI, AuditEntry

    ttl = _ttl(response_ttl_days)

    async def work(store: Store, data_dir: DataDir) -> None:
        project = await get_project(store, name)
        await store.set_response_ttl(project.id, ttl)
        if ttl != project.response_ttl:
            told = ({"response_ttl": project.response_ttl}, {"response_ttl": ttl})
            await store.add_audit(AuditEntry("project.updated", CLI, project.id, project.id, *told))

    with_store(loaded, work)
    typer.echo(f"Responses of '{name}' are kept {_kept(ttl)}.")


def _ttl(days: str) -> int:
    """The option as seconds."""
    if days == "never":
        return NEVER
    if not (days.isascii() and days.isdigit() and len(days) < 6 and 1 <= int(days) <= _MAX_DAYS):
        raise SetupError(f"--response-ttl-days is a number of days from 1 to {_MAX_DAYS}, or 'never'.")
    return int(days) * _DAY


def _kept(ttl: int | None) -> str:
    """How long responses are kept, in words."""
    if ttl == NEVER:
        return "for ever"
    days = (limits.RESPONSE_TTL if ttl is None else ttl) // _DAY
    return "1 day" if days == 1 else f"{days} days"


def _state(project: Project) -> str:
    from antiphon.cli.output import moment

    return "active" if project.archived_at is None else f"archived {moment(project.archived_at)}"


@app.command("list")
@with_settings("data_dir", "database")
def list_projects(
    loaded: Loaded,
    as_json: AsJson = False,
) -> None:
    """List the projects."""
    from antiphon.cli.output import moment, table
    from antiphon.cli.tenants import with_store

    async def work(store: TenantStore, data_dir: DataDir) -> list[Project]:
        return await store.list_projects()

    projects = with_store(loaded, work)
    if as_json:
        typer.echo(json.dumps([asdict(project) for project in projects], indent=2))
        return
    table(
        ["PROJECT", "NAME", "CREATED (UTC)", "RESPONSES KEPT", "STATE"],
        [[p.id, p.name, moment(p.created_at), _kept(p.response_ttl), _state(p)] for p in projects],
    )
