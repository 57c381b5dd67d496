"""For whom work is done: what many share is given to each of them in turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextvars import ContextVar

from antiphon.domain.errors import Overloaded

#: The project that the running call belongs to; "" outside of any.
WHOSE: ContextVar[str] = ContextVar("whose", default="")


class FairLock:
    """A lock that is handed on to each project in turn, however many of its calls wait. Used from one event loop."""

    def __init__(self, most_waiting: int) -> None:
        """`most_waiting`: calls of one project that may wait."""
        self._most = most_waiting
        self._held = False
        #: Who had the last turn: others come first.
        self._last = ""
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def __aenter__(self) -> None:
        """Wait for a turn. Raises `Overloaded` if too many calls of the same project wait already."""
        whose = WHOSE.get()
        if not self._held:
            self._held = True
            self._last = whose
            return
        queue = self._waiting.setdefault(whose, deque())
        if len(queue) >= self._most:
            raise Overloaded("Too many schemas of this project wait to be compiled. Please retry shortly.")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._hand_on()  # the turn came, and nobody was there any more
            elif whose in self._waiting and turn in self._waiting[whose]:
                self._waiting[whose].remove(turn)
                if not self._waiting[whose]:
                    del self._waiting[whose]
            raise

    async def __aexit__(self, *_: object) -> None:
        self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting:
            if self._last in self._waiting:
                self._waiting.move_to_end(self._last)
            whose, queue = self._waiting.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._waiting[whose] = queue  # behind all others
            if not turn.done():
                self._last = whose
                turn.set_result(None)
                return
        self._held = False
