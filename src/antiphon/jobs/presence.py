"""Who holds what: servers hold jobs, responses and conversations for as long as they are there.

This is how a server says that it is there, and how it learns which of the others on its database are not there any
more. No two clocks are ever compared. A server counts up a number in the database (its beat); a server that sees the
number of another one stand still for `limits.LEASE`, by its own monotonic clock, strikes that one off, and what it held
is free. So nothing is decided by a wall clock, which can be set, nor by the times of two machines. A server that stood
still itself (a sleeping laptop, a paused machine, a database that did not answer) cannot tell how long others did, and
begins to listen anew.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from typing import NamedTuple

from antiphon.domain import limits
from antiphon.periodic import PeriodicTask
from antiphon.ports import Clock, WorkerStore
from antiphon.telemetry.logs import logger

_log = logger(__name__)


class _Heard(NamedTuple):
    """How far another server had counted when it was last seen to count, and when that was (monotonic seconds)."""

    beat: int
    at: float


def worker_name() -> str:
    """A name for this server among the workers of its database. No two ever have the same."""
    return f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(6)}"


class Presence:
    """One worker's place among the workers of a database. `worker` is its name there.

    `alone`: no other server uses the database. Then nobody listens, nothing needs to be said after the start, and
    whatever is unfinished at the start was left by a crash.
    """

    def __init__(self, store: WorkerStore, worker: str, clock: Clock, *, alone: bool) -> None:
        self.worker = worker
        self._store = store
        self._clock = clock
        self._alone = alone
        self._beaten_at = (0.0, 0.0)
        self._listened_at = 0.0
        self._heard: dict[str, _Heard] = {}
        self._beating = PeriodicTask(_log, *([] if alone else [self._beat_step]))

    async def start(self) -> None:
        """Be there, from now on."""
        await self.enter()
        await self._beating.start()

    async def stop(self) -> None:
        """Be there no more. Safe to call twice."""
        await self._beating.stop()
        await self.leave()

    async def _beat_step(self) -> None:
        await asyncio.sleep(limits.LEASE_RENEWAL)
        await self.beat_and_listen()

    async def enter(self) -> None:
        """Say once that this worker is there. One that is alone knows that all others are not."""
        await self._store.beat(self.worker)
        self._beaten_at = self._times()
        if self._alone:
            await self._store.strike_others(self.worker)

    async def leave(self) -> None:
        """Give up what this worker holds."""
        await self._store.leave(self.worker)

    async def confirm(self) -> None:
        """Make sure that nobody takes this worker for dead, before it takes on something new.

        That costs nothing, unless it has not been heard of for long: because it, or its machine, stood still.
        """
        if self._alone:
            return
        # A machine that sleeps stops its monotonic clock, but not its wall clock.
        if any(now - then > limits.LEASE / 2 for now, then in zip(self._times(), self._beaten_at, strict=True)):
            await self._beat()

    async def beat_and_listen(self) -> None:
        """Beat, then look who else does. Only to be called between pauses of `limits.LEASE_RENEWAL`."""
        if self._alone:
            return
        await self._beat()
        await self._listen()

    async def _beat(self) -> None:
        times = self._times()
        if not await self._store.beat(self.worker):
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
            if worker == self.worker:
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
