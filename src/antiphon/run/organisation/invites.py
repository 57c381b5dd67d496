"""Invites. No mail is sent: whoever runs the server passes them on, and accepts them on its command line."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.domain import limits
from antiphon.domain.errors import Conflict, InvalidRequest, NotFound
from antiphon.domain.ids import new_id
from antiphon.domain.organisation import ORG_ROLES, PROJECT_ROLES, Actor, AuditEntry, Invite, Member, User
from antiphon.domain.records import Page
from antiphon.policy.administration.values import checked_email, checked_name, checked_role
from antiphon.policy.keys.first_run import DEFAULT_PROJECT
from antiphon.ports import Clock, Store


class Invites:
    """The invites."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, actor: Actor, email: str, role: str, projects: Sequence[tuple[str, str]] | None) -> Invite:
        """Invite somebody to the organisation, and to `projects` (None: the default one, as a member).

        Raises `InvalidRequest`, and `Conflict` for a user, or for who has an invite that is still open.
        """
        address = checked_email(email)
        places = await self._places(projects)
        now = self._clock.now()
        if await self._store.find_user(address) is not None:
            raise Conflict(f"There is a user with the email '{address}' already.", param="email")
        if any(invite.status(now) == "pending" for invite in await self._store.find_invites(address)):
            raise Conflict(f"There is an open invite for '{address}' already.", param="email")
        invite = Invite(
            id=new_id("invite-"),
            email=address,
            role=checked_role(role, ORG_ROLES),
            projects=places,
            created_at=int(now),
            expires_at=int(now) + limits.INVITE_TTL,
        )
        told = {"email": address, "role": invite.role, "projects": [list(place) for place in places]}
        await self._store.add_invite(invite, [AuditEntry("invite.sent", actor, invite.id, after=told)])
        return invite

    async def _places(self, projects: Sequence[tuple[str, str]] | None) -> tuple[tuple[str, str], ...]:
        if projects is None:
            default = await self._store.get_project(DEFAULT_PROJECT)
            return () if default is None else ((default.id, "member"),)
        if len(projects) > limits.MAX_INVITE_PROJECTS:
            raise InvalidRequest(
                f"Invalid 'projects': at most {limits.MAX_INVITE_PROJECTS}.",
                code="array_above_max_length",
                param="projects",
            )
        places: dict[str, str] = {}
        for number, (project_id, role) in enumerate(projects):
            project = await self._store.get_project(project_id)
            if project is None or project.id != project_id or project.archived_at is not None or project_id in places:
                raise InvalidRequest(
                    f"Invalid 'projects[{number}].id': expected the id of a project that is not archived, once.",
                    code="invalid_value",
                    param=f"projects[{number}].id",
                )
            places[project_id] = checked_role(role, PROJECT_ROLES, f"projects[{number}].role")
        return tuple(places.items())

    async def get(self, invite_id: str) -> Invite:
        """An invite. Raises `NotFound`."""
        invite = await self._store.get_invite(invite_id)
        if invite is None:
            raise _no_invite(invite_id)
        return invite

    async def page(self, *, after: str | None, limit: int) -> Page[Invite]:
        """A page of invites. Raises `NotFound` for an unknown `after`."""
        return await self._store.list_invites(after=after, limit=limit)

    async def accept(self, actor: Actor, invite_id: str, name: str) -> User:
        """Make whoever was invited a user, with their places in projects that are there still.

        Raises `NotFound`, `InvalidRequest` for an invite that is not open, `Conflict`.
        """
        invite = await self.get(invite_id)
        now = self._clock.now()
        if (status := invite.status(now)) != "pending":
            raise InvalidRequest(f"This invite is {status}.", code="invite_not_open", param="invite_id")
        user = User(new_id("user_"), checked_name(name), invite.email, invite.role, int(now))
        members = []
        for project_id, role in invite.projects:
            project = await self._store.get_project(project_id)
            if project is not None and project.archived_at is None:
                members.append(Member(project_id, user, role, int(now)))
        told = {"email": user.email, "name": user.name, "role": user.role}
        entries = [
            AuditEntry("invite.accepted", actor, invite.id),
            AuditEntry("user.added", actor, user.id, after=told),
            *(AuditEntry("user.added", actor, user.id, m.project_id, after={"role": m.role}) for m in members),
        ]
        if not await self._store.accept_invite(invite.id, user, members, int(now), entries):
            raise _no_invite(invite_id)
        return user

    async def delete(self, actor: Actor, invite_id: str) -> None:
        """Take an invite back. Raises `NotFound`, `InvalidRequest` for one that was accepted."""
        invite = await self.get(invite_id)
        entry = AuditEntry("invite.deleted", actor, invite.id, before={"email": invite.email})
        if invite.accepted_at is not None or not await self._store.delete_invite(invite_id, [entry]):
            raise InvalidRequest(
                "An invite that was accepted cannot be deleted.", code="invite_accepted", param="invite_id"
            )


def _no_invite(invite_id: str) -> NotFound:
    return NotFound(f"No invite with id '{invite_id[:100]}' found.", code="invite_not_found", param="invite_id")
