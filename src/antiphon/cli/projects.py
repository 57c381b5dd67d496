"""`antiphon projects`: the tenants. Every stored object and every key belongs to one."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import with_settings
from antiphon.domain.errors import SetupError
from antiphon.domain.tenancy import Project
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.ports import TenantStore

app = typer.Typer(help="Projects: create, list.", no_args_is_help=True, rich_markup_mode=None)

#: Characters of a project's name.
_MAX_NAME = 64


@app.command("create")
@with_settings("data_dir", "database")
def create(
    loaded: Loaded,
    name: Annotated[str, typer.Argument(help="A name that no other project has.")],
) -> None:
    """Create a project. Its id is printed; make keys for it with 'antiphon keys create --project NAME'."""
    from antiphon.cli.tenants import with_store
    from antiphon.domain.ids import new_id

    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise SetupError(f"A project's name has 1 to {_MAX_NAME} printable characters.")
    project = Project(id=new_id("proj_"), name=name.strip(), created_at=int(time.time()))

    async def work(store: TenantStore, data_dir: DataDir) -> None:
        await store.create_project(project)

    with_store(loaded, work)
    typer.echo(project.id)


@app.command("list")
@with_settings("data_dir", "database")
def list_projects(
    loaded: Loaded,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
    table(["PROJECT", "NAME", "CREATED (UTC)"], [[p.id, p.name, moment(p.created_at)] for p in projects])
