"""The bounded queue in front of the child's slots, and the tokens that the slots share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from antiphon.domain.errors import Overloaded

#: `Retry-After` stays within these seconds, whatever the estimate says.
_RETRY_MIN, _RETRY_MAX = 1, 30
#: Weight of the newest duration in the running average.
_NEWEST = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    granted: asyncio.Future[None]
    tokens: int


class SlotQueue:
    """`slots` permits, handed out in the order in which they were asked for, and at most `queue` requests waiting.

    Requests that have a permit share `pool` tokens. One that needs more than are free waits, and those behind it wait
    as well: a long prompt would never begin if short ones could pass it.

    Used from one event loop; `clock` gives seconds that never go backwards.
    """

    def __init__(self, slots: int, queue: int, pool: int, clock: Callable[[], float]) -> None:
        self._free = slots
        self._slots = slots
        self._pool = pool
        self._tokens = pool
        self._room = slots + queue
        self._inside = 0
        self._waiters: deque[_Waiter] = deque()
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

    @property
    def free_tokens(self) -> int:
        """Tokens of the pool that no request has."""
        return self._tokens

    def enter(self) -> SlotTicket:
        """A place for one request, which its ticket gives back. Raises `Overloaded` if there is none."""
        if self._inside >= self._room:
            wait = ceil((self._inside - self._slots + 1) * self._average / self._slots)
            raise Overloaded(
                "The model is busy and its queue is full. Please try again later.",
                retry_after=min(max(wait, _RETRY_MIN), _RETRY_MAX),
            )
        self._inside += 1
        return SlotTicket(self)

    async def acquire(self, tokens: int, *, first: bool) -> int:
        """Wait for a slot and tokens, before all others if `first`; returns the tokens. For tickets."""
        tokens = min(tokens, self._pool)
        if not self._waiters and self._fits(tokens):
            self._grant(tokens)
            return tokens
        waiter = _Waiter(asyncio.get_running_loop().create_future(), tokens)
        if first:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self.give_back(tokens)  # they had just been given to us
            else:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                self._hand_on()  # the next request may need fewer tokens
            raise
        return tokens

    def take(self, tokens: int) -> bool:
        """More tokens for a request that has a slot, before those that wait; False if too few are free. For tickets."""
        if tokens > self._tokens:
            return False
        self._tokens -= tokens
        return True

    def give_back(self, tokens: int, *, slot: bool = True) -> None:
        """Tokens that are free again, and a slot with them; for tickets."""
        self._free += slot
        self._tokens += tokens
        self._hand_on()

    def leave(self, held_since: float | None, tokens: int) -> None:
        """Give back a place, and the slot and tokens that were held since then; for tickets."""
        self._inside -= 1
        if held_since is not None:
            self._average += _NEWEST * (self._clock() - held_since - self._average)
            self.give_back(tokens)

    def now(self) -> float:
        """Seconds of the queue's clock."""
        return self._clock()

    def _fits(self, tokens: int) -> bool:
        return self._free > 0 and tokens <= self._tokens

    def _grant(self, tokens: int) -> None:
        self._free -= 1
        self._tokens -= tokens

    def _hand_on(self) -> None:
        """Give slots to waiting requests, in their order, as far as slots and tokens are free."""
        while self._waiters and (self._waiters[0].granted.done() or self._fits(self._waiters[0].tokens)):
            waiter = self._waiters.popleft()
            if not waiter.granted.done():
                self._grant(waiter.tokens)
                waiter.granted.set_result(None)


class SlotTicket:
    """One request's place: first in the queue, then, after `acquire`, in a slot."""

    def __init__(self, queue: SlotQueue) -> None:
        self._queue = queue
        self._held_since: float | None = None
        self._tokens = 0
        self._left = False

    @property
    def tokens(self) -> int:
        """Of the shared tokens, those that it has."""
        return self._tokens

    async def acquire(self, tokens: int, *, first: bool = False) -> None:
        """Wait for a slot and this many of the shared tokens (all of them, if there are fewer)."""
        granted = await self._queue.acquire(tokens, first=first)
        if self._left:  # forgotten meanwhile
            self._queue.give_back(granted)
            return
        self._tokens = granted
        self._held_since = self._queue.now()

    def grow(self, tokens: int) -> bool:
        """Have at least this many tokens from now on; False if too few are free, or if it was released."""
        if self._left:
            return False
        more = tokens - self._tokens
        if more > 0:
            if not self._queue.take(more):
                return False
            self._tokens = tokens
        return True

    def empty(self) -> None:
        """Keep the slot and give its tokens back: nothing is in it any more."""
        tokens, self._tokens = self._tokens, 0
        self._queue.give_back(tokens, slot=False)

    def yield_slot(self) -> None:
        """Give back the slot and its tokens, and keep the place in the queue: `acquire` comes again."""
        self._held_since = None
        tokens, self._tokens = self._tokens, 0
        self._queue.give_back(tokens)

    def release(self) -> None:
        """Give everything back. Calling it again changes nothing."""
        if not self._left:
            self._left = True
            tokens, self._tokens = self._tokens, 0
            self._queue.leave(self._held_since, tokens)
