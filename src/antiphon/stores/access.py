"""How keys change in the database: replaced, and used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import and_, bindparam, case, or_, update

from antiphon.domain.errors import Conflict
from antiphon.domain.organisation import AuditEntry
from antiphon.domain.tenancy import Key
from antiphon.stores.audited import record
from antiphon.stores.limits import Limits
from antiphon.stores.query import DatabaseSession, Statement
from antiphon.stores.section import is_valid_id, require_valid_id
from antiphon.stores.tables import api_keys
from antiphon.stores.tenants import add_keys

_REPLACE = Statement(
    update(api_keys)
    .where(
        api_keys.c.id == bindparam("key_id"),
        api_keys.c.revoked_at.is_(None),
        api_keys.c.replaced_by.is_(None),
    )
    .values(
        replaced_by=bindparam("successor"),
        expires_at=case(
            (
                and_(api_keys.c.expires_at.isnot(None), api_keys.c.expires_at < bindparam("until")),
                api_keys.c.expires_at,
            ),
            else_=bindparam("until"),
        ),
    )
)
_NOTE_USE = Statement(
    update(api_keys)
    .where(
        api_keys.c.id == bindparam("key_id"),
        or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < bindparam("at")),
    )
    .values(last_used_at=bindparam("at"))
)


class AccessSection(Limits):
    """Implements `ports.AccessStore`."""

    async def rotate_key(self, key_id: str, successor: Key, until: int, entry: AuditEntry | None = None) -> bool:
        """Add a key in the place of another one; see `ports`."""
        require_valid_id(successor.id, successor.name)
        if not is_valid_id(key_id):
            return False
        try:
            return await self._change(lambda session: _rotate(session, key_id, successor, until, entry))
        except Conflict:
            raise Conflict("A key with this id or this secret exists already.") from None

    async def note_uses(self, uses: Mapping[str, int]) -> None:
        """When keys were last used; see `ports`."""
        if uses:
            await self._database.write(_note_uses, uses, key="last used")


def _rotate(session: DatabaseSession, key_id: str, successor: Key, until: int, entry: AuditEntry | None) -> bool:
    if not session.run(_REPLACE, {"key_id": key_id, "successor": successor.id, "until": until}):
        return False
    add_keys(session, [successor])
    if entry is not None:
        record(session, entry)
    return True


def _note_uses(session: DatabaseSession, batch: Sequence[Mapping[str, int]]) -> list[None]:
    # In one order everywhere: two servers that lock the same rows wait for each other, and never in a circle.
    session.many(_NOTE_USE, [{"key_id": key_id, "at": at} for uses in batch for key_id, at in sorted(uses.items())])
    return [None] * len(batch)
