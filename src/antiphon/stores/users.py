"""Users, and their places in projects, in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, bindparam, delete, func, literal_column, select, update

from antiphon.domain.errors import Conflict
from antiphon.domain.organisation import AuditEntry, Member, User
from antiphon.domain.records import Page
from antiphon.stores.audited import AuditedSection, page, record, row_of
from antiphon.stores.query import DatabaseSession, Statement, insertion
from antiphon.stores.section import PageCursor, is_valid_id, require_valid_id
from antiphon.stores.tables import admin_api_keys, api_keys, project_users, users

_USER_FIELDS = tuple(User.__dataclass_fields__)
USER = tuple(users.c[name] for name in _USER_FIELDS)
_MEMBER = (project_users.c.project_id, *USER, project_users.c.role, project_users.c.added_at)
_PLACED = (project_users.c.project_id == bindparam("project"), project_users.c.user_id == bindparam("user"))

_ADD = insertion(users)
_GET = Statement(select(*USER).where(users.c.id == bindparam("user")))
_FIND = Statement(select(*USER).where(users.c.email == bindparam("address")))
_FIRST = Statement(select(*USER).where(users.c.seq == select(func.min(users.c.seq)).scalar_subquery()))
# PostgreSQL: whoever may take an owner away holds all owners until that is done, so that two cannot take one each.
HOLD_OWNERS = Statement(update(users).where(users.c.role == literal_column("'owner'")).values(name=users.c.name))
_OWNERS = Statement(select(func.count()).select_from(users).where(users.c.role == literal_column("'owner'")))
_UPDATE = Statement(
    update(users)
    .where(users.c.id == bindparam("user"))
    .values(
        role=bindparam("new_role"),
        technical_level=bindparam("new_level"),
        developer_persona=bindparam("new_persona"),
    )
)
# Places in projects go by ON DELETE CASCADE.
_DELETE = Statement(delete(users).where(users.c.id == bindparam("user")))
_REVOKE_ADMIN_KEYS = Statement(
    update(admin_api_keys)
    .where(admin_api_keys.c.user_id == bindparam("user"), admin_api_keys.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("at"))
)
_REVOKE_KEYS = Statement(
    update(api_keys)
    .where(api_keys.c.user_id == bindparam("user"), api_keys.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("at"))
)
_REVOKE_PROJECTS_KEYS = Statement(
    update(api_keys)
    .where(
        api_keys.c.project_id == bindparam("project"),
        api_keys.c.user_id == bindparam("user"),
        api_keys.c.revoked_at.is_(None),
    )
    .values(revoked_at=bindparam("at"))
)

_ADD_MEMBER = insertion(project_users)
_GET_MEMBER = Statement(select(*_MEMBER).join(users, users.c.id == project_users.c.user_id).where(*_PLACED))
_ROLES = Statement(
    select(project_users.c.project_id, project_users.c.role).where(project_users.c.user_id == bindparam("user"))
)
_SET_ROLE = Statement(update(project_users).where(*_PLACED).values(role=bindparam("new_role")))
_DELETE_MEMBER = Statement(delete(project_users).where(*_PLACED))


class UserSection(AuditedSection):
    """Implements the users' and members' part of `ports.OrganisationStore`."""

    async def add_user(self, user: User, entries: Sequence[AuditEntry] = ()) -> None:
        """Add a user; see `ports`."""
        require_valid_id(user.id, user.email)

        def change(session: DatabaseSession) -> None:
            insert_user(session, user)
            record(session, *entries)

        try:
            await self._change(change)
        except Conflict:
            raise Conflict(f"There is a user with the email '{user.email}' already.") from None

    async def get_user(self, user_id: str) -> User | None:
        """The user with this id."""
        return await self._database.read(_get, user_id) if is_valid_id(user_id) else None

    async def find_user(self, email: str) -> User | None:
        """The user with this email, which is in small letters."""
        return await self._database.read(_find, email) if is_valid_id(email) else None

    async def first_user(self) -> User | None:
        """The user who has been here longest; None if there is nobody."""
        return await self._database.read(_first)

    async def list_users(
        self, emails: Sequence[str] = (), *, after: str | None, limit: int, ascending: bool = True
    ) -> Page[User]:
        """A page of users; see `ports`."""
        wanted = [email for email in emails if is_valid_id(email)]
        where = [users.c.email.in_(wanted)] if emails else []
        return await self._database.read(page, users, USER, where, PageCursor(after, limit, ascending), User)

    async def update_user(self, user: User, entries: Sequence[AuditEntry] = ()) -> bool:
        """Change a user; see `ports`."""

        def change(session: DatabaseSession) -> bool:
            session.run(HOLD_OWNERS, {})
            values = {
                "user": user.id,
                "new_role": user.role,
                "new_level": user.technical_level,
                "new_persona": user.developer_persona,
            }
            found = session.run(_UPDATE, values) > 0
            if found:
                _require_owner(session)
                record(session, *entries)
            return found

        return await self._change(change)

    async def delete_user(self, user_id: str, at: int, entries: Sequence[AuditEntry] = ()) -> bool:
        """Delete a user with their places and keys; see `ports`."""

        def change(session: DatabaseSession) -> bool:
            session.run(HOLD_OWNERS, {})
            found = session.run(_DELETE, {"user": user_id}) > 0
            if found:
                _require_owner(session)
                session.run(_REVOKE_ADMIN_KEYS, {"user": user_id, "at": at})
                session.run(_REVOKE_KEYS, {"user": user_id, "at": at})
                record(session, *entries)
            return found

        return is_valid_id(user_id) and await self._change(change)

    # --- members ------------------------------------------------------------------------------------------------------
    async def add_member(self, member: Member, entries: Sequence[AuditEntry] = ()) -> None:
        """Give a user a place in a project; see `ports`."""

        def change(session: DatabaseSession) -> None:
            insert_member(session, member)
            record(session, *entries)

        try:
            await self._change(change)
        except Conflict:
            raise Conflict(f"The user '{member.user.id}' is a member of this project already.") from None

    async def get_member(self, project_id: str, user_id: str) -> Member | None:
        """A user's place in a project."""
        if not is_valid_id(project_id, user_id):
            return None
        return await self._database.read(_get_member, project_id, user_id)

    async def list_members(self, project_id: str, *, after: str | None, limit: int) -> Page[Member]:
        """A page of a project's members; see `ports`."""
        where = [project_users.c.project_id == project_id, project_users.c.user_id == users.c.id]
        cut = PageCursor(after, limit, ascending=True)
        return await self._database.read(_list_members, where, cut)

    async def member_roles(self, user_id: str) -> dict[str, str]:
        """The user's role in each project that they are a member of."""
        return await self._database.read(roles_of, user_id) if is_valid_id(user_id) else {}

    async def set_member_role(
        self, project_id: str, user_id: str, role: str, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Change a member's role; False if there is no such member."""

        def change(session: DatabaseSession) -> bool:
            found = session.run(_SET_ROLE, {"project": project_id, "user": user_id, "new_role": role}) > 0
            if found:
                record(session, *entries)
            return found

        return await self._change(change)

    async def delete_member(self, project_id: str, user_id: str, at: int, entries: Sequence[AuditEntry] = ()) -> bool:
        """Take a user's place in a project; see `ports`."""

        def change(session: DatabaseSession) -> bool:
            found = session.run(_DELETE_MEMBER, {"project": project_id, "user": user_id}) > 0
            if found:
                session.run(_REVOKE_PROJECTS_KEYS, {"project": project_id, "user": user_id, "at": at})
                record(session, *entries)
            return found

        return await self._change(change)


def insert_user(session: DatabaseSession, user: User) -> None:
    """Add a user, as part of a change."""
    session.run(_ADD, row_of(user, _USER_FIELDS))


def insert_member(session: DatabaseSession, member: Member) -> None:
    """Add a member, as part of a change."""
    row = {"project_id": member.project_id, "user_id": member.user.id, "role": member.role}
    session.run(_ADD_MEMBER, {**row, "added_at": member.added_at})


def roles_of(session: DatabaseSession, user_id: str) -> dict[str, str]:
    """See `member_roles`."""
    return dict(session.all(_ROLES, {"user": user_id}))


def _require_owner(session: DatabaseSession) -> None:
    row = session.one(_OWNERS, {})
    if not row or not row[0]:
        raise Conflict("The organisation must keep an owner: make somebody else one first.", code="last_owner")


def _get(session: DatabaseSession, user_id: str) -> User | None:
    row = session.one(_GET, {"user": user_id})
    return User(*row) if row else None


def _find(session: DatabaseSession, email: str) -> User | None:
    row = session.one(_FIND, {"address": email})
    return User(*row) if row else None


def _first(session: DatabaseSession) -> User | None:
    row = session.one(_FIRST, {})
    return User(*row) if row else None


def _get_member(session: DatabaseSession, project_id: str, user_id: str) -> Member | None:
    row = session.one(_GET_MEMBER, {"project": project_id, "user": user_id})
    return _member(*row) if row else None


def _list_members(session: DatabaseSession, where: Sequence[ColumnElement[bool]], cut: PageCursor) -> Page[Member]:
    return page(session, project_users, _MEMBER, where, cut, _member, cursor=project_users.c.user_id)


def _member(project_id: str, *rest: object) -> Member:
    *user, role, added_at = rest
    return Member(project_id, User(*user), str(role), int(added_at))  # type: ignore[arg-type,call-overload]
