"""The organisation's users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from antiphon.domain.errors import NotFound
from antiphon.domain.ids import new_id
from antiphon.domain.organisation import ORG_ROLES, Actor, AuditEntry, User, changed
from antiphon.domain.records import Page
from antiphon.policy.administration.values import checked_email, checked_name, checked_role
from antiphon.ports import Clock, OrganisationStore


class Users:
    """The users."""

    def __init__(self, store: OrganisationStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def add(self, actor: Actor, email: str, name: str, role: str) -> User:
        """Make somebody a user. Raises `InvalidRequest`, `Conflict`."""
        user = User(
            id=new_id("user_"),
            name=checked_name(name),
            email=checked_email(email),
            role=checked_role(role, ORG_ROLES),
            created_at=int(self._clock.now()),
        )
        told = {"email": user.email, "name": user.name, "role": user.role}
        await self._store.add_user(user, [AuditEntry("user.added", actor, user.id, after=told)])
        return user

    async def get(self, user_id: str) -> User:
        """A user. Raises `NotFound`."""
        user = await self._store.get_user(user_id)
        if user is None:
            raise no_user(user_id)
        return user

    async def first_id(self) -> str | None:
        """The id of the organisation's default user: who has been here longest."""
        user = await self._store.first_user()
        return None if user is None else user.id

    async def page(self, emails: Sequence[str], *, after: str | None, limit: int) -> Page[User]:
        """A page of users; all, or those with these emails. Raises `NotFound` for an unknown `after`."""
        return await self._store.list_users([email.lower() for email in emails], after=after, limit=limit)

    async def update(
        self,
        actor: Actor,
        user_id: str,
        *,
        role: str | None = None,
        technical_level: str | None = None,
        developer_persona: str | None = None,
    ) -> User:
        """Change what is given. Raises `NotFound`, `InvalidRequest`, and `Conflict` for the last owner."""
        user = await self.get(user_id)
        new = replace(
            user,
            role=user.role if role is None else checked_role(role, ORG_ROLES),
            technical_level=_told(technical_level, "technical_level", user.technical_level),
            developer_persona=_told(developer_persona, "developer_persona", user.developer_persona),
        )
        before, after = changed(_fields(user), _fields(new))
        if after and not await self._store.update_user(
            new, [AuditEntry("user.updated", actor, user.id, None, before, after)]
        ):
            raise no_user(user_id)
        return new

    async def delete(self, actor: Actor, user_id: str) -> None:
        """Take a user out of the organisation, and revoke all their keys. Raises `NotFound`, `Conflict`."""
        user = await self.get(user_id)
        told = {"email": user.email, "name": user.name, "role": user.role}
        entry = AuditEntry("user.deleted", actor, user.id, before=told)
        if not await self._store.delete_user(user_id, int(self._clock.now()), [entry]):
            raise no_user(user_id)


def no_user(user_id: str, param: str = "user_id") -> NotFound:
    """There is no such user."""
    return NotFound(f"No user with id '{user_id[:100]}' found.", code="user_not_found", param=param)


def _fields(user: User) -> dict[str, str | None]:
    return {
        "role": user.role,
        "technical_level": user.technical_level,
        "developer_persona": user.developer_persona,
    }


def _told(value: str | None, param: str, now: str | None) -> str | None:
    return now if value is None else checked_name(value, param)
