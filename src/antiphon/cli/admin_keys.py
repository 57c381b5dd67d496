"""`antiphon admin-keys`: who may administer the organisation."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.domain.tenancy import AdminKey
    from antiphon.ports import Store
    from antiphon.run.organisation.admin_keys import OwnedAdminKey

app = typer.Typer(help="Admin keys: create, list, revoke.", no_args_is_help=True, rich_markup_mode=None)

_DAY = 86_400


@app.command("create")
@with_settings("data_dir", "database")
def create(
    loaded: Loaded,
    name: Annotated[str, typer.Option(help="What the key is for; you will see it in the list.")] = "admin",
    user: Annotated[
        str | None, typer.Option(help="Email or id of the user whose key it is; the first one if not given.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=365, help="Days until it expires; never if not given.")] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="The key may only look, whatever its user is.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep it in the data directory, for 'antiphon env --admin'.")
    ] = False,
) -> None:
    """Create an admin key. It is printed once, alone on stdout, and cannot be shown again."""
    from antiphon.cli.tenants import get_user, with_store
    from antiphon.domain.organisation import CLI
    from antiphon.run.clock import SystemClock
    from antiphon.run.organisation.admin_keys import AdminKeys

    async def work(store: Store, data_dir: DataDir) -> tuple[str, OwnedAdminKey]:
        owner = await store.first_user() if user is None else await get_user(store, user)
        role, life = "reader" if read_only else "owner", days and days * _DAY
        service = AdminKeys(store, SystemClock(), data_dir.secret())
        secret, made = await service.create(CLI, owner, name, role=role, life=life)
        if keep:
            data_dir.write_admin_key(secret)
        return secret, made

    secret, (key, owner) = with_store(loaded, work)
    whose = "the organisation" if owner is None else owner.email
    typer.echo(f"Admin key {key.id} of {whose}. Keep it now: it is not shown again.", err=True)
    typer.echo(secret)


@app.command("list")
@with_settings("data_dir", "database")
def list_keys(
    loaded: Loaded,
    as_json: AsJson = False,
) -> None:
    """List admin keys: by their hints, never in clear."""
    from antiphon.cli.output import moment, table
    from antiphon.cli.tenants import with_store

    async def work(store: Store, data_dir: DataDir) -> list[tuple[AdminKey, str]]:
        found: list[tuple[AdminKey, str]] = []
        after: str | None = None
        while True:
            page = await store.list_admin_keys(after=after, limit=100, revoked=True)
            for key in page.data:
                user = None if key.user_id is None else await store.get_user(key.user_id)
                found.append((key, "-" if user is None else user.email))
            if not page.has_more:
                return found
            after = page.data[-1].id

    keys = with_store(loaded, work)
    if as_json:
        typer.echo(json.dumps([_as_dict(key, email) for key, email in keys], indent=2))
        return
    rows = [
        [key.id, email, key.name, key.hint, moment(key.created_at), moment(key.last_used_at), _state(key)]
        for key, email in keys
    ]
    table(["KEY", "USER", "NAME", "HINT", "CREATED (UTC)", "LAST USED", "STATE"], rows)


@app.command("revoke")
@with_settings("data_dir", "database")
def revoke(
    loaded: Loaded,
    key_id: Annotated[str, typer.Argument(help="The key's id, as 'antiphon admin-keys list' shows it.", metavar="KEY")],
) -> None:
    """Revoke an admin key. A running server refuses it from then on."""
    from antiphon.cli.tenants import with_store
    from antiphon.domain.keys import digest
    from antiphon.domain.organisation import CLI
    from antiphon.run.clock import SystemClock
    from antiphon.run.organisation.admin_keys import AdminKeys

    async def work(store: Store, data_dir: DataDir) -> None:
        await AdminKeys(store, SystemClock(), data_dir.secret()).delete(CLI, key_id)
        kept = data_dir.admin_key()
        key = await store.find_admin_key(digest(data_dir.secret(), kept)) if kept else None
        if key is not None and key.id == key_id:
            data_dir.forget_admin_key()  # so that 'antiphon env --admin' never prints a key that is refused

    with_store(loaded, work)
    typer.echo(f"Admin key {key_id} is revoked.")


def _state(key: AdminKey) -> str:
    from antiphon.cli.output import moment

    if key.revoked_at is not None:
        return f"revoked {moment(key.revoked_at)}"
    if not key.valid_at(time.time()):
        return f"expired {moment(key.expires_at)}"
    valid = f"valid until {moment(key.expires_at)}" if key.expires_at else "valid"
    return valid if key.role == "owner" else f"{valid}, only looks"


def _as_dict(key: AdminKey, email: str) -> dict[str, object]:
    return {
        "id": key.id,
        "user": email,
        "name": key.name,
        "hint": key.hint,
        "role": key.role,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "valid": key.valid_at(time.time()),
    }
