"""Databases for the store's contract: a new SQLite file, and a new database on a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.databases import Postgres, sqlite_template


@pytest.fixture(scope="session", name="sqlite_template")
def sqlite_template_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database with an up-to-date schema, to be copied."""
    path = tmp_path_factory.mktemp("template") / "empty.db"
    path.write_bytes(sqlite_template())
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database with an up-to-date schema, of each kind."""
    if request.param == "sqlite":
        path = tmp_path / "antiphon.db"
        path.write_bytes(sqlite_template())
        yield f"sqlite:///{path}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.migrated()
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database that has nothing in it at all, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'data' / 'antiphon.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)
