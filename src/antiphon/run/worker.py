"""Makes background responses: claims them from the database, holds them by a lease, goes on with those of the dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Iterator

from antiphon.domain import limits
from antiphon.domain.durations import milliseconds
from antiphon.domain.records import StoredResponse
from antiphon.policy.gate import Gate
from antiphon.policy.habits import Habit
from antiphon.ports import Clock, Store
from antiphon.run.bus import Bus
from antiphon.run.job import Job
from antiphon.run.prepare import Preparer
from antiphon.telemetry.logs import logger

Name = tuple[str, str]

_log = logger(__name__)


class Worker:
    """One server's part in making responses. `id` names it in leases; no two workers ever have the same.

    `alone`: no other server uses this database, so whatever is unfinished at the start was left by a crash.
    """

    def __init__(self, store: Store, gate: Gate, preparer: Preparer, bus: Bus, clock: Clock, *, alone: bool) -> None:
        self.id = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(6)}"
        self._store = store
        self._gate = gate
        self._preparer = preparer
        self._bus = bus
        self._clock = clock
        self._alone = alone
        self._jobs: dict[Name, tuple[Job, asyncio.Task[None]]] = {}
        #: Cancelled since the last claim began, and not made here: that claim may have taken them just before, or they
        #: wait for their turn.
        self._missed: set[Name] = set()
        steps = [self._claim_step, self._sweep_step]
        if not alone:
            steps.append(self._cancel_step)
        self._habits = Habit(_log, *steps)
        self._renewing = Habit(_log, self._renew_step)
        self._unsettled: list[StoredResponse] = []
        self._nudged = asyncio.Event()
        self._foreground = 0

    # --- its life -----------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Begin. What a crash left behind is taken over first."""
        await self._claim(ignore_leases=self._alone)
        await self._habits.start()
        await self._renewing.start()

    async def stop(self) -> None:
        """Begin nothing more. What is under way in the background is left as it is, and free to be taken over at once.

        Responses that clients listen to go on, and stay under this worker's lease until `close`. Safe to call twice.
        """
        await self._habits.stop()
        tasks = [task for _, task in self._jobs.values()]
        for job, _ in self._jobs.values():
            job.abandon()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._store.release_leases(self.id)

    async def close(self) -> None:
        """Let go of everything. Safe to call twice."""
        await self._renewing.stop()

    def lease(self) -> int:
        """Until when a lease that begins now holds (Unix milliseconds)."""
        return milliseconds(self._clock.now() + limits.LEASE)

    @contextlib.contextmanager
    def foreground(self) -> Iterator[None]:
        """A response is under way here for a client that listens: its lease is this worker's to renew."""
        self._foreground += 1
        try:
            yield
        finally:
            self._foreground -= 1

    def nudge(self) -> None:
        """There is something to do."""
        self._nudged.set()

    async def cancel(self, project_id: str, response_id: str) -> None:
        """Have a background response end, here or on whichever worker it is made."""
        await self._store.request_cancel(project_id, response_id)
        self._cancel((project_id, response_id))
        self.nudge()

    def _cancel(self, name: Name) -> None:
        if name in self._jobs:
            self._jobs[name][0].cancel()
        else:
            self._missed.add(name)

    # --- its habits ---------------------------------------------------------------------------------------------------
    async def _claim_step(self) -> None:
        with contextlib.suppress(TimeoutError):
            # Not `wait_for`: Python 3.11's forgets that it was cancelled, if what it waited for came at the same time.
            async with asyncio.timeout(limits.CLAIM_TICK):
                await self._nudged.wait()
        self._nudged.clear()
        while self._unsettled:
            # Its lease would otherwise be renewed with the others', and nobody would ever end it.
            await self._store.release_lease(self._unsettled[-1], milliseconds(self._clock.now() + limits.LEASE_RENEWAL))
            self._unsettled.pop()
        await self._claim()

    async def _claim(self, *, ignore_leases: bool = False) -> None:
        now = 2**62 if ignore_leases else milliseconds(self._clock.now())
        missed, self._missed = self._missed, set()
        if missed:
            # To end them takes no room, and nobody should have to wait for it.
            for response in await self._store.claim_responses(
                self.id, now=now, until=self.lease(), limit=len(missed), cancelled=True
            ):
                self._begin(response)
        while (room := limits.MAX_BACKGROUND - len(self._jobs)) > 0:
            claimed = await self._store.claim_responses(self.id, now=now, until=self.lease(), limit=room)
            for response in claimed:
                self._begin(response)
            if len(claimed) < room or ignore_leases:
                return

    def _begin(self, response: StoredResponse) -> None:
        name = (response.project_id, response.id)
        job = Job(self._store, self._gate, self._preparer, self._bus, self._clock, response)
        if name in self._missed:
            job.cancel()
        task = asyncio.create_task(job.run())
        self._jobs[name] = (job, task)

        def done(_: asyncio.Task[None]) -> None:
            self._jobs.pop(name, None)
            if not job.settled:
                self._unsettled.append(response)
            self._bus.publish(name)
            self.nudge()

        task.add_done_callback(done)

    async def _renew_step(self) -> None:
        await asyncio.sleep(limits.LEASE_RENEWAL)
        if self._jobs or self._foreground:
            await self._store.renew_leases(self.id, self.lease())

    async def _cancel_step(self) -> None:
        await asyncio.sleep(limits.CANCEL_TICK)
        if self._jobs:
            for name in await self._store.cancelled_responses(self.id):
                self._cancel(name)

    async def _sweep_step(self) -> None:
        now = int(self._clock.now())
        deleted = limits.SWEEP_STEP
        while deleted == limits.SWEEP_STEP:
            deleted = await self._store.sweep(now=now, logs_before=now - limits.LOG_TTL, limit=limits.SWEEP_STEP)
        while await self._store.sweep_cached(now=now, limit=limits.SWEEP_STEP) == limits.SWEEP_STEP:
            pass
        await asyncio.sleep(limits.SWEEP_TICK)
