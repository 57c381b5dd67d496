"""`antiphon projects`: the tenants. Every stored object and every key belongs to one."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import with_settings
from antiphon.domain import limits
from antiphon.domain.errors import SetupError
from antiphon.domain.tenancy import NEVER, Project
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.ports import TenantStore

app = typer.Typer(help="Projects: create, list, set.", no_args_is_help=True, rich_markup_mode=None)

#: Characters of a project's name.
_MAX_NAME = 64
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
    from antiphon.domain.ids import new_id

    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise SetupError(f"A project's name has 1 to {_MAX_NAME} printable characters.")
    project = Project(id=new_id("proj_"), name=name.strip(), created_at=int(time.time()))

    async def work(store: TenantStore, data_dir: DataDir) -> None:
        await store.create_project(project)

    with_store(loaded, work)
    typer.echo(project.id)


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

    ttl = _ttl(response_ttl_days)

    async def work(store: TenantStore, data_dir: DataDir) -> None:
        await store.set_response_ttl((await get_project(store, name)).id, ttl)

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
    table(
        ["PROJECT", "NAME", "CREATED (UTC)", "RESPONSES KEPT"],
        [[p.id, p.name, moment(p.created_at), _kept(p.response_ttl)] for p in projects],
    )
