"""The first start: a project and a key, so that `antiphon env` has something to print."""

from __future__ import annotations

import contextlib
import time

from antiphon.datadir import DataDir
from antiphon.domain import keys
from antiphon.domain.errors import Conflict
from antiphon.domain.ids import new_id
from antiphon.domain.organisation import CLI, AuditEntry, Member, User
from antiphon.domain.tenancy import Key, Project
from antiphon.ports import Store, TenantStore

DEFAULT_PROJECT = "default"
#: Of the user who is there from the first start on. No mail is ever sent to it.
FIRST_OWNER = "owner@localhost"


def make_key(project_id: str, name: str, server_secret: bytes, *, expires_at: int | None = None) -> tuple[str, Key]:
    """A new key: the secret that is shown once, and what the store keeps. `expires_at` is in Unix seconds."""
    secret = keys.new_secret()
    key = Key(
        id=new_id("key_"),
        project_id=project_id,
        name=name,
        digest=keys.digest(server_secret, secret),
        hint=keys.hint(secret),
        created_at=int(time.time()),
        expires_at=expires_at,
    )
    return secret, key


async def first_run(store: TenantStore, data_dir: DataDir) -> bool:
    """Make the project `default` if there is no project, and a first key if there is no key; whether a key was made.

    The key is written to the data directory before it is stored: after a crash in between, the next start makes another
    one, and none is ever valid that nobody has. A revoked key counts as a key, so revoking the first one is final.
    """
    projects = await store.list_projects()
    if not projects:
        projects = [Project(id=new_id("proj_"), name=DEFAULT_PROJECT, created_at=int(time.time()))]
        await store.create_project(projects[0])
    if await store.list_keys():
        return False
    project = next((project for project in projects if project.name == DEFAULT_PROJECT), projects[0])
    secret, key = make_key(project.id, DEFAULT_PROJECT, data_dir.secret())
    data_dir.write_default_key(secret)
    await store.create_key(key)
    return True


async def first_owner(store: Store) -> None:
    """Make a first user, who owns the organisation and the default project, if there is no user."""
    if await store.first_user() is not None:
        return
    user = User(new_id("user_"), "Owner", FIRST_OWNER, "owner", int(time.time()))
    shown = {"email": user.email, "name": user.name, "role": user.role}
    # Another process may be starting for the first time just now.
    with contextlib.suppress(Conflict):
        await store.add_user(user, [AuditEntry("user.added", CLI, user.id, after=shown)])
        default = await store.get_project(DEFAULT_PROJECT)
        if default is not None:
            await store.add_member(Member(default.id, user, "owner", user.created_at))
