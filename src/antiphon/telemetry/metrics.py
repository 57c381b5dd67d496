"""Plain instruments: what is counted on the hot path is a few additions, and no lock.

They are written and read in one thread, the event loop's. A library's own counters take a lock for each addition, which
costs as much as all of these together.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from antiphon.tasks import end

#: Upper bounds of the histograms' buckets, in seconds: from a cached answer to a long generation.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

Key = TypeVar("Key", bound=Hashable)
Row = TypeVar("Row")


class Histogram:
    """How often a time was in which bucket, and the sum of all (seconds). The last count is beyond all bounds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Note a time."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Bounds as text, with how many times were not above each; the last bound is "+Inf"."""
        result: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            below += count
            result.append((bound, below))
        return result


class Count:
    """A sum."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Table(Generic[Key, Row]):
    """A row for each of the first so many combinations of labels, and one more for all others."""

    def __init__(self, make: Callable[[], Row], other: Key, *, most: int) -> None:
        """`other`: the labels that are shown for all further combinations."""
        self._make = make
        self._other = other
        self._most = most
        self._rows: dict[Key, Row] = {}

    def __getitem__(self, key: Key) -> Row:
        """The row of these labels."""
        row = self._rows.get(key)
        return self._new(key) if row is None else row

    def _new(self, key: Key) -> Row:
        if len(self._rows) >= self._most:
            key = self._other
        return self._rows.setdefault(key, self._make())

    def __iter__(self) -> Iterator[tuple[Key, Row]]:
        """All rows."""
        return iter(list(self._rows.items()))

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)


class LoopLag:
    """How late the event loop is: a clock that rings every so many seconds, and by how much it was late."""

    def __init__(self, every: float) -> None:
        self._every = every
        self.seconds = Histogram()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to measure, in the running loop."""
        self._task = asyncio.create_task(self._measure(), name="loop lag")

    async def stop(self) -> None:
        """End. Safe to call twice, and if it was never started."""
        if self._task is not None:
            await end(self._task)
            self._task = None

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._every
            await asyncio.sleep(self._every)
            self.seconds.observe(max(0.0, loop.time() - due))
