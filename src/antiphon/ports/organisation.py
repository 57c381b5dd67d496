"""Who administers, what they administer, and the log of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from antiphon.domain.organisation import Administrator, AuditEntry, AuditFilter, Invite, Member, ServiceAccount, User
from antiphon.domain.records import Page
from antiphon.domain.tenancy import AdminKey, Key, Project


class OrganisationStore(Protocol):
    """Who administers, and what they administer. Times are Unix seconds.

    `entries` go into the log in the same transaction as the change that they tell of, and only if it happens. Lists are
    in the order in which things were added; `after` is an id (unknown: raises `NotFound` with param "after").
    """

    # --- users, and their places in projects --------------------------------------------------------------------------
    async def add_user(self, user: User, entries: Sequence[AuditEntry] = ()) -> None:
        """Add a user. Raises `Conflict` for an email that somebody has."""

    async def get_user(self, user_id: str) -> User | None:
        """The user with this id."""

    async def find_user(self, email: str) -> User | None:
        """The user with this email, which is in small letters."""

    async def first_user(self) -> User | None:
        """The user who has been here longest; None if there is nobody."""

    async def list_users(
        self, emails: Sequence[str] = (), *, after: str | None, limit: int, ascending: bool = True
    ) -> Page[User]:
        """A page of users: all, or those with these emails."""

    async def update_user(self, user: User, entries: Sequence[AuditEntry] = ()) -> bool:
        """Change role, technical level and persona. False if there is no such user.

        Raises `Conflict` (code "last_owner") rather than to leave the organisation without an owner.
        """

    async def delete_user(self, user_id: str, at: int, entries: Sequence[AuditEntry] = ()) -> bool:
        """Delete a user with their places, and revoke all their keys. False and `Conflict` as in `update_user`."""

    async def add_member(self, member: Member, entries: Sequence[AuditEntry] = ()) -> None:
        """Give a user a place in a project. Raises `Conflict` if they have one."""

    async def get_member(self, project_id: str, user_id: str) -> Member | None:
        """A user's place in a project."""

    async def list_members(self, project_id: str, *, after: str | None, limit: int) -> Page[Member]:
        """A page of a project's members. `after` is a user's id."""

    async def member_roles(self, user_id: str) -> dict[str, str]:
        """The user's role in each project that they are a member of."""

    async def set_member_role(
        self, project_id: str, user_id: str, role: str, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Change a member's role; False if there is no such member."""

    async def delete_member(self, project_id: str, user_id: str, at: int, entries: Sequence[AuditEntry] = ()) -> bool:
        """Take a user's place in a project, and revoke their keys for it; False if they have none."""

    # --- service accounts ---------------------------------------------------------------------------------------------
    async def add_service_account(
        self, account: ServiceAccount, key: Key | None, entries: Sequence[AuditEntry] = ()
    ) -> None:
        """Add a service account, with its first key where one is given."""

    async def get_service_account(self, project_id: str, account_id: str) -> ServiceAccount | None:
        """The service account; None if this project has none of that id."""

    async def list_service_accounts(self, project_id: str, *, after: str | None, limit: int) -> Page[ServiceAccount]:
        """A page of a project's service accounts."""

    async def update_service_account(self, account: ServiceAccount, entries: Sequence[AuditEntry] = ()) -> bool:
        """Change name and role; False if there is no such service account."""

    async def delete_service_account(
        self, project_id: str, account_id: str, at: int, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Delete a service account, and revoke its keys; False if there is none."""

    # --- invites ------------------------------------------------------------------------------------------------------
    async def add_invite(self, invite: Invite, entries: Sequence[AuditEntry] = ()) -> None:
        """Add an invite."""

    async def get_invite(self, invite_id: str) -> Invite | None:
        """The invite with this id."""

    async def find_invites(self, email: str) -> list[Invite]:
        """All invites of this email, which is in small letters; the newest first."""

    async def list_invites(self, *, after: str | None, limit: int) -> Page[Invite]:
        """A page of invites."""

    async def accept_invite(
        self, invite_id: str, user: User, members: Sequence[Member], at: int, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Make an invite a user with their places in projects; False if there is none, or it was accepted before."""

    async def delete_invite(self, invite_id: str, entries: Sequence[AuditEntry] = ()) -> bool:
        """Delete an invite that nobody has accepted; False if there is none."""

    # --- admin keys ---------------------------------------------------------------------------------------------------
    async def create_admin_key(self, key: AdminKey, entries: Sequence[AuditEntry] = ()) -> None:
        """Add an admin key. Raises `Conflict` if it is there already."""

    async def get_admin_key(self, key_id: str) -> AdminKey | None:
        """The admin key with this id, revoked or not."""

    async def find_admin_key(self, digest: bytes) -> AdminKey | None:
        """The admin key with this keyed hash, revoked or not."""

    async def find_administrator(self, digest: bytes) -> Administrator | None:
        """The admin key with this keyed hash, revoked or not, its user and their roles."""

    async def list_admin_keys(
        self, *, after: str | None, limit: int, ascending: bool = True, revoked: bool = False
    ) -> Page[AdminKey]:
        """A page of admin keys; `revoked`: also those that are."""

    async def admin_key_used(self, key_id: str, at: int) -> None:
        """Note when an admin key was used last."""

    async def revoke_admin_key(
        self, key_id: str, at: int, entries: Sequence[AuditEntry] = (), *, keeps: str | None = None
    ) -> bool:
        """Revoke an admin key; False if there is none that is not revoked.

        `keeps`: a user who must keep a key that works; raises `Conflict` (code "last_admin_key") if it is their last.
        """

    # --- projects and their keys --------------------------------------------------------------------------------------
    async def add_project(self, project: Project, entries: Sequence[AuditEntry] = ()) -> None:
        """Add a project. Raises `Conflict` (param "name") if a project with that name exists."""

    async def page_of_projects(self, *, after: str | None, limit: int, archived: bool) -> Page[Project]:
        """A page of projects; `archived`: also those that are."""

    async def rename_project(self, project_id: str, name: str, entries: Sequence[AuditEntry] = ()) -> bool:
        """Change a project's name. False if there is none; raises `Conflict` as `add_project`."""

    async def archive_project(self, project_id: str, at: int, entries: Sequence[AuditEntry] = ()) -> bool:
        """Archive a project for ever. False if there is none; archiving twice keeps the first time."""

    async def add_key(self, key: Key, entries: Sequence[AuditEntry] = ()) -> None:
        """Add a key of a project that is there."""

    async def get_project_key(self, project_id: str, key_id: str) -> Key | None:
        """The key, unless it is revoked or another project's."""

    async def page_of_keys(self, project_id: str, *, after: str | None, limit: int) -> Page[Key]:
        """A page of a project's keys that are not revoked."""

    async def revoke_project_key(
        self, project_id: str, key_id: str, at: int, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Revoke a key; False if the project has none of that id that is not revoked."""

    async def update_project_key(self, key: Key, entries: Sequence[AuditEntry] = ()) -> bool:
        """Change a key's expiry and scopes; False as in `revoke_project_key`."""


class AuditStore(Protocol):
    """The log of administrative changes. Entries are never changed."""

    async def add_audit(self, entry: AuditEntry) -> None:
        """Add an entry. Durable when this returns. What can be is rather written together with the change itself."""

    async def list_audit(self, wanted: AuditFilter, *, limit: int) -> Page[AuditEntry]:
        """A page, newest first. Raises `NotFound` (param "after" or "before") for an entry that there is not."""
