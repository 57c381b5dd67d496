"""Administrative changes: each is one transaction with the rows of the audit log that describe it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import msgspec
from sqlalchemy import ColumnElement, Table, select

from antiphon.domain.errors import NotFound
from antiphon.domain.organisation import AuditEntry
from antiphon.domain.records import Page
from antiphon.stores.query import DatabaseSession, insertion
from antiphon.stores.section import PageCursor, StoreSection, is_valid_id
from antiphon.stores.tables import audit_logs

T = TypeVar("T")
#: Changes rows, and adds the rows of the audit log that describe the change.
Change = Callable[[DatabaseSession], T]

_ADD = insertion(audit_logs)


class AuditedSection(StoreSection):
    """A section of the store that administrators change."""

    async def _change(self, change: Change[T]) -> T:
        """Make an administrative change. These are rare, so they simply run one after the other."""
        return cast("T", await self._database.write(_changes, change, key="organisation"))


def record(session: DatabaseSession, *entries: AuditEntry) -> None:
    """Add rows to the audit log, in the transaction of the change that they describe."""
    for entry in entries:
        session.run(_ADD, _row(entry))


def page(
    session: DatabaseSession,
    table: Table,
    columns: Sequence[ColumnElement[Any]],
    where: Sequence[ColumnElement[bool]],
    cut: PageCursor,
    make: Callable[..., T],
    *,
    cursor: ColumnElement[Any] | None = None,
) -> Page[T]:
    """A page of a table's rows in the order in which they were added, each made of its columns.

    `cursor`: the column that `cut.after` is a value of; the id unless given. Raises `NotFound`, param "after".
    """
    name = table.c.id if cursor is None else cursor
    statement = select(*columns).where(*where)
    with session.snapshot():
        if cut.after is not None:
            found = is_valid_id(cut.after) and session.select(select(table.c.seq).where(*where, name == cut.after))
            if not found:
                raise NotFound(f"No object with id '{cut.after[:100]}' found.", param="after")
            last = found[0][0]
            statement = statement.where(table.c.seq > last if cut.ascending else table.c.seq < last)
        order = table.c.seq.asc() if cut.ascending else table.c.seq.desc()
        rows = session.select(statement.order_by(order).limit(cut.limit + 1))
    return Page([make(*row) for row in rows[: cut.limit]], has_more=len(rows) > cut.limit)


def row_of(record: object, names: Sequence[str]) -> dict[str, object]:
    """A record's fields as parameters."""
    return {name: getattr(record, name) for name in names}


def _changes(session: DatabaseSession, batch: Sequence[Change[Any]]) -> list[Any]:
    return [change(session) for change in batch]


def _row(entry: AuditEntry) -> dict[str, object]:
    actor = entry.actor
    return {
        "id": entry.id,
        "at": entry.at,
        "type": entry.type,
        "actor": actor.kind,
        "key_id": actor.key_id,
        "user_id": actor.user_id,
        "email": actor.email,
        "address": actor.address,
        "project_id": entry.project_id,
        "resource_id": entry.resource_id,
        "details": msgspec.json.encode({"before": entry.before, "after": entry.after}),
    }
