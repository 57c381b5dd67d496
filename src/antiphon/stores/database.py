"""The database for the queries: `read` and `write`, awaited on the event loop and done in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import literal_column, update

from antiphon.domain import limits
from antiphon.domain.errors import Overloaded, SetupError, ShuttingDown, StoreFailed, StoreUnavailable
from antiphon.stores import schema
from antiphon.stores.driver import Driver
from antiphon.stores.health import Health
from antiphon.stores.query import DatabaseSession, Statement
from antiphon.stores.tables import probes
from antiphon.stores.threads import CallQueue, DatabaseCall, DatabaseThread, Reader
from antiphon.stores.writer import Writer

Argument = TypeVar("Argument")
Result = TypeVar("Result")
P = ParamSpec("P")
#: Does the same to many arguments, so that equal statements run together. Gives one result for each argument.
Write = Callable[[DatabaseSession, Sequence[Argument]], Sequence[Result]]

_SQLITE = "sqlite:///"


def driver_for(url: str) -> Driver:
    """The driver for `sqlite:///<path, as it is>` or `postgresql://…`. Raises `SetupError` for anything else."""
    if url.startswith(_SQLITE):
        path = url.removeprefix(_SQLITE)
        if path in {"", ":memory:"}:
            raise SetupError("The database needs a file: sqlite:///path/to/antiphon.db")
        from antiphon.stores.sqlite import SqliteDriver  # each start needs one of the two only

        return SqliteDriver(Path(path))
    scheme, separator, rest = url.partition("://")
    if separator and scheme in {"postgresql", "postgres", "postgresql+psycopg"}:
        from antiphon.stores.postgres import PostgresDriver  # each start needs one of the two only

        return PostgresDriver(f"postgresql://{rest}")
    raise SetupError("The database must be sqlite:///path/to/antiphon.db or postgresql://user@host/name")


_COUNT = Statement(update(probes).values(count=probes.c.count + literal_column("1")))


def _probe(session: DatabaseSession, batch: Sequence[None]) -> list[None]:
    session.check_room()
    session.run(_COUNT, {})
    return [None] * len(batch)


class Database:
    """One open database. Belongs to the event loop that opened it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writes: CallQueue = SimpleQueue()
        self._reads: CallQueue = SimpleQueue()
        self._threads: list[DatabaseThread] = []
        self._writer: Writer | None = None
        self._closed = False
        self._health = Health(self._probe, self._take_time)

    async def open(self, backups: Path | None) -> None:
        """Bring the schema up to date and start the threads. Raises `SetupError`."""
        await asyncio.to_thread(schema.bring_up_to_date, self._driver, backups)
        self._loop = loop = asyncio.get_running_loop()
        self._writer = Writer(self._driver, loop, self._writes)
        self._threads = [self._writer]
        self._threads += [Reader(self._driver, loop, self._reads) for _ in range(limits.STORE_READERS)]

    async def close(self) -> None:
        """Write what is pending and disconnect. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._health.close()
            self._writes.put(None)
            for _ in range(limits.STORE_READERS):
                self._reads.put(None)
        for thread in self._threads:
            await asyncio.shield(thread.stopped)

    async def read(
        self, function: Callable[Concatenate[DatabaseSession, P], Result], *args: P.args, **_: P.kwargs
    ) -> Result:
        """`function(session, *args)` in a reader's thread."""
        self._admit(self._reads, limits.MAX_PENDING_READS)
        future: asyncio.Future[Result] = self._running().create_future()
        self._reads.put(DatabaseCall(function, args, future))
        return await self._outcome(future)

    async def write(
        self,
        function: Write[Argument, Result],
        argument: Argument,
        *,
        key: Hashable,
        erases: bool = False,
    ) -> Result:
        """The result of `function` for this argument, when it is durable.

        Writes with the same `key` keep their order; others may change places within a group. `erases` says that
        content is deleted, which must leave SQLite's log soon. Once asked for, a write happens even if its caller is
        cancelled.
        """
        self._admit(self._writes, limits.MAX_PENDING_WRITES)
        future: asyncio.Future[Result] = self._running().create_future()
        self._writes.put(DatabaseCall(function, argument, future, key=key, erases=erases))
        return await self._outcome(future)

    async def _outcome(self, future: asyncio.Future[Result]) -> Result:
        try:
            return await future
        except StoreUnavailable as error:
            self._health.failed(error.reason)
            raise

    async def check_writable(self) -> None:
        """Raise `StoreUnavailable` unless the database takes writes. Costs next to nothing, most of the time."""
        self._running()
        await self._health.check()

    async def _probe(self) -> None:
        future: asyncio.Future[None] = self._running().create_future()
        self._admit(self._writes, limits.MAX_PENDING_WRITES)
        self._writes.put(DatabaseCall(_probe, None, future, key="probe"))
        await future

    def _take_time(self, healthy: bool) -> None:
        """While it takes no writes, nobody should wait long to hear that once more."""
        if self._writer is not None:
            self._writer.hurried = not healthy

    @property
    def writes_waiting(self) -> int:
        """Writes that have been asked for and not begun."""
        return self._writes.qsize()

    def check(self) -> None:
        """Raise `StoreFailed` if a thread has died."""
        self._running()
        if not all(thread.alive for thread in self._threads):
            raise StoreFailed("A database thread has stopped; restart the server.")

    def _admit(self, queue: CallQueue, most: int) -> None:
        if self._closed:
            raise ShuttingDown("The server is stopping.")
        if queue.qsize() >= most:
            raise Overloaded("The database cannot keep up. Try again in a moment.")

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise StoreFailed("The database is not open.")
        return self._loop
