"""Keys and limits for tests: made in the server's database, as another process would."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from antiphon.domain.rates import RateLimit
from antiphon.domain.tenancy import Key
from antiphon.policy.keys.first_run import make_key
from antiphon.stores.store import SqlStore
from support.inside import in_store
from support.serving import Serving

T = TypeVar("T")


def another_key(served: Serving, **changes: Any) -> tuple[str, Key]:
    """One more key of the first project: its secret, and what is stored of it."""

    async def make(store: SqlStore) -> tuple[str, Key]:
        project = (await store.list_projects())[0]
        secret, key = make_key(project.id, "another", served.data_dir.secret())
        key = replace(key, **changes)
        await store.create_key(key)
        return secret, key

    return in_store(served, make)


def limited(served: Serving, key: Key, **rates: Any) -> None:
    """Limit a key. It must not have been used in the last two seconds, or it is remembered as it was."""
    in_store(served, lambda store: store.put_rate_limit(RateLimit("key", key.id, **rates)))
