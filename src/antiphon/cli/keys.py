"""`antiphon keys`: who may call."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.domain.errors import SetupError
from antiphon.domain.keys import digest
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.domain.organisation import EventType
    from antiphon.domain.tenancy import Key
    from antiphon.ports import Store

app = typer.Typer(help="API keys: create, list, rotate, revoke.", no_args_is_help=True, rich_markup_mode=None)

_DAY = 86_400


@app.command("create")
@with_settings("data_dir", "database")
def create(
    loaded: Loaded,
    name: Annotated[str, typer.Option(help="What the key is for; you will see it in the list.")] = "",
    project: Annotated[str, typer.Option(help="Name or id of the project it belongs to.")] = "default",
    user: Annotated[str | None, typer.Option(help="Email or id of the user it belongs to.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days until it expires; never if not given.")
    ] = None,
    scopes: Annotated[
        str | None, typer.Option(help="What it may do, such as chat:write,models:read; everything if not given.")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Models it may ask for, such as gpt-4o,local-*; all if not given.")
    ] = None,
    addresses: Annotated[
        str | None, typer.Option(help="Networks it may come from, such as 10.0.0.0/8; anywhere if not given.")
    ] = None,
) -> None:
    """Create a key. It is printed once, alone on stdout, and cannot be shown again."""
    from dataclasses import replace

    from antiphon.cli.tenants import get_project, with_store
    from antiphon.domain.scopes import checked_addresses, checked_models, checked_scopes
    from antiphon.policy.keys.first_run import make_key

    may = None if scopes is None else checked_scopes(scopes.split(","))
    asks = None if models is None else checked_models(models.split(","))
    comes = None if addresses is None else checked_addresses(addresses.split(","))

    async def work(store: Store, data_dir: DataDir) -> tuple[str, Key]:
        owner = await get_project(store, project)
        expires_at = int(time.time()) + days * _DAY if days else None
        secret, key = make_key(owner.id, name, data_dir.secret(), expires_at=expires_at)
        holder = None if user is None else await _member(store, owner.id, user)
        key = replace(key, scopes=may, models=asks, addresses=comes, user_id=holder)
        await store.create_key(key)
        shown: dict[str, object] = {
            "name": name,
            "expires_at": expires_at,
            "scopes": may,
            "models": asks,
            "addresses": comes,
        }
        await _noted(store, "api_key.created", key, shown)
        return secret, key

    secret, key = with_store(loaded, work)
    typer.echo(f"Key {key.id} of project '{project}'. Keep it now: it is not shown again.", err=True)
    typer.echo(secret)


@app.command("list")
@with_settings("data_dir", "database")
def list_keys(
    loaded: Loaded,
    project: Annotated[str | None, typer.Option(help="Only this project's keys.")] = None,
    as_json: AsJson = False,
) -> None:
    """List keys: by their hints, never in clear."""
    from antiphon.cli.output import moment, table
    from antiphon.cli.tenants import get_project, with_store

    async def work(store: Store, data_dir: DataDir) -> tuple[list[Key], dict[str, str]]:
        owner = (await get_project(store, project)).id if project else None
        return await store.list_keys(owner), {found.id: found.name for found in await store.list_projects()}

    keys, names = with_store(loaded, work)
    if as_json:
        typer.echo(json.dumps([_as_dict(key, names) for key in keys], indent=2))
        return
    rows = [
        [
            key.id,
            names.get(key.project_id, key.project_id),
            key.name,
            key.hint,
            moment(key.created_at),
            moment(key.last_used_at),
            _state(key),
            _restrictions(key),
        ]
        for key in keys
    ]
    table(["KEY", "PROJECT", "NAME", "HINT", "CREATED (UTC)", "LAST USED (UTC)", "STATE", "MAY ONLY"], rows)


@app.command("rotate")
@with_settings("data_dir", "database")
def rotate(
    loaded: Loaded,
    key_id: Annotated[str, typer.Argument(help="The key's id, as 'antiphon keys list' shows it.", metavar="KEY")],
    overlap: Annotated[
        str, typer.Option(help="How long the old one goes on working, such as 30m, 24h, 7d; 0 ends it now.")
    ] = "24h",
) -> None:
    """Replace a key: the new one is printed once, and the old one works on for a while."""
    from antiphon.cli.output import moment
    from antiphon.cli.tenants import with_store
    from antiphon.domain.organisation import CLI
    from antiphon.policy.keys import rotation

    seconds = _seconds(overlap)

    async def work(store: Store, data_dir: DataDir) -> tuple[str, Key, int]:
        old = await store.get_key(key_id)
        if old is None:
            raise _unknown()
        secret, key, until = await rotation.rotate(
            store, old, data_dir.secret(), now=int(time.time()), overlap=seconds, actor=CLI
        )
        kept = data_dir.default_key()
        if kept and digest(data_dir.secret(), kept) == old.digest:
            data_dir.write_default_key(secret)  # so that 'antiphon env' prints the one that goes on working
        return secret, key, until

    secret, key, until = with_store(loaded, work)
    typer.echo(
        f"Key {key.id} is in the place of {key_id}, which works until {moment(until)} UTC. "
        "Keep it now: it is not shown again.",
        err=True,
    )
    typer.echo(secret)


@app.command("revoke")
@with_settings("data_dir", "database")
def revoke(
    loaded: Loaded,
    key_id: Annotated[str, typer.Argument(help="The key's id, as 'antiphon keys list' shows it.", metavar="KEY")],
) -> None:
    """Revoke a key. A running server refuses it within seconds."""
    from antiphon.cli.tenants import with_store

    async def work(store: Store, data_dir: DataDir) -> None:
        now = int(time.time())
        found = await store.get_key(key_id)
        if found is None or not await store.revoke_key(key_id, now):
            raise _unknown()
        if found.revoked_at is None:
            await _noted(store, "api_key.deleted", found, {"revoked_at": now})
        kept = data_dir.default_key()
        if kept and digest(data_dir.secret(), kept) == found.digest:
            data_dir.forget_default_key()  # so that 'antiphon env' never prints a key that is refused

    with_store(loaded, work)
    typer.echo(f"Key {key_id} is revoked.")


async def _member(store: Store, project_id: str, user: str) -> str:
    """The id of a user who may have keys of this project. Raises `SetupError`."""
    from antiphon.cli.tenants import get_user

    found = await get_user(store, user)
    if found.role != "owner" and await store.get_member(project_id, found.id) is None:
        raise SetupError(f"{found.email} is no member of this project. 'antiphon users place' makes them one.")
    return found.id


async def _noted(store: Store, what: EventType, key: Key, after: dict[str, object]) -> None:
    """Write into the log of changes what was done with a key here."""
    from antiphon.domain.organisation import CLI, AuditEntry

    await store.add_audit(AuditEntry(what, CLI, key.id, key.project_id, after=after))


def _unknown() -> SetupError:
    return SetupError("There is no key with this id. 'antiphon keys list' shows them all.")


def _seconds(text: str) -> int:
    """A time such as `90s`, `30m`, `24h`, `7d`, or `0`, in seconds."""
    from antiphon.domain.limits import MAX_KEY_OVERLAP

    units = {"s": 1, "m": 60, "h": 3600, "d": _DAY}
    number, unit = (text, "s") if text == "0" else (text[:-1], text[-1:])
    if not (number.isascii() and number.isdigit() and len(number) < 10) or unit not in units:
        raise SetupError(f"'{text}' is no time. Write a number and s, m, h or d, such as 24h.")
    seconds = int(number) * units[unit]
    if seconds > MAX_KEY_OVERLAP:
        raise SetupError(f"An old key can go on working for at most {MAX_KEY_OVERLAP // _DAY} days.")
    return seconds


def _state(key: Key) -> str:
    from antiphon.cli.output import moment

    if key.revoked_at is not None:
        return f"revoked {moment(key.revoked_at)}"
    if not key.valid_at(time.time()):
        return f"expired {moment(key.expires_at)}"
    replaced = f", then {key.replaced_by}" if key.replaced_by else ""
    return f"valid until {moment(key.expires_at)}{replaced}" if key.expires_at else "valid"


def _restrictions(key: Key) -> str:
    """What it may do, ask for and come from, where that is not everything."""
    shown = [("", key.scopes), ("models ", key.models), ("from ", key.addresses)]
    return "; ".join(f"{what}{','.join(texts) or 'nothing'}" for what, texts in shown if texts is not None) or "-"


def _as_dict(key: Key, projects: dict[str, str]) -> dict[str, object]:
    return {
        "id": key.id,
        "project_id": key.project_id,
        "project": projects.get(key.project_id),
        "name": key.name,
        "hint": key.hint,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "replaced_by": key.replaced_by,
        "scopes": key.scopes,
        "models": key.models,
        "addresses": key.addresses,
        "user_id": key.user_id,
        "service_account_id": key.service_account_id,
        "valid": key.valid_at(time.time()),
    }
