"""The log of administrative changes, for reading."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.domain.organisation import AuditEntry
from antiphon.ports import Store


async def names_of(store: Store, entries: Sequence[AuditEntry]) -> dict[str, str]:
    """The names that the projects of these entries have now, by id."""
    wanted = {entry.project_id for entry in entries if entry.project_id is not None}
    found = [await store.get_project(project_id) for project_id in wanted]
    return {project.id: project.name for project in found if project is not None}
