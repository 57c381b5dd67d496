"""The ledger in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Integer, Select, bindparam, delete, func, literal_column, or_, select

from antiphon.domain import amounts
from antiphon.domain.ledger import Asked, Entry, Sum
from antiphon.stores.query import DatabaseSession, Statement, insertion
from antiphon.stores.section import StoreSection, is_valid_id
from antiphon.stores.tables import ledger

_COLUMNS = tuple(ledger.c[name] for name in Entry.__struct_fields__)
#: An entry that is there already is the same one: a write whose end nobody learnt of was tried again.
_ADD = insertion(ledger, replace=["id"])
_FIND = Statement(
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
_SWEEP = Statement(delete(ledger).where(ledger.c.seq.in_(_OLD.scalar_subquery())))
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
_LAST = Statement(select(func.coalesce(func.max(ledger.c.seq), literal_column("0"))))
_MILLISECONDS = 1000
#: Where sums are halved.
_HALF = 2**32
_DAY = 86_400


class LedgerSection(StoreSection):
    """Implements `ports.LedgerStore`."""

    async def add_entries(self, entries: Sequence[Entry]) -> None:
        """Write entries, each once however often it is added."""
        await self._database.write(_add, entries, key=("ledger", entries[0].id if entries else ""))

    async def find_entries(self, name: str) -> list[Entry]:
        """The entries that made this object, or have this request id, oldest first."""
        return await self._database.read(_find, name) if is_valid_id(name) else []

    async def usage(self, asked: Asked) -> list[Sum]:
        """Sums of what was asked for, by bucket and then by group; nothing for buckets without entries."""
        if not is_valid_id(*asked.projects, *asked.users, *asked.keys, *asked.models):
            return []
        return await self._database.read(_usage, asked)

    async def sweep_entries(self, *, before: int, limit: int) -> int:
        """Delete up to `limit` entries of calls that began before `before` (Unix seconds). Returns how many."""
        return await self._database.write(_sweep, (before * _MILLISECONDS, limit), key="sweep ledger")


def _add(session: DatabaseSession, batch: Sequence[Sequence[Entry]]) -> list[None]:
    session.many(_ADD, [msgspec.structs.asdict(entry) for entries in batch for entry in entries])
    return [None] * len(batch)


def _find(session: DatabaseSession, name: str) -> list[Entry]:
    return [Entry(*row) for row in session.all(_FIND, {"wanted": name})]


def _sweep(session: DatabaseSession, batch: Sequence[tuple[int, int]]) -> list[int]:
    return [session.run(_SWEEP, {"before": before, "limit": limit}) for before, limit in batch]


def spent_since(session: DatabaseSession, scope: str, subject: str, since: int, *, after: int = 0) -> tuple[int, int]:
    """What a key, a project or the organisation has spent since then (Unix seconds), in nano-dollars, where known.

    Counted are entries with a `seq` after `after`. Returned with it: the last `seq` there is.
    """
    statement = select(*_sum(ledger.c.cost)).where(ledger.c.at >= since * _MILLISECONDS, ledger.c.seq > after)
    if scope != "organization":
        statement = statement.where((ledger.c.key_id if scope == "key" else ledger.c.project_id) == subject)
    spent = _joined(*session.select(statement)[0])
    return spent, max(after, int(session.all(_LAST, {})[0][0]))


# --- sums -------------------------------------------------------------------------------------------------------------
def _sum(column: ColumnElement[Any]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """The sum of a column in two halves: SQLite breaks off where a sum leaves 64 bits."""
    zero: ColumnElement[Any] = literal_column("0")
    half: ColumnElement[Any] = literal_column(str(_HALF))
    return func.coalesce(func.sum(column // half), zero), func.coalesce(func.sum(column % half), zero)


def _joined(high: Any, low: Any) -> int:
    """A sum of two halves; at the most what 64 bits hold. PostgreSQL adds 64-bit numbers up to a decimal."""
    return amounts.total(int(high) * _HALF + int(low))


def _usage(session: DatabaseSession, asked: Asked) -> list[Sum]:
    dimensions = [_dimension(name).label(f"group_{name}") for name in asked.group_by]
    bucket = (ledger.c.at // literal_column(str(asked.width * _MILLISECONDS))).label("bucket")
    sums = [half for name in _SUMS for half in _sum(ledger.c[name])]
    unknown = func.count() - func.count(ledger.c.cost)
    failed = func.count(ledger.c.error)
    statement: Select[Any] = select(bucket, *dimensions, func.count(), *sums, unknown, failed)
    statement = statement.where(*_conditions(asked)).group_by(bucket, *dimensions).order_by(bucket, *dimensions)
    found = []
    for row in session.select(statement):
        position = 1 + len(dimensions)
        group = dict(zip(asked.group_by, row[1:position], strict=True))
        calls, *halves = row[position:-2]
        numbers = [_joined(*pair) for pair in zip(halves[::2], halves[1::2], strict=True)]
        named = {str(name): value for name, value in group.items()}
        found.append(Sum(int(row[0]) * asked.width, named, *map(int, (calls, *numbers, *row[-2:]))))
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
