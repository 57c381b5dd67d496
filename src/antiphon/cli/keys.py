"""`antiphon keys`: who may call."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import with_settings
from antiphon.domain.errors import SetupError
from antiphon.domain.keys import digest
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.domain.tenancy import Key
    from antiphon.ports import TenantStore

app = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True, rich_markup_mode=None)

_DAY = 86_400


@app.command("create")
@with_settings("data_dir", "database")
def create(
    loaded: Loaded,
    name: Annotated[str, typer.Option(help="What the key is for; you will see it in the list.")] = "",
    project: Annotated[str, typer.Option(help="Name or id of the project it belongs to.")] = "default",
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days until it expires; never if not given.")
    ] = None,
) -> None:
    """Create a key. It is printed once, alone on stdout, and cannot be shown again."""
    from antiphon.cli.tenants import get_project, with_store
    from antiphon.policy.first_run import make_key

    async def work(store: TenantStore, data_dir: DataDir) -> tuple[str, Key]:
        owner = await get_project(store, project)
        expires_at = int(time.time()) + days * _DAY if days else None
        secret, key = make_key(owner.id, name, data_dir.secret(), expires_at=expires_at)
        await store.create_key(key)
        return secret, key

    secret, key = with_store(loaded, work)
    typer.echo(f"Key {key.id} of project '{project}'. Keep it now: it is not shown again.", err=True)
    typer.echo(secret)


@app.command("list")
@with_settings("data_dir", "database")
def list_keys(
    loaded: Loaded,
    project: Annotated[str | None, typer.Option(help="Only this project's keys.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List keys: by their hints, never in clear."""
    from antiphon.cli.output import moment, table
    from antiphon.cli.tenants import get_project, with_store

    async def work(store: TenantStore, data_dir: DataDir) -> tuple[list[Key], dict[str, str]]:
        owner = (await get_project(store, project)).id if project else None
        return await store.list_keys(owner), {found.id: found.name for found in await store.list_projects()}

    keys, names = with_store(loaded, work)
    if as_json:
        typer.echo(json.dumps([_as_dict(key, names) for key in keys], indent=2))
        return
    rows = [
        [key.id, names.get(key.project_id, key.project_id), key.name, key.hint, moment(key.created_at), _state(key)]
        for key in keys
    ]
    table(["KEY", "PROJECT", "NAME", "HINT", "CREATED (UTC)", "STATE"], rows)


@app.command("revoke")
@with_settings("data_dir", "database")
def revoke(
    loaded: Loaded,
    key_id: Annotated[str, typer.Argument(help="The key's id, as 'antiphon keys list' shows it.", metavar="KEY")],
) -> None:
    """Revoke a key. A running server refuses it within seconds."""
    from antiphon.cli.tenants import with_store

    async def work(store: TenantStore, data_dir: DataDir) -> bool:
        found = await store.revoke_key(key_id, int(time.time()))
        kept = data_dir.default_key()
        key = await store.find_key(digest(data_dir.secret(), kept)) if kept else None
        if key is not None and key.id == key_id:
            data_dir.forget_default_key()  # so that 'antiphon env' never prints a key that is refused
        return found

    if not with_store(loaded, work):
        raise SetupError("There is no key with this id. 'antiphon keys list' shows them all.")
    typer.echo(f"Key {key_id} is revoked.")


def _state(key: Key) -> str:
    from antiphon.cli.output import moment

    if key.revoked_at is not None:
        return f"revoked {moment(key.revoked_at)}"
    if not key.valid_at(time.time()):
        return f"expired {moment(key.expires_at)}"
    return f"valid until {moment(key.expires_at)}" if key.expires_at else "valid"


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
        "valid": key.valid_at(time.time()),
    }
