"""The bounded queue in front of the child's slots."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import ceil

from antiphon.domain.errors import Overloaded

#: `Retry-After` stays within these seconds, whatever the estimate says.
_RETRY_MIN, _RETRY_MAX = 1, 30
#: Weight of the newest duration in the running average.
_NEWEST = 0.2


class SlotQueue:
    """`slots` permits, handed out in the order in which they were asked for, and at most `queue` requests waiting.

    Used from one event loop; `clock` gives seconds that never go backwards.
    """

    def __init__(self, slots: int, queue: int, clock: Callable[[], float]) -> None:
        self._free = slots
        self._slots = slots
        self._room = slots + queue
        self._inside = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._clock = clock
        self._average = 1.0

    @property
    def inside(self) -> int:
        """Requests that have a slot or a place in the queue."""
        return self._inside

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._waiters)

    def enter(self) -> Ticket:
        """A place for one request, which its ticket gives back. Raises `Overloaded` if there is none."""
        if self._inside >= self._room:
            wait = ceil((self._inside - self._slots + 1) * self._average / self._slots)
            raise Overloaded(
                "The model is busy and its queue is full. Please try again later.",
                retry_after=min(max(wait, _RETRY_MIN), _RETRY_MAX),
            )
        self._inside += 1
        return Ticket(self)

    async def acquire(self) -> None:
        """Wait for a slot; for tickets."""
        if self._free and not self._waiters:
            self._free -= 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._hand_on()  # the slot had just been given to us
            else:
                self._waiters.remove(waiter)
            raise

    def _hand_on(self) -> None:
        """Give a slot to the first who waits, or put it back."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def leave(self, held_since: float | None) -> None:
        """Give back a place, and the slot that was held since then; for tickets."""
        self._inside -= 1
        if held_since is not None:
            self._average += _NEWEST * (self._clock() - held_since - self._average)
            self._hand_on()

    def now(self) -> float:
        """Seconds of the queue's clock."""
        return self._clock()


class Ticket:
    """One request's place: first in the queue, then, after `acquire`, in a slot."""

    def __init__(self, queue: SlotQueue) -> None:
        self._queue = queue
        self._held_since: float | None = None
        self._left = False

    async def acquire(self) -> None:
        """Wait for a slot."""
        await self._queue.acquire()
        self._held_since = self._queue.now()

    def release(self) -> None:
        """Give everything back. Calling it again changes nothing."""
        if not self._left:
            self._left = True
            self._queue.leave(self._held_since)
