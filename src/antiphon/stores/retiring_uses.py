"""Which key used what is shut down, in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.sql import ClauseElement

from antiphon.domain.retirement import Use
from antiphon.stores.query import DatabaseSession, Statement
from antiphon.stores.section import StoreSection
from antiphon.stores.tables import retiring_uses as uses

# The columns stand in the order of the dataclass' fields.
_USE = tuple(uses.c[name] for name in Use.__dataclass_fields__)


def _noting(dialect: str) -> ClauseElement:
    """Insert a use, or add to what is there."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        insert: Any = pg_insert
        later: Any = func.greatest
    else:
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        insert = sqlite_insert
        later = func.max  # of two values, SQLite's name for the greater
    statement = insert(uses).values({column.name: bindparam(column.name) for column in _USE})
    result: ClauseElement = statement.on_conflict_do_update(
        index_elements=["project_id", "key_id", "subject"],
        set_={
            "count": uses.c.count + statement.excluded["count"],
            "last_day": later(uses.c.last_day, statement.excluded.last_day),
        },
    )
    return result


_NOTE = Statement(_noting)
_LIST = Statement(select(*_USE).order_by(uses.c.last_day.desc(), uses.c.project_id, uses.c.key_id, uses.c.subject))


class RetiringUseSection(StoreSection):
    """Implements `ports.UseStore`."""

    async def note_use(self, use: Use) -> None:
        """Add to what is known of this key and subject."""
        await self._database.write(_note, use, key=("use", use.project_id, use.key_id, use.subject))

    async def list_uses(self) -> list[Use]:
        """All uses, the latest first."""
        return await self._database.read(_list)


def _note(session: DatabaseSession, batch: Sequence[Use]) -> list[None]:
    # In one order for all: two servers must not wait for each other in a circle.
    rows = sorted(batch, key=lambda use: (use.project_id, use.key_id, use.subject))
    session.many(_NOTE, [{column.name: getattr(use, column.name) for column in _USE} for use in rows])
    return [None] * len(batch)


def _list(session: DatabaseSession) -> list[Use]:
    return [Use(*row) for row in session.all(_LIST, {})]
