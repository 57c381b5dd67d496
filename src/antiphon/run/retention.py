"""How long what is stored is kept."""

from __future__ import annotations

from antiphon.domain import limits
from antiphon.domain.tenancy import Project
from antiphon.ports import Clock, TenantStore


class Retention:
    """Each project's own rule, remembered for as long as keys are."""

    def __init__(self, store: TenantStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, tuple[float, Project]] = {}

    async def expiry(self, project_id: str, created_at: int) -> int | None:
        """When a response that this project makes at `created_at` expires (both Unix seconds); None: it does not."""
        until, project = self._known.get(project_id, (0.0, None))
        now = self._clock.monotonic()
        if project is None or now >= until:
            project = await self._store.get_project(project_id)
            if project is None:
                return created_at + limits.RESPONSE_TTL
            if len(self._known) >= limits.KEY_CACHE_SIZE:
                self._known.clear()
            self._known[project_id] = (now + limits.KEY_CACHE_TTL, project)
        return project.expiry(created_at)
