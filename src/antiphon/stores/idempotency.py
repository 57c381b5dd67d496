"""Idempotency keys in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Integer, and_, bindparam, delete, literal_column, null, select, update
from sqlalchemy.sql import ClauseElement

from antiphon.domain import limits
from antiphon.domain.durations import milliseconds
from antiphon.domain.records import KeyClaim, KeyState
from antiphon.stores.query import DatabaseSession, Statement
from antiphon.stores.section import StoreSection, is_valid_id
from antiphon.stores.tables import idempotency_keys as keys

_THIS = (keys.c.project_id == bindparam("project_id"), keys.c.key == bindparam("key"))
_MINE = (*_THIS, keys.c.owner == bindparam("expected"), keys.c.status.is_(None))


def _claiming(dialect: str) -> ClauseElement:
    """Insert a key, or take over one that is free; no row changes otherwise."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        insert: Any = pg_insert
    else:
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        insert = sqlite_insert
    names = ("project_id", "key", "fingerprint", "created_at", "owner", "locked_until")
    statement = insert(keys).values({name: bindparam(name) for name in names})
    left_behind = and_(
        keys.c.status.is_(None),
        # So far ahead, it was written by a clock that was wrong.
        (keys.c.locked_until < bindparam("now")) | (keys.c.locked_until > bindparam("furthest")),
        keys.c.fingerprint == statement.excluded.fingerprint,
    )
    changed = {name: statement.excluded[name] for name in names[2:]}
    cleared = {name: null() for name in ("status", "content_type", "body", "object_id")}
    result: ClauseElement = statement.on_conflict_do_update(
        index_elements=["project_id", "key"],
        set_={**changed, **cleared},
        where=left_behind | (keys.c.created_at < bindparam("expired")),
    )
    return result


_CLAIM = Statement(_claiming)
_GET = Statement(select(keys.c.fingerprint, keys.c.status, keys.c.content_type, keys.c.body).where(*_THIS))
_RENEW = Statement(update(keys).where(*_MINE).values(locked_until=bindparam("until")))
_SETTLE = Statement(
    update(keys)
    .where(*_MINE)
    .values(
        status=bindparam("new_status"),
        content_type=bindparam("new_type"),
        body=bindparam("new_body"),
        object_id=bindparam("shown"),
    )
)
_RELEASE = Statement(delete(keys).where(*_MINE))
_FORGET = Statement(
    update(keys)
    .where(keys.c.project_id == bindparam("wanted"), keys.c.object_id == bindparam("shown"))
    .values(body=null(), object_id=null())
)
_OLD = Statement(
    select(keys.c.project_id, keys.c.key)
    .where(keys.c.created_at < bindparam("before"))
    .order_by(keys.c.created_at)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_DELETE = Statement(delete(keys).where(*_THIS, keys.c.created_at < bindparam("before")))


class _Claim(NamedTuple):
    claim: KeyClaim
    now: float
    until: int


class _Settled(NamedTuple):
    claim: KeyClaim
    status: int
    content_type: str
    body: bytes | None
    object_id: str | None


class IdempotencyKeySection(StoreSection):
    """Implements `ports.KeyStore`."""

    async def claim_key(self, claim: KeyClaim, *, now: float, until: int) -> KeyState | None:
        """Take a key for a request; see `ports`. None: it is the caller's."""
        return await self._database.write(_claim, _Claim(claim, now, until), key=_order(claim))

    async def renew_key(self, claim: KeyClaim, until: int) -> None:
        """Hold it until `until` (Unix milliseconds)."""
        await self._database.write(_renew, (claim, until), key=_order(claim))

    async def settle_key(
        self, claim: KeyClaim, status: int, content_type: str, body: bytes | None, object_id: str | None
    ) -> None:
        """Keep the answer, if the key is still the caller's."""
        # An id that cannot be stored names nothing that is stored.
        shown = object_id if object_id is not None and is_valid_id(object_id) else None
        await self._database.write(_settle, _Settled(claim, status, content_type, body, shown), key=_order(claim))

    async def release_key(self, claim: KeyClaim) -> None:
        """Forget the key, if it is still the caller's and has no answer."""
        await self._database.write(_release, claim, key=_order(claim))

    async def forget_answers(self, project_id: str, object_id: str) -> None:
        """Delete the answers that show this object; their keys stay taken."""
        if is_valid_id(project_id, object_id):
            name = (project_id, object_id)
            await self._database.write(_forget, name, key=("answers", *name), erases=True)

    async def sweep_keys(self, *, before: int, limit: int) -> int:
        """Delete up to `limit` keys first used before `before` (Unix seconds)."""
        return await self._database.write(_sweep, (before, limit), key="sweep keys", erases=True)


def _order(claim: KeyClaim) -> tuple[str, str, bytes]:
    return ("idempotency", claim.project_id, claim.key)


def _name(claim: KeyClaim) -> dict[str, object]:
    return {"project_id": claim.project_id, "key": claim.key}


def _mine(claim: KeyClaim) -> dict[str, object]:
    return {**_name(claim), "expected": claim.owner}


def _claim(session: DatabaseSession, batch: Sequence[_Claim]) -> list[KeyState | None]:
    return [_claim_one(session, *entry) for entry in batch]


def _claim_one(session: DatabaseSession, claim: KeyClaim, now: float, until: int) -> KeyState | None:
    taken = session.run(
        _CLAIM,
        {
            **_name(claim),
            "fingerprint": claim.fingerprint,
            "created_at": int(now),
            "owner": claim.owner,
            "locked_until": until,
            "now": milliseconds(now),
            "furthest": milliseconds(now + 2 * limits.KEY_LOCK),
            "expired": int(now) - limits.IDEMPOTENCY_TTL,
        },
    )
    if taken:
        return None
    row = session.one(_GET, _name(claim))
    # Whoever had it may have given it back between the two statements; the caller will ask again.
    return KeyState(*row) if row is not None else KeyState(claim.fingerprint, None, None, None)


def _renew(session: DatabaseSession, batch: Sequence[tuple[KeyClaim, int]]) -> list[None]:
    for claim, until in batch:
        session.run(_RENEW, {**_mine(claim), "until": until})
    return [None] * len(batch)


def _settle(session: DatabaseSession, batch: Sequence[_Settled]) -> list[None]:
    for claim, status, content_type, body, object_id in batch:
        values = {"new_status": status, "new_type": content_type, "new_body": body, "shown": object_id}
        session.run(_SETTLE, {**_mine(claim), **values})
    return [None] * len(batch)


def _release(session: DatabaseSession, batch: Sequence[KeyClaim]) -> list[None]:
    for claim in batch:
        session.run(_RELEASE, _mine(claim))
    return [None] * len(batch)


def _forget(session: DatabaseSession, batch: Sequence[tuple[str, str]]) -> list[None]:
    for project_id, object_id in batch:
        session.run(_FORGET, {"wanted": project_id, "shown": object_id})
    return [None] * len(batch)


def _sweep(session: DatabaseSession, batch: Sequence[tuple[int, int]]) -> list[int]:
    return [_sweep_one(session, before, limit) for before, limit in batch]


def _sweep_one(session: DatabaseSession, before: int, limit: int) -> int:
    old = session.all(_OLD, {"before": before, "limit": limit})
    session.many(_DELETE, [{"project_id": row[0], "key": row[1], "before": before} for row in old])
    return len(old)
