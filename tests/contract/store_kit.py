"""What the store's tests share: records with short names, and one way to run a test against an open store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from antiphon.domain.records import StoredCompletion, StoredItem, StoredResponse
from antiphon.domain.tenancy import Project
from antiphon.stores.query import DatabaseSession
from antiphon.stores.store import SqlStore

ONE = "proj_one"
TWO = "proj_two"


def response(
    name: str,
    *,
    project: str = ONE,
    at: int = 1_700_000_000,
    status: str = "completed",
    body: bytes | None = None,
    previous: str | None = None,
    owner: str | None = None,
) -> StoredResponse:
    """A response with the id `name`."""
    if body is None:
        body = b'{"id":"%s"}' % name.encode()
    return StoredResponse(project, name, at, status, "model-a", body, previous, owner)


def item(
    name: str, position: int = 0, direction: Literal["input", "output"] = "input", body: bytes | None = None
) -> StoredItem:
    """An item with the id `name`."""
    return StoredItem(name, position, direction, b'{"id":"%s"}' % name.encode() if body is None else body)


def completion(
    name: str,
    *,
    project: str = ONE,
    at: int = 1_700_000_000,
    model: str = "model-a",
    metadata: Mapping[str, str] | None = None,
) -> StoredCompletion:
    """A stored chat completion with the id `name`."""
    return StoredCompletion(
        project, name, at, model, b'{"id":"%s"}' % name.encode(), b'[{"role":"user"}]', metadata or {}
    )


async def chain(
    store: SqlStore, project: str, name: str, *, limit: int
) -> list[tuple[StoredResponse, list[StoredItem]]]:
    """A chain with all that is in it."""
    links = await store.chain(project, name, limit=limit)
    items = await store.items_of(project, [link for link, _ in links])
    found = []
    for link, status in links:
        record = await store.get_response(project, link)
        assert record is not None
        assert record.status == status
        found.append((record, items.get(link, [])))
    return found


def run(url: str, test: Callable[[SqlStore], Awaitable[None]]) -> None:
    """Run `test` on a store at `url` that holds the projects ONE and TWO."""

    async def main() -> None:
        async with opened(url) as store:
            if not await store.list_projects():
                await store.create_project(Project(ONE, "one", 1))
                await store.create_project(Project(TWO, "two", 2))
            await test(store)

    asyncio.run(main())


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[SqlStore]:
    """A store at `url`, closed at the end."""
    store = SqlStore(url, backups=None)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def ids(page: Awaitable[Any]) -> tuple[list[str], bool]:
    """A page as (ids, has_more)."""
    result = await page
    return [entry.id for entry in result.data], result.has_more


@asynccontextmanager
async def writer_held(store: SqlStore) -> AsyncIterator[None]:
    """The writer's thread stands still inside; all writes asked for meanwhile become one group."""
    held, release = threading.Event(), threading.Event()

    def hold(_: DatabaseSession, batch: Sequence[None]) -> list[None]:
        held.set()
        assert release.wait(60)
        return [None] * len(batch)

    holding = asyncio.create_task(store._database.write(hold, None, key="hold"))
    assert await asyncio.to_thread(held.wait, 60)
    try:
        yield
    finally:
        release.set()
        await holding
