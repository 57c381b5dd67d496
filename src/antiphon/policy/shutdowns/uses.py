"""Counts which keys use what is shut down, for `antiphon doctor`."""

from __future__ import annotations

import asyncio

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError
from antiphon.domain.retirement import Use, day_of
from antiphon.periodic import PeriodicTask
from antiphon.policy.call import Call
from antiphon.policy.shutdowns.notices import Shutdowns
from antiphon.ports import Clock, UseStore
from antiphon.telemetry.logs import logger

_log = logger(__name__)


class UseLog:
    """Counts uses when calls are over. They are gathered in memory and written every `limits.USES_TICK` seconds."""

    def __init__(self, shutdowns: Shutdowns, store: UseStore, clock: Clock) -> None:
        self._shutdowns = shutdowns
        self._store = store
        self._clock = clock
        self._pending: dict[tuple[str, str, str], int] = {}
        self._endpoints: dict[str, str | None] = {}
        self._writing = PeriodicTask(_log, self._write_later)

    async def start(self) -> None:
        """Begin to write what is gathered."""
        await self._writing.start()

    async def stop(self) -> None:
        """Write what is left, and end. Safe to call twice."""
        await self._writing.stop()
        await self.write()

    def call_ended(self, call: Call) -> None:
        """A call is over."""
        subject = self._endpoint(call.endpoint)
        subjects = set() if subject is None else {subject}
        for context in call.generations:
            target = context.trace.target
            if target is not None and (found := self._shutdowns.target(target)) is not None:
                subjects.add(found.subject)
        for each in subjects:
            name = (call.project_id, call.caller.key.id, each)
            if name in self._pending or len(self._pending) < limits.MAX_PENDING_USES:
                self._pending[name] = self._pending.get(name, 0) + 1

    async def write(self) -> None:
        """Write what is gathered. What cannot be written is gone: it is a hint for people, not an account."""
        pending, self._pending = self._pending, {}
        today = day_of(self._clock.now())
        writes = [self._store.note_use(Use(*name, last_day=today, count=count)) for name, count in pending.items()]
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(outcome, Exception):
                reason = outcome.message if isinstance(outcome, AntiphonError) else type(outcome).__name__
                _log.warning("a use of what is shut down was not counted", reason=reason)
            elif isinstance(outcome, BaseException):
                raise outcome

    def _endpoint(self, path: str) -> str | None:
        """What this path is counted as. There are as many paths as resources."""
        if path not in self._endpoints:
            found = self._shutdowns.known.endpoint(path)
            self._endpoints[path] = None if found is None else found.subject
        return self._endpoints[path]

    async def _write_later(self) -> None:
        await asyncio.sleep(limits.USES_TICK)
        await self.write()
