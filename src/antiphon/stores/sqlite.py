"""SQLite: one file, in WAL mode, synchronised to disk at every commit."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import sqlalchemy
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from antiphon.domain import limits
from antiphon.domain.durations import milliseconds
from antiphon.domain.errors import AntiphonError, Conflict, SetupError, StoreFailed, StoreUnavailable, Unstorable
from antiphon.stores.driver import Connection, Cursor

#: What a user can put right, by SQLite's name of the error (https://www.sqlite.org/rescode.html).
_OUTAGES = {
    "SQLITE_FULL": "The disk is full: make room where the database lies.",
    "SQLITE_BUSY": "The database is locked by another process. Is a second server or a tool using it?",
    "SQLITE_LOCKED": "The database is locked by another process. Is a second server or a tool using it?",
    "SQLITE_READONLY": "The database file is read-only. Check the permissions of the data directory.",
    "SQLITE_CANTOPEN": "The database file cannot be opened. Check the permissions of the data directory.",
    "SQLITE_IOERR": "The disk reported an error while the database was read or written.",
}
#: As above, but other things may still work.
_HINTS = {
    "SQLITE_CORRUPT": "The database file is damaged. Restore a copy from the backups folder.",
    "SQLITE_NOTADB": "The database file is not a SQLite database.",
}
_CONFLICTS = {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}
#: Values that it will never take: too large a text or blob, one of the wrong kind, one that breaks a rule of its table.
_REFUSED = ("SQLITE_TOOBIG", "SQLITE_MISMATCH", "SQLITE_CONSTRAINT")
_WRITER_CACHE_KIB = 8 * 1024
_READER_CACHE_KIB = 2 * 1024
#: A checkpoint gives way to readers after this long (milliseconds), so that writes do not wait for it.
_TIDY_PATIENCE = 100


class SqliteDriver:
    """The database in the file `path`, which is made with mode 0600 if it is missing."""

    error: type[Exception] = sqlite3.Error
    # IMMEDIATE takes the write lock at once: a transaction that began by reading could not get it later.
    begin_write = "BEGIN IMMEDIATE"
    begin_snapshot = "BEGIN"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.dialect: sqlalchemy.Dialect = SQLiteDialect_pysqlite(paramstyle="named")

    # --- connecting -------------------------------------------------------------------------------------------------
    def prepare(self) -> None:
        """Make the file, and switch it to WAL mode. Raises `SetupError` if that cannot be done."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._setup_lock():
                # SQLite gives the -wal and -shm files the mode of the database file. An existing file must not be
                # opened here: closing it would drop the locks that SQLite holds in this process.
                if not self._path.exists():
                    os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                if not os.access(self._path, os.R_OK | os.W_OK):  # else it would be noticed at the first write only
                    raise SetupError(f"{self._path} may not be read and written: check its permissions.")
                with closing(self._open(foreign_keys=True)) as connection:
                    connection.execute("PRAGMA journal_mode = WAL")
        except OSError as error:
            raise SetupError(f"The database file cannot be made or opened: {error.strerror}.") from None
        except sqlite3.Error as error:
            raise SetupError(str(self.failure(error))) from None

    def connect(self, *, read_only: bool) -> Connection:
        """A connection for the thread that calls this."""
        connection = self._open(foreign_keys=True)
        cache = _READER_CACHE_KIB if read_only else _WRITER_CACHE_KIB
        connection.execute(f"PRAGMA cache_size = -{cache}")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        return cast(Connection, connection)

    def _open(self, *, foreign_keys: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=limits.STORE_BUSY_TIMEOUT, isolation_level=None)
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA journal_size_limit = {limits.STORE_JOURNAL_SIZE}")
        connection.create_function("now_ms", 0, self.now_ms)
        return connection

    def now_ms(self) -> int:
        """The database's clock, which is its machine's, in Unix milliseconds."""
        return milliseconds(time.time())

    # --- errors -----------------------------------------------------------------------------------------------------
    def lost(self, _connection: Connection, _error: Exception) -> bool:
        """A file does not hang up."""
        return False

    def failure(self, error: Exception) -> AntiphonError:
        """`Conflict` where a unique value is there already, else `StoreFailed` with SQLite's name of the error."""
        name = str(getattr(error, "sqlite_errorname", type(error).__name__))
        if name in _CONFLICTS:
            return Conflict("An object with this name or id exists already.")
        for prefix, hint in _OUTAGES.items():
            if name.startswith(prefix):
                return StoreUnavailable(hint)
        for prefix, hint in _HINTS.items():
            if name.startswith(prefix):
                return StoreFailed(hint)
        if name.startswith(_REFUSED):
            return Unstorable(name)
        return StoreFailed(f"The database refused ({name}).")

    def check_room(self) -> None:
        """A file needs room on its disk."""
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            raise StoreUnavailable(_OUTAGES["SQLITE_CANTOPEN"]) from None
        if disk.f_bavail * disk.f_frsize < limits.STORE_MIN_FREE:
            raise StoreUnavailable(_OUTAGES["SQLITE_FULL"])

    def hurry(self, cursor: Cursor, *, hurried: bool) -> None:
        """SQLite waits by itself, for a time that a connection can be told."""
        patience = limits.STORE_BUSY_TIMEOUT
        if hurried:
            patience = min(patience, limits.STORE_BUSY_TIMEOUT_HURRIED)
        cursor.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}", {})

    # --- migrations -------------------------------------------------------------------------------------------------
    @contextmanager
    def migrating(self) -> Iterator[sqlalchemy.Connection]:
        """A write transaction under the set-up lock. A migration that fails leaves the file as it was."""
        # foreign_keys is off because rebuilding a table with it on would delete the rows that refer to it
        # (https://www.sqlite.org/lang_altertable.html#otheralter).
        opener = cast("Callable[[], Any]", lambda: self._open(foreign_keys=False))
        engine = sqlalchemy.create_engine("sqlite://", creator=opener, poolclass=sqlalchemy.NullPool)
        sqlalchemy.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with self._setup_lock(), engine.begin() as connection:
            yield connection
            if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                raise SetupError("The migration would break references in the database; nothing was changed.")

    def occupied(self, connection: sqlalchemy.Connection) -> bool:
        """Any table at all in a file without our version table is another program's."""
        return bool(sqlalchemy.inspect(connection).get_table_names())

    def back_up(self, folder: Path, revision: str) -> None:
        """Copy the file to `antiphon-<revision>-<UTC time>.db` and keep the newest copies only."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        copy = folder / f"antiphon-{revision}-{stamp}.db"
        partial = copy.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(self._open(foreign_keys=False)) as source, closing(sqlite3.connect(partial)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, without -wal and -shm beside it
        partial.replace(copy)
        copies = sorted(folder.glob("antiphon-*-*.db"), key=lambda path: path.stem.rsplit("-", 1)[1])
        for old in copies[: -limits.STORE_BACKUPS]:
            old.unlink()

    @contextmanager
    def _setup_lock(self) -> Iterator[None]:
        """Held by one process at a time; freed by the kernel if it dies. SQLite's own locks do not cover WAL mode."""
        lock = os.open(self._path.with_name(self._path.name + "-setup.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            deadline = time.monotonic() + limits.STORE_MIGRATION_WAIT
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise SetupError("Another process has been setting up this database for too long.") from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(lock)

    # --- housekeeping -----------------------------------------------------------------------------------------------
    def tidy(self, cursor: Cursor) -> bool:
        """Move the log into the file and empty it, unless readers are in the way."""
        cursor.execute(f"PRAGMA busy_timeout = {_TIDY_PATIENCE}", {})
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)", {})
        busy = bool(cursor.fetchall()[0][0])
        cursor.execute(f"PRAGMA busy_timeout = {milliseconds(limits.STORE_BUSY_TIMEOUT)}", {})
        return not busy
