"""The whole database, as `ports.Store` asks for it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import literal_column, select

from antiphon.stores.cached import Cached
from antiphon.stores.completions import Completions
from antiphon.stores.conversations import Conversations
from antiphon.stores.database import Database, driver_for
from antiphon.stores.idempotency import Keys
from antiphon.stores.making import Making
from antiphon.stores.prompts import Prompts
from antiphon.stores.query import Query, Session
from antiphon.stores.responses import Responses
from antiphon.stores.tenants import Tenants
from antiphon.stores.uses import Uses

_PING = Query(select(literal_column("1")))


class SqlStore(Tenants, Responses, Making, Conversations, Completions, Prompts, Keys, Cached, Uses):
    """Implements `ports.Store` on SQLite or PostgreSQL."""

    def __init__(self, url: str, *, backups: Path | None) -> None:
        """`url`: `sqlite:///<path, as it is>` or `postgresql://…` (libpq's form). Raises `SetupError` for others.

        `backups`: the folder for copies of a SQLite file before its migration; None for no copies.
        """
        super().__init__(Database(driver_for(url)))
        self._backups = backups

    async def open(self) -> None:
        """Connect and bring the schema up to date (after a copy of the file, where it is one).

        Raises `SetupError` with what to do if the database cannot be used.
        """
        await self._database.open(self._backups)

    async def close(self) -> None:
        """Write what is pending and disconnect. Safe to call twice."""
        await self._database.close()

    async def ping(self) -> None:
        """Raise `StoreFailed` unless the database answers."""
        self._database.check()
        await self._database.read(_ping)


def _ping(session: Session) -> None:
    session.all(_PING, {})
