"""`antiphon cache`: answers that are given again, for each project."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.domain import limits
from antiphon.domain.caching import OFF, CacheState
from antiphon.domain.errors import SetupError
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.ports import Store

app = typer.Typer(help="Cached answers: show, set, clear.", no_args_is_help=True, rich_markup_mode=None)

_PROJECT = Annotated[str, typer.Option("--project", metavar="NAME", help="The project's name or id.")]
_ROUTES = "routes"


@app.command("set")
@with_settings("data_dir", "database")
def set_rule(
    loaded: Loaded,
    project: _PROJECT,
    ttl: Annotated[
        str,
        typer.Option(
            metavar="SECONDS|off|routes",
            help="How long answers to this project are given again; off: never; routes: as each route is configured.",
        ),
    ],
) -> None:
    """Say whether a project's answers are cached. A running server knows it within seconds."""
    from antiphon.cli.tenants import get_project, with_store

    rule = _rule(ttl)

    async def work(store: Store, data_dir: DataDir) -> None:
        await store.set_cache_ttl((await get_project(store, project)).id, rule)

    with_store(loaded, work)
    typer.echo(f"Answers to '{project}': {_words(rule)}.")


def _rule(text: str) -> int | None:
    """The option as it is stored."""
    if text in {"off", _ROUTES}:
        return OFF if text == "off" else None
    if text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= limits.MAX_CACHE_TTL:
        return int(text)
    raise SetupError(f"--ttl is a number of seconds from 1 to {limits.MAX_CACHE_TTL}, 'off', or '{_ROUTES}'.")


def _words(rule: int | None) -> str:
    if rule is None:
        return "cached as each route is configured"
    return "not cached" if rule == OFF else f"cached for {rule} seconds"


@app.command("show")
@with_settings("data_dir", "database")
def show(
    loaded: Loaded,
    as_json: AsJson = False,
) -> None:
    """Show each project's rule, and how much of it is kept."""
    from antiphon.cli.output import table
    from antiphon.cli.tenants import with_store

    async def work(store: Store, data_dir: DataDir) -> list[tuple[str, CacheState]]:
        states = {state.project_id: state for state in await store.cache_states()}
        return [
            (each.name, states.get(each.id, CacheState(each.id, None, 0, 0))) for each in await store.list_projects()
        ]

    rows = with_store(loaded, work)
    if as_json:
        keys = ("project_id", "ttl", "answers", "bytes")
        shown = [{"project": name, **{key: getattr(state, key) for key in keys}} for name, state in rows]
        typer.echo(json.dumps(shown, indent=2))
        return
    table(
        ["PROJECT", "NAME", "RULE", "ANSWERS", "BYTES"],
        [[state.project_id, name, _words(state.ttl), str(state.answers), str(state.bytes)] for name, state in rows],
    )


@app.command("clear")
@with_settings("data_dir", "database")
def clear(loaded: Loaded, project: _PROJECT) -> None:
    """Forget all cached answers of a project, at once."""
    from antiphon.cli.tenants import get_project, with_store

    async def work(store: Store, data_dir: DataDir) -> int:
        return await store.clear_cached((await get_project(store, project)).id)

    count = with_store(loaded, work)
    typer.echo("1 answer was forgotten." if count == 1 else f"{count} answers were forgotten.")
