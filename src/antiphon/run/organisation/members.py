"""The members of projects."""

from __future__ import annotations

from dataclasses import replace

from antiphon.domain.errors import InvalidRequest, NotFound
from antiphon.domain.organisation import PROJECT_ROLES, Actor, AuditEntry, Member, User
from antiphon.domain.records import Page
from antiphon.policy.administration.values import checked_email, checked_role
from antiphon.ports import Clock, OrganisationStore
from antiphon.protocol.refusals import missing_parameter
from antiphon.run.organisation.projects import Projects
from antiphon.run.organisation.users import no_user


class Members:
    """Users' places in projects. An archived project has none to show (published specification: 400)."""

    def __init__(self, store: OrganisationStore, clock: Clock, projects: Projects) -> None:
        self._store = store
        self._clock = clock
        self._projects = projects

    async def add(self, actor: Actor, project_id: str, *, user_id: str | None, email: str | None, role: str) -> Member:
        """Give a user, named by id or email, a place. Raises `NotFound`, `InvalidRequest`, `Conflict`."""
        project = await self._projects.get_active(project_id)
        user = await self._user(user_id, email)
        place = checked_role(role, PROJECT_ROLES)
        member = Member(project.id, user, place, int(self._clock.now()))
        entry = AuditEntry("user.added", actor, user.id, project.id, after={"role": place})
        await self._store.add_member(member, [entry])
        return member

    async def _user(self, user_id: str | None, email: str | None) -> User:
        if user_id is not None and email is not None:
            raise InvalidRequest("Name the user by 'user_id' or by 'email', not by both.", param="email")
        if user_id is not None:
            user = await self._store.get_user(user_id)
        elif email is not None:
            user = await self._store.find_user(checked_email(email))
        else:
            raise missing_parameter("user_id")
        if user is None:
            param = "email" if user_id is None else "user_id"
            raise no_user(user_id or email or "", param)
        return user

    async def get(self, project_id: str, user_id: str) -> Member:
        """A member. Raises `NotFound`."""
        await self._projects.get(project_id)
        member = await self._store.get_member(project_id, user_id)
        if member is None:
            raise _no_member(project_id, user_id)
        return member

    async def page(self, project_id: str, *, after: str | None, limit: int) -> Page[Member]:
        """A page of members. Raises `NotFound`, also for an unknown `after`."""
        await self._projects.get_active(project_id)
        return await self._store.list_members(project_id, after=after, limit=limit)

    async def update(self, actor: Actor, project_id: str, user_id: str, role: str | None) -> Member:
        """Change a member's role. Raises `NotFound`, `InvalidRequest`."""
        await self._projects.get_active(project_id)
        member = await self.get(project_id, user_id)
        new = checked_role(role, PROJECT_ROLES)
        if new != member.role:
            told = AuditEntry("user.updated", actor, user_id, project_id, {"role": member.role}, {"role": new})
            if not await self._store.set_member_role(project_id, user_id, new, [told]):
                raise _no_member(project_id, user_id)
        return replace(member, role=new)

    async def delete(self, actor: Actor, project_id: str, user_id: str) -> None:
        """Take a user's place, and revoke their keys for the project. Raises `NotFound`, `InvalidRequest`."""
        await self._projects.get_active(project_id)
        member = await self.get(project_id, user_id)
        entry = AuditEntry("user.deleted", actor, user_id, project_id, before={"role": member.role})
        if not await self._store.delete_member(project_id, user_id, int(self._clock.now()), [entry]):
            raise _no_member(project_id, user_id)


def _no_member(project_id: str, user_id: str) -> NotFound:
    return NotFound(
        f"The project '{project_id}' has no user with id '{user_id[:100]}'.", code="user_not_found", param="user_id"
    )
