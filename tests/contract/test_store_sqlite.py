"""What only a SQLite file has: its mode, locks, a full disk, and traces of deleted content."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import SetupError, StoreFailed
from antiphon.domain.tenancy import Project
from antiphon.stores.driver import Cursor
from antiphon.stores.query import DatabaseSession
from antiphon.stores.sqlite import SqliteDriver
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, item, opened, response, run

SECRET = b"the-secret-that-was-deleted"


@pytest.fixture
def path(sqlite_template: Path, tmp_path: Path) -> Path:
    """An empty database of ours."""
    return Path(shutil.copy(sqlite_template, tmp_path / "antiphon.db"))


def _traces(path: Path) -> list[str]:
    """The files beside `path` that hold the secret."""
    return [entry.name for entry in path.parent.iterdir() if entry.is_file() and SECRET in entry.read_bytes()]


def test_a_new_file_and_its_log_are_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "100% of?it.db"

    async def main() -> None:
        async with opened(f"sqlite:///{path}") as store:
            await store.create_project(Project("proj_one", "one", 1))
            modes = {entry.name: entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()}
        assert modes == {
            path.name: 0o600,
            f"{path.name}-wal": 0o600,
            f"{path.name}-shm": 0o600,
            f"{path.name}-setup.lock": 0o600,
        }
        assert path.parent.stat().st_mode & 0o777 == 0o700

    asyncio.run(main())


def test_commits_are_synchronised_and_deletions_overwrite(path: Path) -> None:
    def look(session: DatabaseSession, batch: Sequence[None]) -> list[dict[str, int | str]]:
        cursor = session._cursor
        settings: dict[str, int | str] = {}
        for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete"):
            cursor.execute("ROLLBACK" if name == "journal_mode" else "SELECT 1", {})
            cursor.execute(f"PRAGMA {name}", {})
            settings[name] = cursor.fetchall()[0][0]
        cursor.execute("BEGIN", {})
        return [settings] * len(batch)

    async def test(store: SqlStore) -> None:
        settings = await store._database.write(look, None, key=0)
        assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}

    run(f"sqlite:///{path}", test)


def test_deleted_content_leaves_the_file_and_the_log_soon(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_ERASE_WITHIN", 0.05)
    tidied = threading.Event()

    tidy = SqliteDriver.tidy

    def watched(driver: SqliteDriver, cursor: Cursor) -> bool:
        done = tidy(driver, cursor)
        if done:
            tidied.set()
        return done

    monkeypatch.setattr(SqliteDriver, "tidy", watched)

    async def test(store: SqlStore) -> None:
        await store.put_response(response("resp_1", body=SECRET), [item("msg_1", body=SECRET * 1000)])
        assert _traces(path)
        assert await store.delete_response(ONE, "resp_1")
        assert await asyncio.to_thread(tidied.wait, 20)
        assert _traces(path) == []

    run(f"sqlite:///{path}", test)


def test_deleted_content_is_gone_after_closing(path: Path) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(response("resp_1", body=SECRET), [item("msg_1", body=SECRET * 1000)])
        await store.delete_response(ONE, "resp_1")

    run(f"sqlite:///{path}", test)
    assert _traces(path) == []
    assert not path.with_name("antiphon.db-wal").exists()


def test_another_process_that_holds_the_lock_is_named_as_the_cause(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_BUSY_TIMEOUT", 0.1)

    async def test(store: SqlStore) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writes = [store.put_response(response(f"resp_{number}")) for number in range(20)]
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            assert all(isinstance(outcome, StoreFailed) for outcome in outcomes)
            assert "locked by another process" in str(outcomes[0])
            assert await store.get_response(ONE, "resp_0") is None
            other.execute("ROLLBACK")
        await store.put_response(response("resp_0"))
        assert await store.get_response(ONE, "resp_0") is not None

    run(f"sqlite:///{path}", test)


def test_a_full_disk_is_named_as_the_cause_and_small_writes_go_on(path: Path) -> None:
    def fill(session: DatabaseSession, batch: Sequence[None]) -> list[None]:
        session._cursor.execute("PRAGMA page_count", {})
        pages = session._cursor.fetchall()[0][0]
        session._cursor.execute(f"PRAGMA max_page_count = {pages + 5}", {})
        return [None] * len(batch)

    async def test(store: SqlStore) -> None:
        await store._database.write(fill, None, key=0)
        writes = [
            store.put_response(response("resp_1", body=b"x" * 100_000)),
            store.put_response(response("resp_2")),
        ]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert "disk is full" in str(outcomes[0])
        assert outcomes[1] is None
        assert await store.get_response(ONE, "resp_2") == response("resp_2")

    run(f"sqlite:///{path}", test)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("Dear diary, " * 1000)
    with pytest.raises(SetupError, match="not a SQLite database"):
        run(f"sqlite:///{path}", _nothing)
    assert path.read_text() == "Dear diary, " * 1000


def test_a_folder_that_cannot_be_made_is_a_setup_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="cannot be made or opened") as raised:
        run(f"sqlite:///{tmp_path / 'file' / 'antiphon.db'}", _nothing)
    assert str(tmp_path) not in raised.value.message


async def _nothing(_: SqlStore) -> None:
    pass
