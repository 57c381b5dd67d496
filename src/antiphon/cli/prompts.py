"""`antiphon prompts`: prompts as folders of readable files, to be kept with the code that uses them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.domain.records import StoredPrompt
    from antiphon.ports import Store

app = typer.Typer(help="Prompts: list, import, export.", no_args_is_help=True, rich_markup_mode=None)

_PROJECT = Annotated[str, typer.Option(help="Name or id of the project they belong to.")]
_FOLDER = Annotated[Path, typer.Argument(help="The folder that holds a folder for each prompt.", metavar="DIR")]


@app.command("list")
@with_settings("data_dir", "database")
def list_prompts(
    loaded: Loaded,
    project: _PROJECT = "default",
    as_json: AsJson = False,
) -> None:
    """List the prompts of a project, and which of their versions answers."""
    from antiphon.cli.output import moment, table
    from antiphon.cli.prompt_sync import all_prompts
    from antiphon.cli.tenants import get_project, with_store

    async def work(store: Store, data_dir: DataDir) -> list[StoredPrompt]:
        return await all_prompts(store, (await get_project(store, project)).id)

    prompts = with_store(loaded, work)
    if as_json:
        typer.echo(json.dumps([asdict(prompt) for prompt in prompts], indent=2))
        return
    rows = [[p.id, p.name, str(p.published or "-"), str(p.latest), moment(p.created_at)] for p in prompts]
    table(["PROMPT", "NAME", "PUBLISHED", "LATEST", "CREATED (UTC)"], rows)


@app.command("export")
@with_settings("data_dir", "database")
def export(
    loaded: Loaded,
    folder: _FOLDER,
    project: _PROJECT = "default",
    published: Annotated[
        bool, typer.Option("--published", help="Write the published versions, not the latest ones.")
    ] = False,
) -> None:
    """Write every prompt of a project into a folder of its own. Files of prompts that are gone stay."""
    from antiphon.cli.prompt_sync import export_prompts
    from antiphon.cli.tenants import get_project, with_store

    async def work(store: Store, data_dir: DataDir) -> list[str]:
        return await export_prompts(store, (await get_project(store, project)).id, folder, published=published)

    for line in with_store(loaded, work):
        typer.echo(line)


@app.command("import")
@with_settings("data_dir", "database")
def import_prompts(
    loaded: Loaded,
    folder: _FOLDER,
    project: _PROJECT = "default",
    publish: Annotated[bool, typer.Option("--publish", help="Publish what was imported.")] = False,
) -> None:
    """Make prompts, and new versions of those that have changed, out of a folder. All of it is checked first."""
    from antiphon.cli import prompt_sync
    from antiphon.cli.tenants import get_project, with_store

    async def work(store: Store, data_dir: DataDir) -> list[str]:
        return await prompt_sync.import_prompts(store, (await get_project(store, project)).id, folder, publish=publish)

    for line in with_store(loaded, work):
        typer.echo(line)
