"""The schema: made once, migrated after a copy, and never touched when it is newer. On both databases."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from antiphon.domain import limits
from antiphon.domain.errors import SetupError
from antiphon.stores import schema, tables
from antiphon.stores.database import driver_for
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, chain, item, opened, response, run

SECOND = '''
"""A second migration, as a later version may bring it: rebuilding a table that others refer to."""
from alembic import op
import sqlalchemy as sa

revision = "9999"
down_revision = "{newest}"


def upgrade() -> None:
    with op.batch_alter_table("responses", recreate="auto") as table:
        table.add_column(sa.Column("note", sa.Text, nullable=False, server_default="none"))
        table.alter_column("model", nullable=True)
    {last}
'''


def _versions(folder: Path, last: str = "pass") -> Path:
    """The migrations of a later version."""
    versions = folder / "versions"
    shutil.copytree(schema.MIGRATIONS / "versions", versions, ignore=shutil.ignore_patterns("__pycache__"))
    (versions / "9999_second.py").write_text(SECOND.format(last=last, newest=schema.HEAD))
    return versions


def _upgrade(url: str, versions: Path, backups: Path | None = None) -> None:
    schema.bring_up_to_date(driver_for(url), backups, head="9999", versions=versions)


async def _one_response(store: SqlStore) -> None:
    await store.put_response(response("resp_1"), [item("msg_1")])


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("path_separator", "newline")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_the_migrations_make_exactly_the_tables(url: str) -> None:
    with driver_for(url).migrating() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


def test_a_current_database_is_opened_without_alembic(url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from antiphon.stores.store import SqlStore\n"
        "async def main():\n"
        "    store = SqlStore(sys.argv[1], backups=None)\n"
        "    await store.open(); await store.ping(); await store.close()\n"
        "asyncio.run(main())\n"
        "assert 'alembic' not in sys.modules\n"
        "assert 'psycopg' not in sys.modules or sys.argv[1].startswith('postgresql')\n"
    )
    subprocess.run([sys.executable, "-c", program, url], check=True, timeout=60)


def test_a_migration_keeps_everything_and_opening_twice_changes_nothing(url: str, tmp_path: Path) -> None:
    run(url, _one_response)
    versions = _versions(tmp_path)
    _upgrade(url, versions)
    _upgrade(url, versions)
    with driver_for(url).migrating() as connection:
        rows = connection.exec_driver_sql("SELECT id, note FROM responses").all()
        assert [tuple(row) for row in rows] == [("resp_1", "none")]
        # Rebuilding a table in SQLite must not have set off ON DELETE CASCADE.
        assert connection.exec_driver_sql("SELECT count(*) FROM items").scalar() == 1


def test_a_database_of_a_newer_version_is_refused_and_left_alone(url: str, tmp_path: Path) -> None:
    run(url, _one_response)
    _upgrade(url, _versions(tmp_path))
    with pytest.raises(SetupError, match=r"newer version of Antiphon \(schema 9999\)"):
        run(url, _one_response)
    with driver_for(url).migrating() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"


def test_a_migration_that_fails_changes_nothing(url: str, tmp_path: Path) -> None:
    run(url, _one_response)
    versions = _versions(tmp_path, last='op.execute("INSERT INTO projects (id) VALUES (NULL)")')
    with pytest.raises(SetupError, match="could not be migrated; nothing was changed"):
        _upgrade(url, versions)

    async def check(store: SqlStore) -> None:
        assert await store.get_response(ONE, "resp_1") == response("resp_1")

    run(url, check)


def test_a_file_is_copied_before_it_is_migrated(sqlite_template: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(sqlite_template, tmp_path / "antiphon.db"))
    url = f"sqlite:///{path}"
    run(url, _one_response)
    backups = tmp_path / "backups"
    _upgrade(url, _versions(tmp_path), backups)
    (copy,) = backups.iterdir()
    assert copy.name.startswith(f"antiphon-{schema.HEAD}-")
    assert copy.name.endswith("Z.db")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert backups.stat().st_mode & 0o777 == 0o700

    async def check(store: SqlStore) -> None:
        assert await chain(store, ONE, "resp_1", limit=1) == [(response("resp_1"), [item("msg_1")])]

    run(f"sqlite:///{copy}", check)


def test_a_new_or_a_current_file_is_not_copied(tmp_path: Path) -> None:
    async def main() -> None:
        for _ in range(2):
            store = SqlStore(f"sqlite:///{tmp_path / 'antiphon.db'}", backups=tmp_path / "backups")
            await store.open()
            await store.close()

    asyncio.run(main())
    assert not (tmp_path / "backups").exists()


def test_only_the_newest_copies_are_kept(sqlite_template: Path, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    old = [backups / f"antiphon-0000-2001010{number}T000000Z.db" for number in range(1, 8)]
    for path in old:
        path.touch()
    (backups / "mine.db").touch()
    path = Path(shutil.copy(sqlite_template, tmp_path / "antiphon.db"))
    _upgrade(f"sqlite:///{path}", _versions(tmp_path), backups)
    left = sorted(entry.name for entry in backups.iterdir())
    assert len(left) == limits.STORE_BACKUPS + 1
    assert left[-1] == "mine.db"
    assert [entry.name for entry in old[3:]] == left[:-2]
    assert left[-2].startswith(f"antiphon-{schema.HEAD}-20")


def test_without_its_copy_a_file_is_not_migrated(sqlite_template: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'antiphon.db')}"
    (tmp_path / "backups").write_text("in the way")
    with pytest.raises(SetupError, match="could not be copied"):
        _upgrade(url, _versions(tmp_path), tmp_path / "backups")
    run(url, _one_response)


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE projects (id TEXT)")
    with pytest.raises(SetupError, match="another program"):
        run(f"sqlite:///{path}", _one_response)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("projects",)]


def test_a_new_database_is_made_on_opening(new_url: str) -> None:
    async def main() -> None:
        async with opened(new_url) as store:
            assert await store.list_projects() == []

    asyncio.run(main())
    run(new_url, _one_response)
