"""Admin keys in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, or_, select, update

from antiphon.domain.errors import Conflict
from antiphon.domain.organisation import Administrator, AuditEntry, User
from antiphon.domain.records import Page
from antiphon.domain.tenancy import AdminKey
from antiphon.stores.audited import AuditedSection, page, record, row_of
from antiphon.stores.query import DatabaseSession, Statement, insertion
from antiphon.stores.section import PageCursor, is_valid_id, require_valid_id
from antiphon.stores.tables import admin_api_keys, users
from antiphon.stores.users import HOLD_OWNERS, USER, roles_of

_KEY_FIELDS = tuple(AdminKey.__dataclass_fields__)
_KEY = tuple(admin_api_keys.c[name] for name in _KEY_FIELDS)

_ADD = insertion(admin_api_keys)
_GET = Statement(select(*_KEY).where(admin_api_keys.c.id == bindparam("key")))
_FIND = Statement(select(*_KEY).where(admin_api_keys.c.digest == bindparam("digest")))
_FIND_ADMINISTRATOR = Statement(
    select(*_KEY, *USER)
    .outerjoin(users, users.c.id == admin_api_keys.c.user_id)
    .where(admin_api_keys.c.digest == bindparam("digest"))
)
_USED = Statement(
    update(admin_api_keys).where(admin_api_keys.c.id == bindparam("key")).values(last_used_at=bindparam("at"))
)
_REVOKE = Statement(
    update(admin_api_keys)
    .where(admin_api_keys.c.id == bindparam("key"), admin_api_keys.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("at"))
)
_VALID = Statement(
    select(func.count())
    .select_from(admin_api_keys)
    .where(
        admin_api_keys.c.user_id == bindparam("user"),
        admin_api_keys.c.revoked_at.is_(None),
        or_(admin_api_keys.c.expires_at.is_(None), admin_api_keys.c.expires_at > bindparam("at")),
    )
)


class AdminKeySection(AuditedSection):
    """Implements the admin keys' part of `ports.OrganisationStore`."""

    async def create_admin_key(self, key: AdminKey, entries: Sequence[AuditEntry] = ()) -> None:
        """Add an admin key. Raises `Conflict` if it is there already."""
        require_valid_id(key.id, key.name)

        def change(session: DatabaseSession) -> None:
            session.run(_ADD, row_of(key, _KEY_FIELDS))
            record(session, *entries)

        await self._change(change)

    async def get_admin_key(self, key_id: str) -> AdminKey | None:
        """The admin key with this id, revoked or not."""
        return await self._database.read(_get, key_id) if is_valid_id(key_id) else None

    async def find_admin_key(self, digest: bytes) -> AdminKey | None:
        """The admin key with this keyed hash, revoked or not."""
        return await self._database.read(_find, digest)

    async def find_administrator(self, digest: bytes) -> Administrator | None:
        """The admin key with this keyed hash, revoked or not, its user and their roles."""
        return await self._database.read(_find_administrator, digest)

    async def list_admin_keys(
        self, *, after: str | None, limit: int, ascending: bool = True, revoked: bool = False
    ) -> Page[AdminKey]:
        """A page of admin keys; see `ports`."""
        where = [] if revoked else [admin_api_keys.c.revoked_at.is_(None)]
        return await self._database.read(
            page, admin_api_keys, _KEY, where, PageCursor(after, limit, ascending), AdminKey
        )

    async def admin_key_used(self, key_id: str, at: int) -> None:
        """Note when an admin key was used last (Unix seconds)."""
        await self._change(lambda session: session.run(_USED, {"key": key_id, "at": at}))

    async def revoke_admin_key(
        self, key_id: str, at: int, entries: Sequence[AuditEntry] = (), *, keeps: str | None = None
    ) -> bool:
        """Revoke an admin key; see `ports`."""

        def change(session: DatabaseSession) -> bool:
            session.run(HOLD_OWNERS, {})
            found = session.run(_REVOKE, {"key": key_id, "at": at}) > 0
            if found and keeps is not None and not _has_key(session, keeps, at):
                raise Conflict("This is your last admin key: make another one first.", code="last_admin_key")
            if found:
                record(session, *entries)
            return found

        return is_valid_id(key_id) and await self._change(change)


def _has_key(session: DatabaseSession, user_id: str, at: int) -> bool:
    row = session.one(_VALID, {"user": user_id, "at": at})
    return bool(row and row[0])


def _get(session: DatabaseSession, key_id: str) -> AdminKey | None:
    row = session.one(_GET, {"key": key_id})
    return AdminKey(*row) if row else None


def _find(session: DatabaseSession, digest: bytes) -> AdminKey | None:
    row = session.one(_FIND, {"digest": digest})
    return AdminKey(*row) if row else None


def _find_administrator(session: DatabaseSession, digest: bytes) -> Administrator | None:
    row = session.one(_FIND_ADMINISTRATOR, {"digest": digest})
    if row is None:
        return None
    key, user = AdminKey(*row[: len(_KEY)]), row[len(_KEY) :]
    if user[0] is None:
        return Administrator(key, None, {})
    return Administrator(key, User(*user), roles_of(session, user[0]))
