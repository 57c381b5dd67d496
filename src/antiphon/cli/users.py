"""`antiphon users`: the people of the organisation, their places in projects, and invites."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.domain.organisation import Invite, User
    from antiphon.ports import Store

app = typer.Typer(
    help="Users: add, list, set, remove, invite, accept, and place in projects.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_USER = Annotated[str, typer.Argument(help="Email or id of the user.", metavar="USER")]
_ROLE = Annotated[str, typer.Option(help="owner (may change everything) or reader (may look).")]
_EMAIL = Annotated[str, typer.Argument(help="An email address that no other user has.", metavar="EMAIL")]
_NAME = Annotated[str, typer.Option(help="What they are called.")]


@app.command("add")
@with_settings("data_dir", "database")
def add(loaded: Loaded, email: _EMAIL, name: _NAME, role: _ROLE = "reader") -> None:
    """Make somebody a user. Their id is printed; 'antiphon admin-keys create --user' makes their key."""
    from antiphon.cli.tenants import with_store
    from antiphon.domain.organisation import CLI
    from antiphon.run.clock import SystemClock
    from antiphon.run.organisation.users import Users

    async def work(store: Store, data_dir: DataDir) -> User:
        return await Users(store, SystemClock()).add(CLI, email, name, role)

    typer.echo(with_store(loaded, work).id)


@app.command("list")
@with_settings("data_dir", "database")
def list_users(
    loaded: Loaded,
    as_json: AsJson = False,
) -> None:
    """List the users."""
    from antiphon.cli.output import moment, table
    from antiphon.cli.tenants import with_store

    async def work(store: Store, data_dir: DataDir) -> list[User]:
        found: list[User] = []
        after: str | None = None
        while True:
            page = await store.list_users(after=after, limit=100)
            found += page.data
            if not page.has_more:
                return found
            after = page.data[-1].id

    users = with_store(loaded, work)
    if as_json:
        typer.echo(json.dumps([asdict(user) for user in users], indent=2))
        return
    table(
        ["USER", "EMAIL", "NAME", "ROLE", "ADDED (UTC)"],
        [[u.id, u.email, u.name, u.role, moment(u.created_at)] for u in users],
    )


@app.command("set")
@with_settings("data_dir", "database")
def set_user(loaded: Loaded, user: _USER, role: _ROLE) -> None:
    """Change a user's role in the organisation. Their admin keys obey at once."""
    from antiphon.cli.tenants import get_user, with_store
    from antiphon.domain.organisation import CLI
    from antiphon.run.clock import SystemClock
    from antiphon.run.organisation.users import Users

    async def work(store: Store, data_dir: DataDir) -> User:
        found = await get_user(store, user)
        return await Users(store, SystemClock()).update(CLI, found.id, role=role)

    changed = with_store(loaded, work)
    typer.echo(f"{changed.email} is {changed.role}.")


@app.command("remove")
@with_settings("data_dir", "database")
def remove(loaded: Loaded, user: _USER) -> None:
    """Take a user out of the organisation, and revoke all their keys."""
    from antiphon.cli.tenants import get_user, with_store
    from antiphon.domain.organisation import CLI
    from antiphon.run.clock import SystemClock
    from antiphon.run.organisation.users import Users

    async def work(store: Store, data_dir: DataDir) -> User:
        found = await get_user(store, user)
        await Users(store, SystemClock()).delete(CLI, found.id)
        return found

    typer.echo(f"{with_store(loaded, work).email} is removed.")


@app.command("place")
@with_settings("data_dir", "database")
def place(
    loaded: Loaded,
    user: _USER,
    project: Annotated[str, typer.Option(help="Name or id of the project.")],
    role: Annotated[str, typer.Option(help="owner (may manage the project), member, or none (out of it).")] = "member",
) -> None:
    """Say which role a user has in a project. Whoever leaves it loses their keys for it."""
    from antiphon.cli.tenants import get_project, get_user, with_store
    from antiphon.domain.organisation import CLI
    from antiphon.run.clock import SystemClock
    from antiphon.run.organisation.members import Members
    from antiphon.run.organisation.projects import Projects

    async def work(store: Store, data_dir: DataDir) -> str:
        found, where = await get_user(store, user), await get_project(store, project)
        members = Members(store, SystemClock(), Projects(store, SystemClock()))
        if role == "none":
            await members.delete(CLI, where.id, found.id)
        elif await store.get_member(where.id, found.id) is None:
            await members.add(CLI, where.id, user_id=found.id, email=None, role=role)
        else:
            await members.update(CLI, where.id, found.id, role)
        return f"{found.email} is {'not in' if role == 'none' else role + ' of'} '{where.name}'."

    typer.echo(with_store(loaded, work))


@app.command("invite")
@with_settings("data_dir", "database")
def invite(loaded: Loaded, email: _EMAIL, role: _ROLE = "reader") -> None:
    """Invite somebody. No mail is sent: the invite's id is printed, and 'antiphon users accept' makes them a user."""
    from antiphon.cli.tenants import with_store
    from antiphon.domain.organisation import CLI
    from antiphon.run.clock import SystemClock
    from antiphon.run.organisation.invites import Invites

    async def work(store: Store, data_dir: DataDir) -> Invite:
        return await Invites(store, SystemClock()).create(CLI, email, role, None)

    typer.echo(with_store(loaded, work).id)


@app.command("accept")
@with_settings("data_dir", "database")
def accept(
    loaded: Loaded,
    invite: Annotated[str, typer.Argument(help="The invite's id.", metavar="INVITE")],
    name: _NAME,
) -> None:
    """Make whoever was invited a user, with their places in projects. Their id is printed."""
    from antiphon.cli.tenants import with_store
    from antiphon.domain.organisation import CLI
    from antiphon.run.clock import SystemClock
    from antiphon.run.organisation.invites import Invites

    async def work(store: Store, data_dir: DataDir) -> User:
        return await Invites(store, SystemClock()).accept(CLI, invite, name)

    typer.echo(with_store(loaded, work).id)
