"""The log of administrative changes in the database. Rows are added, never changed."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Select, bindparam, or_, select

from antiphon.domain.errors import NotFound
from antiphon.domain.organisation import Actor, AuditEntry, AuditFilter
from antiphon.domain.records import Page
from antiphon.stores.audited import AuditedSection, Change, record
from antiphon.stores.query import DatabaseSession, Row, Statement
from antiphon.stores.section import is_valid_id
from antiphon.stores.tables import audit_logs

__all__ = ["AuditSection", "Change", "record"]

_PLACE = Statement(select(audit_logs.c.seq).where(audit_logs.c.id == bindparam("id")))
_COLUMNS = tuple(column for column in audit_logs.columns if column.name != "seq")


class AuditSection(AuditedSection):
    """Implements `ports.AuditStore`."""

    async def add_audit(self, entry: AuditEntry) -> None:
        """Add an entry; see `ports`."""
        await self._change(lambda session: record(session, entry))

    async def list_audit(self, wanted: AuditFilter, *, limit: int) -> Page[AuditEntry]:
        """A page of the log; see `ports`."""
        for cursor, param in ((wanted.after, "after"), (wanted.before, "before")):
            if cursor is not None and not is_valid_id(cursor):
                raise _unknown(cursor, param)
        return await self._database.read(_list, wanted, limit)


def _entry(row: Row) -> AuditEntry:
    name, at, kind, actor, key_id, user_id, email, address, project_id, resource_id, details = row
    return AuditEntry(
        type=kind,
        actor=Actor(actor, key_id, user_id, email, address),
        resource_id=resource_id,
        project_id=project_id,
        at=at,
        id=name,
        **msgspec.json.decode(bytes(details)),
    )


def _list(session: DatabaseSession, wanted: AuditFilter, limit: int) -> Page[AuditEntry]:
    statement = _filtered(wanted)
    seq = audit_logs.c.seq
    backwards = wanted.before is not None
    with session.snapshot():
        if wanted.after is not None:
            statement = statement.where(seq < _place(session, wanted.after, "after"))
        if wanted.before is not None:
            statement = statement.where(seq > _place(session, wanted.before, "before"))
        rows = session.select(statement.order_by(seq.asc() if backwards else seq.desc()).limit(limit + 1))
    entries = [_entry(row) for row in rows[:limit]]
    return Page(entries[::-1] if backwards else entries, has_more=len(rows) > limit)


def _filtered(wanted: AuditFilter) -> Select[Any]:
    table = audit_logs.c
    statement = select(*_COLUMNS)
    if wanted.since is not None:
        statement = statement.where(table.at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(table.at <= wanted.until)
    for column, values in (
        (table.project_id, wanted.projects),
        (table.type, wanted.types),
        (table.email, wanted.emails),
        (table.resource_id, wanted.resources),
    ):
        if values:
            statement = statement.where(column.in_(_storable(values)))
    if wanted.actors:
        actors = _storable(wanted.actors)
        statement = statement.where(or_(table.user_id.in_(actors), table.key_id.in_(actors)))
    return statement


def _storable(values: tuple[str, ...]) -> list[str]:
    """Those of these that any row could hold."""
    return [value for value in values if is_valid_id(value)]


def _place(session: DatabaseSession, name: str, param: str) -> int:
    row = session.one(_PLACE, {"id": name})
    if row is None:
        raise _unknown(name, param)
    place: int = row[0]
    return place


def _unknown(name: str, param: str) -> NotFound:
    return NotFound(f"No audit log with id '{name[:100]}' found.", param=param)
