"""The database of a server under test, as another process sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from antiphon.stores.store import SqlStore
from support.serving import Serving

T = TypeVar("T")


def in_store(served: Serving, work: Callable[[SqlStore], Awaitable[T]]) -> T:
    """Do something with the server's database, as the command line does while it runs."""
    return store_at(served.settings.database, work)


def store_at(url: str, work: Callable[[SqlStore], Awaitable[T]]) -> T:
    """Do something with the database at this address."""

    async def main() -> T:
        store = SqlStore(url, backups=None)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(main())
