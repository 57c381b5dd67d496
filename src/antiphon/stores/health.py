"""Whether the database takes writes: known before something is begun that would have to be stored in the end.

The database is tried with a write of its own, now and then while there are calls. Between two tries, knowing it costs a
comparison. While it takes no writes, calls are refused at once, and it is tried once a second by whoever asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import Overloaded, StoreUnavailable
from antiphon.telemetry.logs import logger

_log = logger(__name__)
_SILENT = "The database does not answer in time."


class Health:
    """What is known of a database, on the loop that uses it."""

    def __init__(self, probe: Callable[[], Coroutine[Any, Any, None]], changed: Callable[[bool], None]) -> None:
        """`probe`: writes something, durably, or raises. `changed`: is told whether the database takes writes now."""
        self._probe = probe
        self._changed = changed
        #: Why it takes none; None, as far as is known it does.
        self.reason: str | None = None
        self._proved_at = float("-inf")
        self._tried_at = float("-inf")
        self._trying: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Raise `StoreUnavailable` unless the database takes writes, as far as is known."""
        now = time.monotonic()
        if self.reason is None:
            age = now - self._proved_at
            if age < limits.STORE_PROOF:
                return
            trying = self._try(now)
            if age < limits.STORE_PROOF_STALE:
                return
        elif now - self._tried_at < limits.STORE_PROBE_TICK:
            raise StoreUnavailable(self.reason)
        else:
            trying = self._try(now)
        done, _ = await asyncio.wait({trying}, timeout=limits.STORE_PROBE_WAIT)
        if not done:
            self.failed(_SILENT)
        if self.reason is not None:
            raise StoreUnavailable(self.reason)

    def failed(self, reason: str) -> None:
        """The database took no write, for a reason that lies with it."""
        if self.reason is None:
            _log.error("the database takes no writes: calls are refused", reason=reason)
            self._changed(False)
        elif self.reason != reason:
            _log.error("the database still takes no writes", reason=reason)
        self.reason = reason
        self._tried_at = time.monotonic()

    def close(self) -> None:
        """Try no more."""
        if self._trying is not None:
            self._trying.cancel()

    def _try(self, now: float) -> asyncio.Task[None]:
        """The try that is under way, or a new one. It says of itself what came of it."""
        if self._trying is None or self._trying.done():
            self._tried_at = now
            self._trying = asyncio.create_task(self._attempt())
        return self._trying

    async def _attempt(self) -> None:
        try:
            await self._probe()
        except StoreUnavailable as error:
            self.failed(error.reason)
        except Overloaded:
            return  # it is busy, and says so by itself
        except Exception as error:
            _log.error("the database could not be tried", exc_info=error)
        else:
            self._proved_at = time.monotonic()
            if self.reason is not None:
                _log.warning("the database takes writes again")
                self.reason = None
                self._changed(True)
