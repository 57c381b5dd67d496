"""The lock of a conversation: taken before the conversation is read, and released when the response has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from antiphon.domain.errors import AntiphonError, NotFound, StoreFailed
from antiphon.domain.ids import new_id
from antiphon.domain.records import ConversationItem
from antiphon.jobs.presence import Presence
from antiphon.jobs.retries import Retries
from antiphon.ports import ConversationStore
from antiphon.protocol.client_params import RESPONSES, with_client_param
from antiphon.protocol.responses import request as requests
from antiphon.telemetry.logs import logger

Json = dict[str, Any]

_log = logger(__name__)


class ConversationLock:
    """The lock that the response `response_id` has on its conversation. Nothing else changes it meanwhile.

    `settled`: there is nothing to release. The store has released it, or keeps it for the stored response, in the
    transaction that changed the response.
    """

    def __init__(
        self, store: ConversationStore, presence: Presence, retries: Retries, project_id: str, conversation_id: str
    ) -> None:
        self.response_id = new_id("resp_")
        self.conversation_id = conversation_id
        self.settled = True
        self._store = store
        self._presence = presence
        self._retries = retries
        self._project_id = project_id

    async def take(self) -> None:
        """Lock it. Raises `NotFound` and `ConversationLocked`."""
        await self._presence.confirm()
        self.settled = False
        try:
            await self._store.lock_conversation(
                self._project_id, self.conversation_id, self.response_id, owner=self._presence.worker
            )
        except StoreFailed:
            # It may have been done nevertheless.
            self.settled = True
            self._retries.add(self._unlock)
            raise
        except AntiphonError:
            self.settled = True
            raise

    async def end(self, said: Sequence[ConversationItem]) -> None:
        """Append the items of a response that is not stored, and release the lock. Raises `LeaseLost`."""
        await self._store.append_and_unlock(self._project_id, self.conversation_id, self.response_id, said)
        self.settled = True

    async def release(self) -> None:
        """Release the lock, unless that has happened. To be called in any case, also by a task being cancelled."""
        if not self.settled:
            self.settled = True
            await asyncio.shield(asyncio.ensure_future(self._try_to_unlock()))

    async def _try_to_unlock(self) -> None:
        try:
            await self._unlock()
        except AntiphonError as error:
            _log.warning("a conversation is not freed yet", reason=str(error))
            self._retries.add(self._unlock)

    async def _unlock(self) -> None:
        await self._store.unlock_conversation(self._project_id, self.conversation_id, self.response_id)


class ConversationLocks:
    """Locks conversations for responses."""

    def __init__(self, store: ConversationStore, presence: Presence, retries: Retries) -> None:
        self._store = store
        self._presence = presence
        self._retries = retries

    @asynccontextmanager
    async def taken(self, project_id: str, body: Json) -> AsyncIterator[ConversationLock | None]:
        """The lock for a request of a response; it is released here only if the block raises.

        None: the request names no conversation. Raises `NotFound` and `ConversationLocked`.
        """
        conversation_id = requests.conversation_of(body)
        if conversation_id is None:
            yield None
            return
        lock = ConversationLock(self._store, self._presence, self._retries, project_id, conversation_id)
        try:
            await lock.take()
            yield lock
        except NotFound as error:
            await lock.release()
            raise with_client_param(error, RESPONSES) from None
        except BaseException:
            await lock.release()
            raise
