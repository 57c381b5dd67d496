"""Invites in the database."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, delete, select, update

from antiphon.domain.organisation import AuditEntry, Invite, Member, User
from antiphon.domain.records import Page
from antiphon.stores.audited import AuditedSection, page, record, row_of
from antiphon.stores.query import DatabaseSession, Statement, insertion
from antiphon.stores.section import PageCursor, is_valid_id, require_valid_id
from antiphon.stores.tables import invites
from antiphon.stores.users import insert_member, insert_user

_FIELDS = tuple(Invite.__dataclass_fields__)
_INVITE = tuple(invites.c[name] for name in _FIELDS)
_OPEN = (invites.c.id == bindparam("invite"), invites.c.accepted_at.is_(None))

_ADD = insertion(invites)
_GET = Statement(select(*_INVITE).where(invites.c.id == bindparam("invite")))
_FIND = Statement(select(*_INVITE).where(invites.c.email == bindparam("address")).order_by(invites.c.seq.desc()))
_ACCEPT = Statement(update(invites).where(*_OPEN).values(accepted_at=bindparam("at")))
_DELETE = Statement(delete(invites).where(*_OPEN))


class InviteSection(AuditedSection):
    """Implements the invites' part of `ports.OrganisationStore`."""

    async def add_invite(self, invite: Invite, entries: Sequence[AuditEntry] = ()) -> None:
        """Add an invite."""
        require_valid_id(invite.id, invite.email)

        def change(session: DatabaseSession) -> None:
            session.run(_ADD, {**row_of(invite, _FIELDS), "projects": msgspec.json.encode(invite.projects)})
            record(session, *entries)

        await self._change(change)

    async def get_invite(self, invite_id: str) -> Invite | None:
        """The invite with this id."""
        return await self._database.read(_get, invite_id) if is_valid_id(invite_id) else None

    async def find_invites(self, email: str) -> list[Invite]:
        """All invites of this email, which is in small letters; the newest first."""
        return await self._database.read(_find, email) if is_valid_id(email) else []

    async def list_invites(self, *, after: str | None, limit: int) -> Page[Invite]:
        """A page of invites; see `ports`."""
        cut = PageCursor(after, limit, ascending=True)
        return await self._database.read(page, invites, _INVITE, [], cut, _invite)

    async def accept_invite(
        self, invite_id: str, user: User, members: Sequence[Member], at: int, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Make an invite a user with their places in projects; see `ports`."""

        def change(session: DatabaseSession) -> bool:
            found = session.run(_ACCEPT, {"invite": invite_id, "at": at}) > 0
            if found:
                insert_user(session, user)
                for member in members:
                    insert_member(session, member)
                record(session, *entries)
            return found

        return await self._change(change)

    async def delete_invite(self, invite_id: str, entries: Sequence[AuditEntry] = ()) -> bool:
        """Delete an invite that nobody has accepted; False if there is none."""

        def change(session: DatabaseSession) -> bool:
            found = session.run(_DELETE, {"invite": invite_id}) > 0
            if found:
                record(session, *entries)
            return found

        return is_valid_id(invite_id) and await self._change(change)


def _get(session: DatabaseSession, invite_id: str) -> Invite | None:
    row = session.one(_GET, {"invite": invite_id})
    return _invite(*row) if row else None


def _find(session: DatabaseSession, email: str) -> list[Invite]:
    return [_invite(*row) for row in session.all(_FIND, {"address": email})]


def _invite(
    name: str, email: str, role: str, projects: bytes, created_at: int, expires_at: int, accepted_at: int | None
) -> Invite:
    pairs = tuple((project, place) for project, place in msgspec.json.decode(bytes(projects)))
    return Invite(name, email, role, pairs, created_at, expires_at, accepted_at)
