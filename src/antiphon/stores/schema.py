"""Bringing the database's schema up to date at start, by Alembic, one process at a time.

Alembic is imported only when there is something to do: it costs 0.13 s and 9 MB.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.domain.errors import SetupError
from antiphon.stores.driver import Driver

if TYPE_CHECKING:
    import sqlalchemy
    from alembic.script import ScriptDirectory

#: The newest migration's revision. A test holds it against the files.
HEAD = "0011"
MIGRATIONS = Path(__file__).parent / "migrations"


def bring_up_to_date(
    driver: Driver, backups: Path | None, *, head: str = HEAD, versions: Path = MIGRATIONS / "versions"
) -> None:
    """Connect, and migrate to `head` if the database is not there yet.

    A file with content is copied into `backups` first (None: no copy). Raises `SetupError` if the database cannot be
    reached, belongs to a newer version or another program, or the migration fails; it is then as it was.
    """
    driver.prepare()
    if _revision(driver) == head:
        return
    try:
        with driver.migrating() as connection:
            _migrate(driver, connection, backups, versions)
    except OSError as error:
        raise SetupError(f"The database could not be copied before its migration: {error.strerror}.") from None
    except Exception as error:
        cause = getattr(error, "orig", error)
        if isinstance(cause, driver.error):
            message = str(driver.failure(cause))
            raise SetupError(f"The database could not be migrated; nothing was changed. {message}") from None
        raise


def _revision(driver: Driver) -> str | None:
    """The database's revision, or None if that cannot be told: the migration then finds out why."""
    try:
        with closing(driver.connect(read_only=True)) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT version_num FROM alembic_version", {})
            rows = cursor.fetchall()
    except driver.error:
        return None
    return str(rows[0][0]) if rows else None


def _migrate(driver: Driver, connection: sqlalchemy.Connection, backups: Path | None, versions: Path) -> None:
    """Upgrade inside `connection`'s transaction, which nobody else can enter."""
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    # Alembic reads its settings as a template, in which % has a meaning.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("version_locations", str(versions).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        if driver.occupied(connection):
            raise SetupError("The database file belongs to another program. Choose another file.")
    else:
        _check_known(ScriptDirectory.from_config(config), revision)
        if backups is not None:
            driver.back_up(backups, revision)
    command.upgrade(config, "head")


def _check_known(scripts: ScriptDirectory, revision: str) -> None:
    if revision not in {script.revision for script in scripts.walk_revisions()}:
        raise SetupError(
            f"The database was written by a newer version of Antiphon (schema {revision}). "
            "Install that version, or restore a copy from the backups folder."
        )
