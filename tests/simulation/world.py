"""A small world for background responses: real rules, a real database, time that is only counted, and faults on call.

Everything random comes from one seed, and time passes only when nothing else is to be done; so a seed plays the same
course again.
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
from antiphon.domain.errors import StoreFailed
from antiphon.jobs import kinds
from antiphon.run import backoff
from antiphon.stores.store import SqlStore


class _Selector:
    """Waits for nothing: where nothing is ready, time jumps to the next timer."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._real = selectors.DefaultSelector()
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def select(self, timeout: float | None = None) -> Any:
        events = self._real.select(0)
        if not events and timeout:
            self._loop.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is a number."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        super().__init__(_Selector(self))  # type: ignore[arg-type]  # it has all that a selector needs

    def time(self) -> float:
        return self.now


class VirtualClock:
    """`ports.Clock` over a virtual loop. `wrong`: how far somebody has set the wall clock off (seconds)."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.wrong = 0.0

    def now(self) -> float:
        return self._loop.now + self.wrong

    def monotonic(self) -> float:
        return self._loop.now


def play(main: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    """Run `main` in a virtual loop to its end, and whatever it leaves behind."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(main(loop))
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def predictable_ids(monkeypatch: pytest.MonkeyPatch, chance: random.Random) -> None:
    """Ids decide the order of what was made in the same second, so they too must come from the seed; as do pauses."""
    for module in (kinds, backoff):
        monkeypatch.setattr(module, "random", chance.random)
    monkeypatch.setattr(ids, "random_hex", lambda digits: chance.randbytes(digits // 2).hex())
    monkeypatch.setattr(ids, "time", SimpleNamespace(time=lambda: 0))


class Database:
    """A real store in a real loop of its own. The caller's world stands still while it works."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        #: What time it is for the database (Unix seconds).
        self.clock: Callable[[], float] = lambda: 0.0
        self._store = SqlStore(url, backups=None)
        self._store._database._driver.now_ms = lambda: int(self.clock() * 1000)  # type: ignore[attr-defined]  # SQLite

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the store, and wait."""
        work = getattr(self._store, name)(*args, **kwargs)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def close(self) -> None:
        """End the store and its loop."""
        self.call("close")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Faulty:
    """A store as one server process sees it: some calls fail, before or after they have worked; none once it is dead.

    `rate` is the chance of each of the two.
    """

    def __init__(self, database: Database, chance: random.Random, rate: float) -> None:
        self._database = database
        self._chance = chance
        self.rate = rate
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._time_passes()
            if self._chance.random() < self.rate:
                raise StoreFailed("The database did not answer.")
            result = self._database.call(name, *args, **kwargs)
            await self._time_passes()
            if self._chance.random() < self.rate:
                raise StoreFailed("The database did not say whether it did it.")
            return result

        return call

    async def _time_passes(self) -> None:
        """Others get their turn; and what a dead process does goes nowhere."""
        await asyncio.sleep(0.0005)
        if self.dead:
            await asyncio.get_running_loop().create_future()
