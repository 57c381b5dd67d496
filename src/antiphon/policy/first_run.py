"""The first start: a project and a key, so that `antiphon env` has something to print."""

from __future__ import annotations

import time

from antiphon.datadir import DataDir
from antiphon.domain import keys
from antiphon.domain.ids import new_id
from antiphon.domain.tenancy import Key, Project
from antiphon.ports import TenantStore

DEFAULT_PROJECT = "default"


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
