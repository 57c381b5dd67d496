"""Whether the server can answer now."""

from __future__ import annotations

from antiphon.domain.errors import EngineUnavailable, ShuttingDown
from antiphon.engines.routed.fleet import Fleet
from antiphon.ports import Store


class Readiness:
    """Set to `stopping` when the server is asked to stop."""

    def __init__(self) -> None:
        self.stopping = False

    async def check(self, engine: Fleet, store: Store, *, lazy: bool) -> None:
        """Raise unless the server can answer now (`/readyz`). A lazy engine loads its model at the first request."""
        if self.stopping:
            raise ShuttingDown("The server is shutting down.")
        await store.ping()
        await store.check_writable()
        if not lazy and not await engine.ready():
            raise EngineUnavailable("The model is not loaded yet.")
