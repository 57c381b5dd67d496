"""What administrators do with projects and their keys, in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select, update

from antiphon.domain.errors import Conflict
from antiphon.domain.organisation import AuditEntry
from antiphon.domain.records import Page
from antiphon.domain.tenancy import Key, Project
from antiphon.stores.audited import AuditedSection, page, record
from antiphon.stores.query import DatabaseSession, Statement
from antiphon.stores.section import PageCursor, is_valid_id, require_valid_id
from antiphon.stores.tables import api_keys, projects
from antiphon.stores.tenants import KEY, PROJECT, insert_key, insert_project, key_of, listed

_NAMED = projects.c.id == bindparam("project")
_RENAME = Statement(update(projects).where(_NAMED).values(name=bindparam("new_name")))
_ARCHIVE = Statement(
    update(projects).where(_NAMED).values(archived_at=func.coalesce(projects.c.archived_at, bindparam("at")))
)
_KEPT = (
    api_keys.c.project_id == bindparam("project"),
    api_keys.c.id == bindparam("key"),
    api_keys.c.revoked_at.is_(None),
)
_GET_KEY = Statement(select(*KEY).where(*_KEPT))
_REVOKE_KEY = Statement(update(api_keys).where(*_KEPT).values(revoked_at=bindparam("at")))
_UPDATE_KEY = Statement(
    update(api_keys).where(*_KEPT).values(expires_at=bindparam("until"), scopes=bindparam("allowed"))
)


class ProjectSection(AuditedSection):
    """Implements the projects' part of `ports.OrganisationStore`."""

    async def add_project(self, project: Project, entries: Sequence[AuditEntry] = ()) -> None:
        """Add a project; see `ports`."""
        require_valid_id(project.id, project.name)

        def change(session: DatabaseSession) -> None:
            insert_project(session, project)
            record(session, *entries)

        try:
            await self._change(change)
        except Conflict:
            raise _name_taken(project.name) from None

    async def page_of_projects(self, *, after: str | None, limit: int, archived: bool) -> Page[Project]:
        """A page of projects; see `ports`."""
        where = [] if archived else [projects.c.archived_at.is_(None)]
        return await self._database.read(page, projects, PROJECT, where, PageCursor(after, limit, True), Project)

    async def rename_project(self, project_id: str, name: str, entries: Sequence[AuditEntry] = ()) -> bool:
        """Change a project's name; see `ports`."""
        require_valid_id(name)

        def change(session: DatabaseSession) -> bool:
            found = session.run(_RENAME, {"project": project_id, "new_name": name}) > 0
            if found:
                record(session, *entries)
            return found

        try:
            return is_valid_id(project_id) and await self._change(change)
        except Conflict:
            raise _name_taken(name) from None

    async def archive_project(self, project_id: str, at: int, entries: Sequence[AuditEntry] = ()) -> bool:
        """Archive a project; see `ports`."""

        def change(session: DatabaseSession) -> bool:
            found = session.run(_ARCHIVE, {"project": project_id, "at": at}) > 0
            if found:
                record(session, *entries)
            return found

        return is_valid_id(project_id) and await self._change(change)

    # --- keys ---------------------------------------------------------------------------------------------------------
    async def add_key(self, key: Key, entries: Sequence[AuditEntry] = ()) -> None:
        """Add a key of a project that is there."""
        require_valid_id(key.id, key.project_id, key.name)

        def change(session: DatabaseSession) -> None:
            insert_key(session, key)
            record(session, *entries)

        await self._change(change)

    async def get_project_key(self, project_id: str, key_id: str) -> Key | None:
        """The key, unless it is revoked or another project's."""
        if not is_valid_id(project_id, key_id):
            return None
        return await self._database.read(_get_key, project_id, key_id)

    async def page_of_keys(self, project_id: str, *, after: str | None, limit: int) -> Page[Key]:
        """A page of a project's keys; see `ports`."""
        where = [api_keys.c.project_id == project_id, api_keys.c.revoked_at.is_(None)]
        return await self._database.read(page, api_keys, KEY, where, PageCursor(after, limit, True), key_of)

    async def revoke_project_key(
        self, project_id: str, key_id: str, at: int, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Revoke a key; False if the project has none of that id that works."""

        def change(session: DatabaseSession) -> bool:
            found = session.run(_REVOKE_KEY, {"project": project_id, "key": key_id, "at": at}) > 0
            if found:
                record(session, *entries)
            return found

        return is_valid_id(project_id, key_id) and await self._change(change)

    async def update_project_key(self, key: Key, entries: Sequence[AuditEntry] = ()) -> bool:
        """Change a key's expiry and scopes; False if the project has none of that id that works."""

        def change(session: DatabaseSession) -> bool:
            values = {"project": key.project_id, "key": key.id, "until": key.expires_at, "allowed": listed(key.scopes)}
            found = session.run(_UPDATE_KEY, values) > 0
            if found:
                record(session, *entries)
            return found

        return await self._change(change)


def _get_key(session: DatabaseSession, project_id: str, key_id: str) -> Key | None:
    row = session.one(_GET_KEY, {"project": project_id, "key": key_id})
    return key_of(*row) if row else None


def _name_taken(name: str) -> Conflict:
    return Conflict(f"A project named '{name}' exists already.", param="name")
