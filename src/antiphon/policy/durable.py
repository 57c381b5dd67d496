"""Nothing is begun that could not be stored."""

from __future__ import annotations

from antiphon.policy.call import GenerationContext
from antiphon.ports import Store


class Durable:
    """A stage that refuses generations while the database takes no writes.

    What an answer costs is written down whatever becomes of the answer, so that holds for all of them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def enter(self, context: GenerationContext) -> None:
        """Raise `StoreUnavailable` before anything is paid for."""
        await self._store.check_writable()

    def finish(self, context: GenerationContext) -> None:
        """Nothing."""

    def leave(self, context: GenerationContext) -> None:
        """Nothing."""
