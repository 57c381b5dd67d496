"""What differs between SQLite and PostgreSQL, and nothing else: connecting, transactions, errors, housekeeping.

Connections and cursors are the drivers' own (DB-API 2.0), in autocommit mode: transactions are begun and ended in SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy

from antiphon.domain.errors import AntiphonError

Parameters = Mapping[str, object]


class Cursor(Protocol):
    """The part of a DB-API cursor that is used."""

    @property
    def rowcount(self) -> int:
        """Rows the last statement changed."""

    def execute(self, sql: str, parameters: Parameters, /) -> object:
        """Run one statement."""

    def executemany(self, sql: str, rows: Sequence[Parameters], /) -> object:
        """Run one statement for each row of parameters."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rest of the result."""


class Connection(Protocol):
    """The part of a DB-API connection that is used. One thread only uses it."""

    def cursor(self) -> Cursor:
        """A new cursor."""

    def close(self) -> None:
        """Disconnect."""


class Driver(Protocol):
    """One kind of database at one address."""

    #: For compiling statements.
    dialect: sqlalchemy.Dialect
    #: Base class of the driver's exceptions.
    error: type[Exception]
    #: Begins a transaction that will write.
    begin_write: str
    #: Begins a transaction whose reads all see the same state.
    begin_snapshot: str

    def prepare(self) -> None:
        """Get ready to connect, before anything else. Raises `SetupError` if the database cannot be reached."""

    def connect(self, *, read_only: bool) -> Connection:
        """A new connection in autocommit mode. Raises `error`."""

    def lost(self, connection: Connection, error: Exception) -> bool:
        """Whether `error` means that this connection is dead and a new one may help."""

    def failure(self, error: Exception) -> AntiphonError:
        """The domain error for a driver's exception, without SQL, content or address in its message.

        `StoreUnavailable`, where the fault is not in what was asked: anything else would fail as well.
        """

    def check_room(self) -> None:
        """Raise `StoreUnavailable` if what is stored has hardly any room left, as far as that can be seen from here."""

    def hurry(self, cursor: Cursor, *, hurried: bool) -> None:
        """Wait for other processes' locks only briefly, or as long as usual again."""

    def migrating(self) -> AbstractContextManager[sqlalchemy.Connection]:
        """A transaction for changing the schema. Only one process at a time is inside, others wait."""

    def occupied(self, connection: sqlalchemy.Connection) -> bool:
        """Whether the database holds tables of another program, so that ours must not be made in it."""

    def back_up(self, folder: Path, revision: str) -> None:
        """Copy the database into `folder` if it is a file, inside `migrating`."""

    def tidy(self, cursor: Cursor) -> bool:
        """Take what was deleted out of the write-ahead log. False: not now, try again later."""
