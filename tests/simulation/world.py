"""A small world of servers: real rules, a real database, time that is only counted, and faults on call.

Each server is a `Process`: an event loop of its own, which this module's scheduler lets go one step at a time. So a
whole process can stand still, with all its tasks, while others go on; it can be killed between any two steps; and its
clocks can be wrong. Everything random comes from one seed, and time passes only when nothing else is to be done; so a
seed plays the same course again.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import threading
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from antiphon.domain import ids
from antiphon.domain.errors import StoreFailed, StoreUnavailable
from antiphon.jobs import kinds, presence, sweeps
from antiphon.run import backoff
from antiphon.stores.store import SqlStore

#: When courses begin (Unix seconds): in the middle of a day and a month, so that no budget's window ends by itself.
BEGINNING = 1_700_049_600.0


#: Most databases that fail cannot be reached.
_FAULTS = (StoreUnavailable, StoreUnavailable, StoreFailed)


class World:
    """The time that is the same for all (`now`: seconds since the beginning), and the processes."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = 0.0
        self.processes: list[Process] = []

    def process(self) -> Process:
        """A new process."""
        process = Process(self)
        self.processes.append(process)
        return process

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `main`, in a process that nothing ever happens to, to its end. Then end what is left of the others."""
        director = self.process()
        task = director.spawn(main())
        try:
            while not task.done():
                self._step()
            task.result()
        finally:
            for process in self.processes:
                process.end()

    def _step(self) -> None:
        """Let every process that has something to do go one step; if there is none, let time pass."""
        alive = [process for process in self.processes if not process.dead]
        ready = [process for process in alive if process.ready()]
        self.chance.shuffle(ready)
        for process in ready:
            process.step()
        if not ready:
            times = [process.next_time() for process in alive]
            self.now = max(self.now, min(time for time in times if time is not None))


class _Selector:
    """Waits for nothing."""

    def __init__(self, process: Process) -> None:
        self._real = selectors.DefaultSelector()
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def select(self, timeout: float | None = None) -> Any:
        events = self._real.select(0)
        if self._process.ending and not events and timeout:
            self._process.world.now += timeout
        return events


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, process: Process) -> None:
        self._process = process
        super().__init__(_Selector(process))  # type: ignore[arg-type]  # it has all that a selector needs

    def time(self) -> float:
        return self._process.monotonic()


class Process:
    """One server process: its event loop, and how its clocks are wrong.

    `wrong`: seconds that its wall clock is ahead. It is also a `ports.Clock`, as the process sees it.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.wrong = 0.0
        self.dead = False
        self.ending = False
        self._slept = 0.0
        self._stalled_until = 0.0
        self._loop: Any = _Loop(self)

    # --- its clocks ---------------------------------------------------------------------------------------------------
    def now(self) -> float:
        """The wall clock."""
        return BEGINNING + self.world.now + self.wrong

    def monotonic(self) -> float:
        """The other clock, which stands still while the machine sleeps."""
        return self.world.now - self._slept

    # --- what happens to it -------------------------------------------------------------------------------------------
    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task in this process."""
        task: asyncio.Task[None] = self._loop.create_task(work)
        return task

    def crash(self) -> None:
        """End as a process does that is killed: nothing more happens, nothing is put in order."""
        self.dead = True

    def stall(self, seconds: float, *, asleep: bool) -> None:
        """Stand still, with all tasks, unless it does. `asleep`: the machine does, and with it the monotonic clock."""
        if self.world.now < self._stalled_until:
            return
        self._stalled_until = self.world.now + seconds
        if asleep:
            self._slept += seconds

    # --- for the scheduler --------------------------------------------------------------------------------------------
    def ready(self) -> bool:
        """Whether it has something to do now."""
        if self.world.now < self._stalled_until:
            return False
        timers = self._loop._scheduled
        # To within what a sum of such numbers is rounded by, as the loop has it.
        return bool(self._loop._ready) or bool(timers and timers[0].when() <= self.monotonic() + 1e-9)

    def next_time(self) -> float | None:
        """When it has something to do, if nothing else happens; None: never."""
        if self.world.now < self._stalled_until:
            return self._stalled_until
        timers = self._loop._scheduled
        return float(timers[0].when()) + self._slept if timers else None

    def step(self) -> None:
        """Run what is ready, once."""
        self._loop.call_soon(self._loop.stop)
        self._loop.run_forever()

    def end(self) -> None:
        """Cancel all that is left in it, and forget it."""
        self.dead = self.ending = True
        while left := asyncio.all_tasks(self._loop):
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(left))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


def predictable(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Ids decide the order of what was made in the same second, so they too must come from the seed; as do pauses."""
    chance = random.Random(world.chance.random())
    for module in (backoff, kinds, sweeps):
        monkeypatch.setattr(module, "random", chance.random)
    monkeypatch.setattr(ids, "random_hex", lambda digits: chance.randbytes(digits // 2).hex())
    monkeypatch.setattr(ids, "time", SimpleNamespace(time=lambda: 0))
    monkeypatch.setattr(presence, "secrets", SimpleNamespace(token_hex=lambda size: chance.randbytes(size).hex()))


class Database:
    """A real store in a real loop of its own. The caller's world stands still while it works.

    Its clock is the world's: that of a server apart from all others.
    """

    def __init__(self, url: str, world: World) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._store = SqlStore(url, backups=None)
        driver: Any = self._store._database._driver
        driver.now_ms = lambda: int((BEGINNING + world.now) * 1000)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the store, and wait."""
        work = getattr(self._store, name)(*args, **kwargs)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def select(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a statement of the test's own."""

        def read(session: Any) -> list[tuple[Any, ...]]:
            session._cursor.execute(query, {})
            return [tuple(row) for row in session._cursor.fetchall()]

        work = self._store._database.read(read)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def close(self) -> None:
        """End the store and its loop."""
        self.call("close")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Faulty:
    """A store as one process sees it: some calls fail, before or after they have worked.

    `rate` is the chance of each of the two.
    """

    def __init__(self, database: Database, process: Process, rate: float) -> None:
        self._database = database
        self._process = process
        self._chance = process.world.chance
        self.rate = rate

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._time_passes()
            if self._chance.random() < self.rate:
                raise self._chance.choice(_FAULTS)("The database did not answer.")
            result = self._database.call(name, *args, **kwargs)
            await self._time_passes()
            if self._chance.random() < self.rate:
                raise self._chance.choice(_FAULTS)("The database did not say whether it did it.")
            return result

        return call

    async def _time_passes(self) -> None:
        """Others do something meanwhile; and what a dead process does goes nowhere."""
        await asyncio.sleep(self._chance.uniform(0.0002, 0.002))
        if self._process.dead:
            raise StoreFailed("This process is dead.")
