"""Answers that may be given again, in the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import BigInteger, Integer, bindparam, delete, func, literal_column, select, update

from antiphon.domain import limits
from antiphon.domain.caching import OFF, CachedAnswer, CacheState
from antiphon.stores.query import DatabaseSession, Row, Statement, insertion
from antiphon.stores.section import StoreSection, is_valid_id
from antiphon.stores.tables import cached_answers as answers
from antiphon.stores.tables import caches

# The columns stand in the order of the dataclass' fields.
_ANSWER = tuple(answers.c[name] for name in CachedAnswer.__dataclass_fields__)
_THIS = (answers.c.project_id == bindparam("project_id"), answers.c.key == bindparam("key"))
_NAME = (answers.c.project_id, answers.c.key, answers.c.size)

_GET = Statement(select(*_ANSWER).where(*_THIS, answers.c.expires_at > bindparam("now")))
_SIZE = Statement(select(answers.c.size).where(*_THIS))
_PUT = insertion(answers, replace=("project_id", "key"))
_DELETE = Statement(delete(answers).where(*_THIS))
_CLEAR = Statement(delete(answers).where(answers.c.project_id == bindparam("project_id")))
_OLDEST_OF_PROJECT = Statement(
    select(*_NAME)
    .where(answers.c.project_id == bindparam("project_id"))
    .order_by(answers.c.created_at)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_OLDEST = Statement(
    select(*_NAME).order_by(answers.c.created_at).limit(bindparam("limit", type_=Integer)).offset(literal_column("0"))
)
_EXPIRED = Statement(
    select(*_NAME)
    .where(answers.c.expires_at <= bindparam("now"))
    .order_by(answers.c.expires_at)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_THEIRS = caches.c.project_id == bindparam("wanted")
_CACHE = Statement(select(caches.c.ttl, caches.c.size).where(_THEIRS))
_NEW_CACHE = insertion(caches)
_RESIZE = Statement(update(caches).where(_THEIRS).values(size=caches.c.size + bindparam("change", type_=BigInteger)))
_EMPTY = Statement(update(caches).where(_THEIRS).values(size=literal_column("0")))
_SET_TTL = Statement(update(caches).where(_THEIRS).values(ttl=bindparam("new_ttl", type_=BigInteger)))
_TOTAL = Statement(select(func.coalesce(func.sum(caches.c.size), literal_column("0"))))
_STATES = Statement(
    select(
        caches.c.project_id,
        caches.c.ttl,
        select(func.count()).where(answers.c.project_id == caches.c.project_id).scalar_subquery(),
        caches.c.size,
    ).order_by(caches.c.project_id)
)
#: Entries that are looked at at once when room is made.
_STEP = 64


class _Sweep(NamedTuple):
    now: int
    limit: int


class CachedAnswerSection(StoreSection):
    """Implements `ports.CacheStore`."""

    async def get_cached(self, project_id: str, key: bytes, *, now: int) -> CachedAnswer | None:
        """The answer with this key, unless it has expired at `now` (Unix seconds)."""
        return await self._database.read(_get, project_id, key, now)

    async def put_cached(self, answer: CachedAnswer) -> None:
        """Keep an answer in place of the one with its key, and forget the oldest where there is no room."""
        await self._database.write(_put, answer, key=_order(answer.project_id))

    async def clear_cached(self, project_id: str) -> int:
        """Forget all answers of a project. Returns how many there were."""
        if not is_valid_id(project_id):
            return 0
        return await self._database.write(_clear, project_id, key=_order(project_id), erases=True)

    async def sweep_cached(self, *, now: int, limit: int) -> int:
        """Delete up to `limit` answers that have expired at `now` (Unix seconds). Returns how many were deleted."""
        return await self._database.write(_sweep, _Sweep(now, limit), key="sweep cache", erases=True)

    async def cache_ttl(self, project_id: str) -> int | None:
        """A project's own rule; see `CacheState`."""
        return await self._database.read(_ttl, project_id)

    async def set_cache_ttl(self, project_id: str, ttl: int | None) -> None:
        """Set a project's own rule; see `CacheState`."""
        await self._database.write(_set_ttl, (project_id, ttl), key=_order(project_id), erases=ttl == OFF)

    async def cache_states(self) -> list[CacheState]:
        """The caches of all projects that have one, or a rule for it."""
        return await self._database.read(_states)


def _order(project_id: str) -> tuple[str, str]:
    return ("cache", project_id)


def _get(session: DatabaseSession, project_id: str, key: bytes, now: int) -> CachedAnswer | None:
    row = session.one(_GET, {"project_id": project_id, "key": key, "now": now})
    return CachedAnswer(*row) if row else None


def _ttl(session: DatabaseSession, project_id: str) -> int | None:
    row = session.one(_CACHE, {"wanted": project_id})
    return row[0] if row else None


def _states(session: DatabaseSession) -> list[CacheState]:
    return [CacheState(*row) for row in session.all(_STATES, {})]


def _put(session: DatabaseSession, batch: Sequence[CachedAnswer]) -> list[None]:
    # In one order for all: two servers that write for the same projects must not wait for each other in a circle.
    for answer in sorted(batch, key=lambda each: each.project_id):
        _put_one(session, answer)
    over = int(session.all(_TOTAL, {})[0][0]) - limits.CACHE_TOTAL_BYTES
    if over > 0:
        _make_room(session, _OLDEST, None, over + int(limits.CACHE_TOTAL_BYTES * limits.CACHE_FREED))
    return [None] * len(batch)


def _put_one(session: DatabaseSession, answer: CachedAnswer) -> None:
    project_id, size = answer.project_id, len(answer.body)
    ttl, kept = _open_cache(session, project_id)
    if ttl == OFF:
        # Forbidden since it was asked for.
        return
    before = session.one(_SIZE, {"project_id": project_id, "key": answer.key})
    session.run(_PUT, {**{column.name: getattr(answer, column.name) for column in _ANSWER}, "size": size})
    change = size - (before[0] if before else 0)
    session.run(_RESIZE, {"wanted": project_id, "change": change})
    over = kept + change - limits.CACHE_PROJECT_BYTES
    if over > 0:
        wanted = over + int(limits.CACHE_PROJECT_BYTES * limits.CACHE_FREED)
        _make_room(session, _OLDEST_OF_PROJECT, project_id, wanted)


def _open_cache(session: DatabaseSession, project_id: str) -> tuple[int | None, int]:
    """The rule and the size of a project's cache, which is begun if it has none.

    The row is written to before anything else is read: another server that keeps the same answer waits here, and its
    sizes come out right.
    """
    if not session.run(_RESIZE, {"wanted": project_id, "change": 0}):
        session.run(_NEW_CACHE, {"project_id": project_id, "ttl": None, "size": 0})
        return None, 0
    ttl, size = session.all(_CACHE, {"wanted": project_id})[0]
    return ttl, size


def _make_room(session: DatabaseSession, oldest: Statement, project_id: str | None, wanted: int) -> None:
    """Delete the oldest until `wanted` bytes are free."""
    parameters = {"limit": _STEP} if project_id is None else {"limit": _STEP, "project_id": project_id}
    while wanted > 0:
        rows = session.all(oldest, parameters)
        if not rows:
            return
        doomed = []
        for row in rows:
            doomed.append(row)
            wanted -= row[2]
            if wanted <= 0:
                break
        _forget(session, doomed)


def _forget(session: DatabaseSession, rows: Iterable[Row]) -> None:
    freed: dict[str, int] = {}
    for project_id, key, size in rows:
        # Another server may have been first.
        if session.run(_DELETE, {"project_id": project_id, "key": key}):
            freed[project_id] = freed.get(project_id, 0) + size
    for project_id in sorted(freed):
        session.run(_RESIZE, {"wanted": project_id, "change": -freed[project_id]})


def _clear(session: DatabaseSession, batch: Sequence[str]) -> list[int]:
    counts = []
    for project_id in batch:
        counts.append(session.run(_CLEAR, {"project_id": project_id}))
        session.run(_EMPTY, {"wanted": project_id})
    return counts


def _sweep(session: DatabaseSession, batch: Sequence[_Sweep]) -> list[int]:
    counts = []
    for sweep in batch:
        expired = session.all(_EXPIRED, {"now": sweep.now, "limit": sweep.limit})
        _forget(session, expired)
        counts.append(len(expired))
    return counts


def _set_ttl(session: DatabaseSession, batch: Sequence[tuple[str, int | None]]) -> list[None]:
    for project_id, ttl in batch:
        _open_cache(session, project_id)
        session.run(_SET_TTL, {"wanted": project_id, "new_ttl": ttl})
        if ttl == OFF:
            _clear(session, [project_id])
    return [None] * len(batch)
