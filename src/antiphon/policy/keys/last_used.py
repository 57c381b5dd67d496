"""When keys were last used: noted for every call, written once a minute."""

from __future__ import annotations

import asyncio

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, Unstorable
from antiphon.periodic import PeriodicTask
from antiphon.ports import AccessStore
from antiphon.telemetry.logs import logger

_log = logger(__name__)


class LastUsed:
    """Writes `uses` (Unix seconds by a key's id) to the store, all in one go, each `limits.LAST_USED_TICK` seconds.

    What was not written when the process dies is lost: it says no more than that a key is in use.
    """

    def __init__(self, store: AccessStore, tick: float = limits.LAST_USED_TICK) -> None:
        #: Only valid keys are noted, so it holds no more than there are.
        self.uses: dict[str, float] = {}
        self._store = store
        self._tick = tick
        self._writing = PeriodicTask(_log, self._write_later)

    async def start(self) -> None:
        """Begin to write."""
        await self._writing.start()

    async def stop(self) -> None:
        """Write what is left, and end."""
        await self._writing.stop()
        await self.write()

    async def write(self) -> None:
        """Write what was noted since the last time. What cannot be written now is tried again with the next."""
        uses = dict(self.uses)
        self.uses.clear()
        try:
            await self._store.note_uses({key_id: int(at) for key_id, at in uses.items()})
        except Unstorable:
            # One that is never taken must not hold up the others.
            for key_id, at in uses.items():
                await self._write_one(key_id, at)
        except AntiphonError as error:
            _log.warning("when keys were last used could not be written", reason=error.message)
            for key_id, at in uses.items():
                self.uses.setdefault(key_id, at)

    async def _write_one(self, key_id: str, at: float) -> None:
        try:
            await self._store.note_uses({key_id: int(at)})
        except AntiphonError as error:
            _log.warning("when a key was last used could not be written", reason=error.message)

    async def _write_later(self) -> None:
        await asyncio.sleep(self._tick)
        await self.write()
