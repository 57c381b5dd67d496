"""A response's turn in a conversation: taken before the conversation is read, and over when the response has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from antiphon.domain.errors import AntiphonError, NotFound, StoreFailed
from antiphon.domain.ids import new_id
from antiphon.domain.records import ConversationItem
from antiphon.ports import ConversationStore
from antiphon.protocol.client_params import RESPONSES, with_client_param
from antiphon.protocol.responses import request as requests
from antiphon.telemetry.logs import logger

if TYPE_CHECKING:
    # A worker's jobs have persisters, and those know turns.
    from antiphon.run.worker import Worker

Json = dict[str, Any]

_log = logger(__name__)


class ConversationLock:
    """The hold of the response `response_id` on its conversation. Nothing else changes the conversation meanwhile.

    `settled`: the store has ended it, or holds it by itself from now on, in the same transaction as the response's own
    change.
    """

    def __init__(self, store: ConversationStore, worker: Worker, project_id: str, conversation_id: str) -> None:
        self.response_id = new_id("resp_")
        self.conversation_id = conversation_id
        self.settled = True
        self._store = store
        self._worker = worker
        self._project_id = project_id

    async def take(self) -> None:
        """Begin. Raises `NotFound` and `ConversationLocked`."""
        await self._worker.presence.fresh()
        self.settled = False
        try:
            await self._store.lock_conversation(
                self._project_id, self.conversation_id, self.response_id, owner=self._worker.id
            )
        except StoreFailed:
            # It may have been done nevertheless.
            self.settled = True
            self._worker.later(self._unlock)
            raise
        except AntiphonError:
            self.settled = True
            raise

    async def end(self, said: Sequence[ConversationItem]) -> None:
        """Append what was said by a response that is not stored. Raises `LeaseLost`."""
        await self._store.end_turn(self._project_id, self.conversation_id, self.response_id, said)
        self.settled = True

    async def release(self) -> None:
        """Free the conversation, unless that has happened. To be called in any case, also by a task being cancelled."""
        if not self.settled:
            self.settled = True
            await asyncio.shield(asyncio.ensure_future(self._try_to_unlock()))

    async def _try_to_unlock(self) -> None:
        try:
            await self._unlock()
        except AntiphonError as error:
            _log.warning("a conversation is not freed yet", reason=str(error))
            self._worker.later(self._unlock)

    async def _unlock(self) -> None:
        await self._store.unlock_conversation(self._project_id, self.conversation_id, self.response_id)


class ConversationLocks:
    """Gives responses their turns."""

    def __init__(self, store: ConversationStore, worker: Worker) -> None:
        self._store = store
        self._worker = worker

    @asynccontextmanager
    async def taken(self, project_id: str, body: Json) -> AsyncIterator[ConversationLock | None]:
        """The turn of a response that is asked for in a conversation; it is released here only if the block raises.

        None: the request names no conversation. Raises `NotFound` and `ConversationLocked`.
        """
        conversation_id = requests.conversation_of(body)
        if conversation_id is None:
            yield None
            return
        turn = ConversationLock(self._store, self._worker, project_id, conversation_id)
        try:
            await turn.take()
            yield turn
        except NotFound as error:
            await turn.release()
            raise with_client_param(error, RESPONSES) from None
        except BaseException:
            await turn.release()
            raise
