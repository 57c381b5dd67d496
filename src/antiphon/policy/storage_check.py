"""Nothing is begun that could not be stored."""

from __future__ import annotations

from collections.abc import Awaitable

from antiphon.policy.call import GenerationContext
from antiphon.policy.pipeline.stages import AdmissionCheck
from antiphon.ports import Store


class StorageCheck(AdmissionCheck):
    """Refuses generations while the database takes no writes.

    What an answer costs is written down whatever becomes of the answer, so that holds for all of them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def enter(self, context: GenerationContext) -> Awaitable[None]:
        """Raise `StoreUnavailable` before anything is paid for."""
        return self._store.check_writable()
