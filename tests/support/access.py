"""Keys and limits for tests: made in the server's database, as another process would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from antiphon.domain.ids import new_id
from antiphon.domain.keys import digest, new_secret
from antiphon.domain.rates import RateLimit
from antiphon.domain.tenancy import AdminKey, Key
from antiphon.policy.first_run import make_key
from antiphon.stores.store import SqlStore
from support.serving import Serving

T = TypeVar("T")


def in_store(served: Serving, work: Callable[[SqlStore], Awaitable[T]]) -> T:
    """Do something in the server's database."""

    async def run() -> T:
        store = SqlStore(served.settings.database, backups=None)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def another_key(served: Serving, **changes: Any) -> tuple[str, Key]:
    """One more key of the first project: its secret, and what is stored of it."""

    async def make(store: SqlStore) -> tuple[str, Key]:
        project = (await store.list_projects())[0]
        secret, key = make_key(project.id, "another", served.data_dir.secret())
        key = replace(key, **changes)
        await store.create_key(key)
        return secret, key

    return in_store(served, make)


def admin_key(served: Serving, role: str = "owner") -> str:
    """The secret of a new admin key."""
    secret = new_secret()
    key = AdminKey(new_id("key_"), "test", digest(served.data_dir.secret(), secret), "…", role, 1)
    in_store(served, lambda store: store.create_admin_key(key))
    return secret


def limited(served: Serving, key: Key, **rates: int) -> None:
    """Limit a key. It must not have been used in the last two seconds, or it is remembered as it was."""
    in_store(served, lambda store: store.put_rate_limit(RateLimit("key", key.id, **rates)))
