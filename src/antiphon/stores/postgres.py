"""PostgreSQL, through psycopg 3. A database of its own is best: the tables have plain names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from antiphon.domain import limits
from antiphon.domain.durations import milliseconds
from antiphon.domain.errors import AntiphonError, Conflict, SetupError, StoreFailed, StoreUnavailable, Unstorable
from antiphon.stores.driver import Connection, Cursor

if TYPE_CHECKING:
    import psycopg

#: What a user can put right, by the first characters of the SQLSTATE (PostgreSQL's documentation, appendix A).
_HINTS = {
    "53100": "The database server's disk is full.",
    "53": "The database server has no room left (memory or connections).",
    "55P03": "The database is locked by another process.",
    "57014": "The database server took too long.",
    "57P": "The database server was stopped or is starting.",
    "25006": "The database server is read-only.",
    "25P03": "This process stood still in the middle of a transaction, which the database server has ended.",
    "28": "The database server refused the user name or password.",
    "3D000": "The database does not exist on the server: create it first.",
    "42501": "The database user may not do this: grant it the right to create and use tables.",
}
_UNIQUE_VIOLATION = "23505"
#: Classes of errors that a value brings about, which would come again: data that its type cannot hold, a rule of its
#: table that is broken, a row that is too large.
_REFUSED = ("22", "23", "54")
#: Any number will do, as long as no other program on the same database uses it: "antiphon" in ASCII.
_MIGRATION_LOCK = int.from_bytes(b"antiphon", "big")


def _why_not_connected(message: str) -> str:
    """A hint from libpq's words, which hold the server's address: a refused connection has no SQLSTATE in psycopg."""
    if "authentication failed" in message:
        return _HINTS["28"]
    if "database" in message and "does not exist" in message:
        return _HINTS["3D000"]
    return "The database server does not answer. Is it running, and is its address right?"


class _BinaryConnection:
    """A connection whose cursors get bytes as they are, not as hexadecimal text."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @property
    def closed(self) -> bool:
        return self._connection.closed

    def cursor(self) -> Cursor:
        return cast(Cursor, self._connection.cursor(binary=True))

    def close(self) -> None:
        self._connection.close()


class PostgresDriver:
    """The database at a libpq address (`postgresql://…`)."""

    begin_write = "BEGIN"
    begin_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(self, url: str) -> None:
        try:
            import psycopg  # an extra, and 60 ms to import: SQLite's users need neither
        except ImportError:
            raise SetupError("PostgreSQL needs its driver: pip install 'antiphon[postgres]'.") from None
        self._url = url
        self._psycopg = psycopg
        self.error: type[Exception] = psycopg.Error
        self.dialect: sqlalchemy.Dialect = cast("type[sqlalchemy.Dialect]", PGDialect_psycopg)()

    # --- connecting -------------------------------------------------------------------------------------------------
    def prepare(self) -> None:
        """Connect once. Raises `SetupError` if the server does not answer."""
        try:
            self._open().close()
        except self._psycopg.Error as error:
            raise SetupError(str(self.failure(error))) from None

    def connect(self, *, read_only: bool) -> Connection:
        """A connection in autocommit mode."""
        return _BinaryConnection(self._open(default_transaction_read_only="on" if read_only else "off"))

    def _open(self, **settings: str) -> psycopg.Connection[Any]:
        # An unreachable server must not hold a write for ever: the statement's own timeout, then the socket's.
        patience = milliseconds(limits.STORE_STATEMENT_TIMEOUT)
        connection = self._psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=int(limits.STORE_CONNECT_TIMEOUT),
            tcp_user_timeout=patience,
        )
        settings = {
            "application_name": "antiphon",
            "statement_timeout": str(patience),
            "lock_timeout": str(milliseconds(limits.STORE_BUSY_TIMEOUT)),
            # A process that is stopped in the middle of a transaction must not keep its rows from all others.
            "idle_in_transaction_session_timeout": str(milliseconds(limits.STORE_IDLE_TIMEOUT)),
            "default_transaction_isolation": "read committed",
            **settings,
        }
        # One statement: each would be a round trip of its own.
        calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
        connection.execute(f"SELECT {calls}", [text for setting in settings.items() for text in setting])
        return connection

    # --- errors -----------------------------------------------------------------------------------------------------
    def lost(self, connection: Connection, _error: Exception) -> bool:
        """Whether the server hung up."""
        return cast(_BinaryConnection, connection).closed

    def failure(self, error: Exception) -> AntiphonError:
        """`Conflict` where a unique value is there already, else `StoreFailed` with the SQLSTATE."""
        state: str | None = getattr(error, "sqlstate", None)
        if state == _UNIQUE_VIOLATION:
            return Conflict("An object with this name or id exists already.")
        if state is None:
            # It never came to the server: it was not reached, or the driver could not send a value (psycopg: a NUL).
            if isinstance(error, self._psycopg.DataError):
                return Unstorable(type(error).__name__)
            if isinstance(error, self._psycopg.OperationalError | self._psycopg.InterfaceError):
                return StoreUnavailable(_why_not_connected(str(error)))
            return StoreFailed(f"The database refused ({type(error).__name__}).")
        for prefix, hint in _HINTS.items():
            if state.startswith(prefix):
                return StoreUnavailable(hint)
        if state.startswith(_REFUSED):
            return Unstorable(f"SQLSTATE {state}")
        return StoreFailed(f"The database refused (SQLSTATE {state}).")

    def check_room(self) -> None:
        """Its disk is its own matter."""

    def hurry(self, cursor: Cursor, *, hurried: bool) -> None:
        """A server that is gone is not waited for anyway."""

    # --- migrations -------------------------------------------------------------------------------------------------
    @contextmanager
    def migrating(self) -> Iterator[sqlalchemy.Connection]:
        """A transaction under an advisory lock. A migration that fails leaves the database as it was."""
        engine = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=self._migrator, poolclass=sqlalchemy.NullPool
        )
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            yield connection

    def _migrator(self) -> Any:
        """A connection that waits for another process's migration, and may take long for its own."""
        connection = self._open()
        connection.autocommit = False
        connection.execute("SET statement_timeout = 0")
        connection.execute("SET idle_in_transaction_session_timeout = 0")
        connection.execute(f"SET lock_timeout = {milliseconds(limits.STORE_MIGRATION_WAIT)}")
        connection.commit()
        return connection

    def occupied(self, _connection: sqlalchemy.Connection) -> bool:
        """Other tables may stand beside ours (extensions make some)."""
        return False

    def back_up(self, _folder: Path, _revision: str) -> None:
        """A server's copies are its administrator's."""

    # --- housekeeping -----------------------------------------------------------------------------------------------
    def tidy(self, _cursor: Cursor) -> bool:
        """The server's own vacuum does it."""
        return True
