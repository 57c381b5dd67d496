"""That this server is there, as the others on its database see it; and which of them are not there any more.

No two clocks are ever compared. A server counts up a number in the database (its beat); whoever sees the number of
another stand still for `limits.LEASE`, by its own monotonic clock, strikes that server off, and what it held is free.
So nothing is decided by a wall clock, which can be set, nor by the times of two machines. A server that stood still
itself (a sleeping laptop, a paused machine, a database that did not answer) cannot tell how long others did, and begins
to listen anew.
"""

from __future__ import annotations

from typing import NamedTuple

from antiphon.domain import limits
from antiphon.ports import Clock, ResponseStore
from antiphon.telemetry.logs import logger

_log = logger(__name__)


class _Heard(NamedTuple):
    """How far another server had counted when it was last seen to count, and when that was (monotonic seconds)."""

    beat: int
    at: float


class Presence:
    """One worker's place among the workers of a database.

    `alone`: no other server uses the database. Then nobody listens, and nothing needs to be said after the start.
    """

    def __init__(self, store: ResponseStore, worker: str, clock: Clock, *, alone: bool) -> None:
        self._store = store
        self._worker = worker
        self._clock = clock
        self._alone = alone
        self._beaten_at = (0.0, 0.0)
        self._listened_at = 0.0
        self._heard: dict[str, _Heard] = {}

    async def enter(self) -> None:
        """Be there. Whoever is alone knows that all others are not."""
        await self._store.beat(self._worker)
        self._beaten_at = self._times()
        if self._alone:
            await self._store.strike_others(self._worker)

    async def leave(self) -> None:
        """Be there no more."""
        await self._store.leave(self._worker)

    async def fresh(self) -> None:
        """Make sure that nobody takes this worker for dead, before it takes on something new.

        That costs nothing, unless it has not been heard of for long: because it, or its machine, stood still.
        """
        if self._alone:
            return
        # A machine that sleeps stops its monotonic clock, but not its wall clock.
        if any(now - then > limits.LEASE / 2 for now, then in zip(self._times(), self._beaten_at, strict=True)):
            await self._beat()

    async def tell_and_listen(self) -> None:
        """Beat, then look who else does. Only to be called between pauses of `limits.LEASE_RENEWAL`."""
        if self._alone:
            return
        await self._beat()
        await self._listen()

    async def _beat(self) -> None:
        times = self._times()
        if not await self._store.beat(self._worker):
            _log.warning("this server was taken for dead: it, its machine or its database stood still")
        self._beaten_at = times

    async def _listen(self) -> None:
        now = self._clock.monotonic()
        if now - self._listened_at > limits.LEASE / 2:
            self._heard = {}
        self._listened_at = now
        heard: dict[str, _Heard] = {}
        for worker, beat in (await self._store.workers()).items():
            last = self._heard.get(worker)
            if worker == self._worker:
                continue
            if last is None or last.beat != beat:
                heard[worker] = _Heard(beat, now)
            elif now - last.at < limits.LEASE:
                heard[worker] = last
            elif await self._store.strike_worker(worker, beat):
                _log.warning("a server is not there any more: what it made is taken over", server=worker)
        self._heard = heard

    def _times(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.now()
