"""The organisation's projects."""

from __future__ import annotations

from dataclasses import replace

from antiphon.domain.errors import InvalidRequest, NotFound
from antiphon.domain.ids import new_id
from antiphon.domain.organisation import Actor, AuditEntry
from antiphon.domain.records import Page
from antiphon.domain.tenancy import Project
from antiphon.policy.administration.values import checked_name
from antiphon.policy.keys.first_run import DEFAULT_PROJECT
from antiphon.ports import Clock, Store


class Projects:
    """The projects."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, actor: Actor, name: str) -> Project:
        """Add a project. Raises `InvalidRequest`, and `Conflict` for a name that another one has."""
        project = Project(id=new_id("proj_"), name=checked_name(name), created_at=int(self._clock.now()))
        entry = AuditEntry("project.created", actor, project.id, project.id, after={"name": project.name})
        await self._store.add_project(project, [entry])
        return project

    async def get(self, project_id: str) -> Project:
        """A project by its id. Raises `NotFound`."""
        project = await self._store.get_project(project_id)
        # The store finds projects by their names too, which is for people.
        if project is None or project.id != project_id:
            raise NotFound(
                f"No project with id '{project_id[:100]}' found.", code="project_not_found", param="project_id"
            )
        return project

    async def get_active(self, project_id: str) -> Project:
        """A project that is not archived. Raises `NotFound`, `InvalidRequest` (code "project_archived")."""
        project = await self.get(project_id)
        if project.archived_at is not None:
            raise InvalidRequest(
                f"The project '{project.id}' is archived.", code="project_archived", param="project_id"
            )
        return project

    async def page(self, *, after: str | None, limit: int, archived: bool) -> Page[Project]:
        """A page of projects. Raises `NotFound` for an unknown `after`."""
        return await self._store.page_of_projects(after=after, limit=limit, archived=archived)

    async def rename(self, actor: Actor, project_id: str, name: str) -> Project:
        """Change a project's name. Raises `NotFound`, `InvalidRequest`, `Conflict`."""
        project = _not_default(await self.get_active(project_id))
        new = checked_name(name)
        if new != project.name:
            entry = AuditEntry("project.updated", actor, project.id, project.id, {"name": project.name}, {"name": new})
            await self._store.rename_project(project.id, new, [entry])
        return replace(project, name=new)

    async def archive(self, actor: Actor, project_id: str) -> Project:
        """End a project: its keys stop to work, what it has stored stays. Twice is once. Raises `NotFound`."""
        project = _not_default(await self.get(project_id))
        if project.archived_at is not None:
            return project
        now = int(self._clock.now())
        entry = AuditEntry("project.archived", actor, project.id, project.id, after={"archived_at": now})
        await self._store.archive_project(project.id, now, [entry])
        return await self.get(project_id)


def _not_default(project: Project) -> Project:
    """The default project is what invites and commands mean that name none."""
    if project.name == DEFAULT_PROJECT:
        raise InvalidRequest(
            "The default project can be neither renamed nor archived.", code="default_project", param="project_id"
        )
    return project
