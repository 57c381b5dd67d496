"""`antiphon limits`: how much may be called."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.domain.errors import SetupError
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.domain.rates import RateLimit, Scope
    from antiphon.ports import Store

app = typer.Typer(help="Rate limits: set, list, clear.", no_args_is_help=True, rich_markup_mode=None)

_PROJECT = Annotated[str | None, typer.Option(help="Of a project: its name or id.")]
_KEY = Annotated[str | None, typer.Option(help="Of a key: its id.")]
_USER = Annotated[str | None, typer.Option(help="Of a user: their email or id. All their keys together.")]
_MODEL = Annotated[str, typer.Option(help="For this model alone, or for all that begin so (gpt-*); else for all.")]
_RATE = Annotated[str | None, typer.Option(metavar="N", help="At most so many; 'none' for no limit.")]


@app.command("set")
@with_settings("data_dir", "database")
def set_limits(
    loaded: Loaded,
    project: _PROJECT = None,
    key: _KEY = None,
    user: _USER = None,
    model: _MODEL = "",
    rpm: _RATE = None,
    tpm: _RATE = None,
    rpd: _RATE = None,
    tpd: _RATE = None,
    concurrent: _RATE = None,
) -> None:
    """Set requests (rpm, rpd) and tokens (tpm, tpd) per minute and day, and requests at once.

    Without a project, a key or a user: of everybody together. What is not named stays as it is.
    """
    from dataclasses import replace

    from antiphon.cli.tenants import with_store
    from antiphon.domain.scopes import checked_models

    given = {"rpm": rpm, "tpm": tpm, "rpd": rpd, "tpd": tpd, "concurrent": concurrent}
    changes = {name: _rate(name, text) for name, text in given.items() if text is not None}
    if not changes:
        raise SetupError("Say what to limit: --rpm, --tpm, --rpd, --tpd or --concurrent, and how many.")
    checked_models([model])

    async def work(store: Store, data_dir: DataDir) -> RateLimit:
        old = await _find(store, await _subject(store, project, key, user), model)
        new = replace(old, **changes)  # type: ignore[arg-type]  # only the fields that are rates
        await _put(store, old, new)
        return new

    typer.echo(f"{_whose(limit := with_store(loaded, work))}: {_shown(limit)}")


@app.command("list")
@with_settings("data_dir", "database")
def list_limits(
    loaded: Loaded,
    as_json: AsJson = False,
) -> None:
    """List all limits."""
    from antiphon.cli.output import table
    from antiphon.cli.tenants import with_store
    from antiphon.domain.rates import FIELDS

    async def work(store: Store, data_dir: DataDir) -> tuple[list[RateLimit], dict[str, str]]:
        return await store.list_rate_limits(), {found.id: found.name for found in await store.list_projects()}

    found, names = with_store(loaded, work)
    fields = [name for name, *_ in FIELDS]
    if as_json:
        members = ("scope", "subject", "model", *fields)
        typer.echo(json.dumps([{name: getattr(limit, name) for name in members} for limit in found], indent=2))
        return
    rows = [
        [
            limit.scope,
            names.get(limit.subject, limit.subject) or "-",
            limit.model or "-",
            *(_number(getattr(limit, name)) for name in fields),
        ]
        for limit in found
    ]
    table(["SCOPE", "OF", "MODEL", *(name.upper() for name in fields)], rows)


@app.command("clear")
@with_settings("data_dir", "database")
def clear(loaded: Loaded, project: _PROJECT = None, key: _KEY = None, user: _USER = None, model: _MODEL = "") -> None:
    """Remove the limits of a project, a key or a user (or of everybody together), for one model or for all together."""
    from antiphon.cli.tenants import with_store
    from antiphon.domain.rates import RateLimit

    async def work(store: Store, data_dir: DataDir) -> RateLimit:
        old = await _find(store, await _subject(store, project, key, user), model)
        if old.empty:
            raise SetupError("There is no such limit. 'antiphon limits list' shows them all.")
        await _put(store, old, RateLimit(old.scope, old.subject, old.model))
        return old

    typer.echo(f"{_whose(with_store(loaded, work))}: no limits any more.")


async def _subject(store: Store, project: str | None, key: str | None, user: str | None) -> tuple[Scope, str]:
    """Whose limits are meant. Raises `SetupError` for whom there is not."""
    from antiphon.cli.tenants import get_project, get_user

    if sum(given is not None for given in (project, key, user)) > 1:
        raise SetupError("Name one of --project, --key and --user.")
    if project is not None:
        return "project", (await get_project(store, project)).id
    if key is not None:
        if await store.get_key(key) is None:
            raise SetupError("There is no key with this id. 'antiphon keys list' shows them all.")
        return "key", key
    if user is not None:
        return "user", (await get_user(store, user)).id
    return "organization", ""


async def _find(store: Store, subject: tuple[Scope, str], model: str) -> RateLimit:
    from antiphon.domain.rates import RateLimit

    found = await store.list_rate_limits(*subject)
    return next((limit for limit in found if limit.model == model), RateLimit(*subject, model))


async def _put(store: Store, old: RateLimit, new: RateLimit) -> None:
    """Set it, and write into the log of changes that it was."""
    from antiphon.domain.organisation import CLI, AuditEntry, changed
    from antiphon.domain.rates import FIELDS

    before, after = changed(*({name: getattr(limit, name) for name, *_ in FIELDS} for limit in (old, new)))
    name = f"rl-{new.model}" if new.scope == "project" and new.model else f"{new.scope}:{new.subject}:{new.model}"
    entry = AuditEntry(
        "rate_limit.deleted" if new.empty else "rate_limit.updated",
        CLI,
        name,
        new.subject if new.scope == "project" else None,
        before,
        after,
    )
    if after:
        await store.put_rate_limit(new, entry)


def _rate(name: str, text: str) -> int | None:
    from antiphon.domain.limits import MAX_RATE

    if text == "none":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= MAX_RATE):
        raise SetupError(f"--{name} must be a whole number from 1 to {MAX_RATE}, or 'none'.")
    return int(text)


def _whose(limit: RateLimit) -> str:
    whose = f"{limit.scope} {limit.subject}" if limit.subject else "everybody together"
    return f"{whose}, {limit.model or 'all models'}"


def _shown(limit: RateLimit) -> str:
    from antiphon.domain.rates import FIELDS

    shown = [f"{getattr(limit, name)} {unit}" for name, _, _, unit in FIELDS if getattr(limit, name) is not None]
    return ", ".join(shown) or "no limits"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
