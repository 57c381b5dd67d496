"""The ledger in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Integer, Select, bindparam, delete, func, literal_column, or_, select

from antiphon.domain.ledger import Asked, Entry, Sum
from antiphon.stores.part import Part, possible
from antiphon.stores.query import Query, Session, insertion
from antiphon.stores.tables import ledger

_COLUMNS = tuple(ledger.c[name] for name in Entry.__struct_fields__)
#: An entry that is there already is the same one: a write whose end nobody learnt of was tried again.
_ADD = insertion(ledger, replace=["id"])
_FIND = Query(
    select(*_COLUMNS)
    .where(or_(ledger.c.object_id == bindparam("wanted"), ledger.c.request_id == bindparam("wanted")))
    .order_by(ledger.c.at, ledger.c.seq)
)
_OLD = (
    select(ledger.c.seq)
    .where(ledger.c.at < bindparam("before"))
    .order_by(ledger.c.at)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_SWEEP = Query(delete(ledger).where(ledger.c.seq.in_(_OLD.scalar_subquery())))
_SUMS = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "cost",
    "saved",
)
_MILLISECONDS = 1000
_DAY = 86_400


class Ledger(Part):
    """Implements `ports.LedgerStore`."""

    async def add_entries(self, entries: Sequence[Entry]) -> None:
        """Write entries, each once however often it is added."""
        await self._database.write(_add, entries, key=("ledger", entries[0].id if entries else ""))

    async def find_entries(self, name: str) -> list[Entry]:
        """The entries that made this object, or have this request id, oldest first."""
        return await self._database.read(_find, name) if possible(name) else []

    async def usage(self, asked: Asked) -> list[Sum]:
        """Sums of what was asked for, by bucket and then by group; nothing for buckets without entries."""
        if not possible(*asked.projects, *asked.users, *asked.keys, *asked.models):
            return []
        return await self._database.read(_usage, asked)

    async def sweep_entries(self, *, before: int, limit: int) -> int:
        """Delete up to `limit` entries of calls that began before `before` (Unix seconds). Returns how many."""
        return await self._database.write(_sweep, (before * _MILLISECONDS, limit), key="sweep ledger")


def _add(session: Session, batch: Sequence[Sequence[Entry]]) -> list[None]:
    session.many(_ADD, [msgspec.structs.asdict(entry) for entries in batch for entry in entries])
    return [None] * len(batch)


def _find(session: Session, name: str) -> list[Entry]:
    return [Entry(*row) for row in session.all(_FIND, {"wanted": name})]


def _sweep(session: Session, batch: Sequence[tuple[int, int]]) -> list[int]:
    return [session.run(_SWEEP, {"before": before, "limit": limit}) for before, limit in batch]


def spent_since(session: Session, scope: str, subject: str, since: int) -> int:
    """What a key, a project or the organisation has spent since then (Unix seconds), in nano-dollars, where known."""
    statement = select(func.coalesce(func.sum(ledger.c.cost), literal_column("0"))).where(
        ledger.c.at >= since * _MILLISECONDS
    )
    if scope != "organization":
        statement = statement.where((ledger.c.key_id if scope == "key" else ledger.c.project_id) == subject)
    return int(session.select(statement)[0][0])


# --- sums -------------------------------------------------------------------------------------------------------------
def _usage(session: Session, asked: Asked) -> list[Sum]:
    dimensions = [_dimension(name).label(f"group_{name}") for name in asked.group_by]
    bucket = (ledger.c.at // literal_column(str(asked.width * _MILLISECONDS))).label("bucket")
    sums = [func.coalesce(func.sum(ledger.c[name]), literal_column("0")) for name in _SUMS]
    unknown = func.count() - func.count(ledger.c.cost)
    failed = func.count(ledger.c.error)
    statement: Select[Any] = select(bucket, *dimensions, func.count(), *sums, unknown, failed)
    statement = statement.where(*_conditions(asked)).group_by(bucket, *dimensions).order_by(bucket, *dimensions)
    found = []
    for row in session.select(statement):
        position = 1 + len(dimensions)
        group = dict(zip(asked.group_by, row[1:position], strict=True))
        # PostgreSQL adds 64-bit numbers up to a decimal.
        numbers = [int(number) for number in row[position:]]
        found.append(Sum(int(row[0]) * asked.width, {str(name): value for name, value in group.items()}, *numbers))
    return found


def _dimension(name: str) -> ColumnElement[Any]:
    if name == "model":
        return func.coalesce(ledger.c.served, ledger.c.model)
    if name == "day":
        return ledger.c.at // literal_column(str(_DAY * _MILLISECONDS))
    column: ColumnElement[Any] = ledger.c[name]
    return column


def _conditions(asked: Asked) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        ledger.c.at >= asked.start * _MILLISECONDS,
        ledger.c.at < asked.end * _MILLISECONDS,
    ]
    for column, values in (
        (ledger.c.project_id, asked.projects),
        (ledger.c.user_id, asked.users),
        (ledger.c.key_id, asked.keys),
        (func.coalesce(ledger.c.served, ledger.c.model), asked.models),
    ):
        if values:
            conditions.append(column.in_(list(values)))
    if asked.served:
        conditions.append(ledger.c.attempts > literal_column("0"))
    if asked.batch is not None:
        conditions.append(ledger.c.batch == int(asked.batch))
    return conditions
