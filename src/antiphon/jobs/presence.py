"""Which servers of a database are alive. A server holds its jobs, responses and conversations for as long as it is.

Each server has a row in the table `workers`, with a number that it counts up every `limits.LEASE_RENEWAL` seconds (its
beat). A server that sees the number of another one stand still for `limits.LEASE` seconds, by its own monotonic clock,
deletes that row, and what that server held can be claimed. No wall clock is read, since those can be set, and no times
of two machines are compared.

A server that was itself suspended (a sleeping laptop, a paused machine) or could not reach the database does not know
for how long the others were silent. It starts to measure again from that moment.
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
    """Another server's number when it was last seen to change, and when that was (monotonic seconds)."""

    beat: int
    at: float


def worker_name() -> str:
    """A name for this server among the workers of its database. No two ever have the same."""
    return f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(6)}"


class Presence:
    """One server's row among the workers of a database. `worker` is its name there.

    `alone`: no other server uses the database. Then there are no beats, and whatever is unfinished at the start was
    left by a crash.
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
        """Add the row, and begin to beat."""
        await self.enter()
        await self._beating.start()

    async def stop(self) -> None:
        """Remove the row: what this server still holds can be claimed by others. Safe to call twice."""
        await self._beating.stop()
        await self.leave()

    async def _beat_step(self) -> None:
        await asyncio.sleep(limits.LEASE_RENEWAL)
        await self.beat_and_listen()

    async def enter(self) -> None:
        """Add the row. A server that is alone removes all others."""
        await self._store.beat(self.worker)
        self._beaten_at = self._times()
        if self._alone:
            await self._store.remove_other_workers(self.worker)

    async def leave(self) -> None:
        """Remove the row."""
        await self._store.leave(self.worker)

    async def confirm(self) -> None:
        """Make sure that the row is there, before this server claims something.

        Costs nothing, unless its last beat is old because it, or its machine, was suspended.
        """
        if self._alone:
            return
        # A machine that sleeps stops its monotonic clock, but not its wall clock.
        if any(now - then > limits.LEASE / 2 for now, then in zip(self._times(), self._beaten_at, strict=True)):
            await self._beat()

    async def beat_and_listen(self) -> None:
        """Beat once, then look at the others. Must be called every `limits.LEASE_RENEWAL` seconds."""
        if self._alone:
            return
        await self._beat()
        await self._listen()

    async def _beat(self) -> None:
        times = self._times()
        if not await self._store.beat(self.worker):
            _log.warning("this server was taken for dead: it, its machine or its database was suspended")
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
            elif await self._store.remove_worker(worker, beat):
                _log.warning("a server has died: what it made is taken over", server=worker)
        self._heard = heard

    def _times(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.now()
