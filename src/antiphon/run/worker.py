"""Makes background responses: takes them from the database, and goes on with those of servers that are gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError
from antiphon.domain.records import Free, StoredResponse
from antiphon.periodic import PeriodicTask
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.ports import Clock, Store
from antiphon.run.bus import Bus
from antiphon.run.prepare import Preparer
from antiphon.run.presence import Presence
from antiphon.run.response_job import ResponseJob
from antiphon.telemetry.logs import logger

Name = tuple[str, str]

_log = logger(__name__)


def choose(free: Iterable[Free], room: int, under_way: Counter[str]) -> list[Free]:
    """Up to `room` of these: always one of the project of which the fewest are under way.

    `free`: for each project the oldest first. `under_way`: how many of each project are; it is counted further.
    """
    waiting: dict[str, list[Free]] = {}
    for each in free:
        waiting.setdefault(each.project_id, []).append(each)
    for queue in waiting.values():
        queue.reverse()
    chosen: list[Free] = []
    while waiting and len(chosen) < room:
        project_id = min(waiting, key=lambda name: under_way[name])
        if under_way[project_id] >= limits.MAX_BACKGROUND_OF_PROJECT:
            break
        chosen.append(waiting[project_id].pop())
        under_way[project_id] += 1
        if not waiting[project_id]:
            del waiting[project_id]
    return chosen


class Worker:
    """One server's part in making responses. `id` names it in the database; no two workers ever have the same.

    A response that is under way here is never begun again here, whatever the database says of it: if it was taken by
    another server, what was under way finds that out at its next write, and ends.

    `alone`: no other server uses this database, so whatever is unfinished at the start was left by a crash.
    """

    def __init__(
        self, store: Store, gate: Pipeline, preparer: Preparer, bus: Bus, clock: Clock, *, alone: bool
    ) -> None:
        self.id = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(6)}"
        self.presence = Presence(store, self.id, clock, alone=alone)
        self._store = store
        self._gate = gate
        self._preparer = preparer
        self._bus = bus
        self._clock = clock
        self._jobs: dict[Name, tuple[ResponseJob, asyncio.Task[None]]] = {}
        #: Cancelled since the last claim began, and not made here: that claim may have taken them just before, or they
        #: wait for their turn.
        self._missed: set[Name] = set()
        steps = [self._claim_step, self._adopt_step]
        if not alone:
            steps.append(self._cancel_step)
        self._habits = PeriodicTask(_log, *steps)
        self._beating = PeriodicTask(_log, *([] if alone else [self._beat_step]))
        #: How often the job of a response broke.
        self._broken: Counter[Name] = Counter()
        self._nudged = asyncio.Event()
        self._foreground: Counter[Name] = Counter()
        self._later: list[Callable[[], Awaitable[None]]] = []

    # --- its life -----------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Begin. What a crash left behind is taken over first."""
        await self.presence.enter()
        await self._beating.start()
        await self._claim()
        await self._habits.start()

    async def stop(self) -> None:
        """Begin nothing more, and leave to others, or to the next start, what loses nothing by that.

        What would lose something goes on until `finished` or `leave_all`: a background response over an upstream that
        cannot go on in the middle of an answer, and those that clients listen to. Safe to call twice.
        """
        await self._habits.stop()
        await self._leave([job for job, _ in self._jobs.values() if not job.would_be_lost])

    async def finished(self) -> None:
        """Wait until all that goes on in the background has ended. Begin nothing before `stop`."""
        while self._jobs:
            await asyncio.wait([task for _, task in self._jobs.values()])

    async def leave_all(self) -> None:
        """Leave all that is still under way in the background as it is. Safe to call twice."""
        if self._jobs:
            _log.warning("background responses are left in the middle", count=len(self._jobs))
        await self._leave([job for job, _ in self._jobs.values()])

    async def _leave(self, jobs: Sequence[ResponseJob]) -> None:
        tasks = [self._jobs[job.name][1] for job in jobs]
        for job in jobs:
            job.abandon()
        await asyncio.gather(*tasks, return_exceptions=True)
        for job in jobs:
            if not job.settled:
                await self._store.put_off_response(job.response, 0)

    async def close(self) -> None:
        """Let go of everything. Safe to call twice."""
        await self._habits.stop()
        await self.leave_all()
        await self._beating.stop()
        await self.presence.leave()

    @contextlib.contextmanager
    def foreground(self, project_id: str, response_id: str) -> Iterator[None]:
        """A response is under way here for a client that listens."""
        name = (project_id, response_id)
        self._foreground[name] += 1
        try:
            yield
        finally:
            self._foreground[name] -= 1
            if not self._foreground[name]:
                del self._foreground[name]

    def nudge(self) -> None:
        """There is something to do."""
        self._nudged.set()

    def later(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do this again until it raises no `AntiphonError`: something that must be let go of, and could not be."""
        self._later.append(work)

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
        await self._claim()

    async def _claim(self) -> None:
        """Begin what is free, as far as there is room."""
        await self.presence.fresh()
        now = int(self._clock.now() * 1000)
        missed, self._missed = self._missed, set()
        if missed:
            # To end them takes no room, and nobody should have to wait for it.
            count = len(missed)
            await self._take(await self._store.free_responses(now=now, each=count, limit=count, cancelled=True))
        while (room := limits.MAX_BACKGROUND - len(self._jobs)) > 0:
            free = await self._store.free_responses(now=now, each=room, limit=limits.CLAIM_LOOK)
            mine = Counter(project_id for project_id, _ in self._jobs)
            chosen = choose((each for each in free if not self._under_way(each[:2])), room, mine)
            if not chosen or not await self._take(chosen):
                return

    async def _take(self, free: Sequence[Free]) -> int:
        taken = await self._store.take_responses(self.id, free) if free else []
        for response in taken:
            self._begin(response)
        return len(taken)

    def _under_way(self, name: Name) -> bool:
        return name in self._jobs or name in self._foreground

    def _begin(self, response: StoredResponse) -> None:
        name = (response.project_id, response.id)
        hopeless = self._broken[name] >= limits.MAX_JOB_TRIES
        job = ResponseJob(self._store, self._gate, self._preparer, self._bus, self._clock, response, hopeless=hopeless)
        if name in self._missed:
            job.cancel()
        task = asyncio.create_task(job.run())
        self._jobs[name] = (job, task)

        def done(_: asyncio.Task[None]) -> None:
            self._jobs.pop(name, None)
            if job.settled:
                self._broken.pop(name, None)
            elif job.broke:
                self._broken[name] += 1
            self._bus.publish(name)
            self.nudge()

        task.add_done_callback(done)

    async def _adopt_step(self) -> None:
        """Begin what is this worker's, and not under way here.

        It was taken, but the database did not say so; its job broke; or its client is gone, and its end could not be
        stored.
        """
        await asyncio.sleep(limits.LEASE)
        later, self._later = self._later, []
        for work in later:
            try:
                await work()
            except AntiphonError:
                self._later.append(work)
        before = {*self._jobs, *self._foreground}
        for name in await self._store.held_responses(self.id):
            if name in before or self._under_way(name):
                continue
            response = await self._store.get_response(*name)
            if response is not None and response.owner == self.id and not self._under_way(name):
                self._begin(response)

    async def _beat_step(self) -> None:
        await asyncio.sleep(limits.LEASE_RENEWAL)
        await self.presence.tell_and_listen()

    async def _cancel_step(self) -> None:
        await asyncio.sleep(limits.CANCEL_TICK)
        if self._jobs:
            for name in await self._store.cancelled_responses(self.id):
                self._cancel(name)
