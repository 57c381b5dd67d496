"""One generation that several calls listen to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed, fresh
from antiphon.domain.ids import new_id
from antiphon.domain.route_trace import RouteTrace
from antiphon.policy.call import GenerationContext
from antiphon.protocol.generation import Batch, CallStart, Delta, Finish, Progress, Usage
from antiphon.protocol.streams import Stream


class SharedGeneration:
    """A generation under way. It goes on for as long as somebody listens, whoever asked for it first.

    What it uses is billed to one call, the payer: the one that asked; if that leaves, the next one that listens.
    """

    def __init__(
        self, context: GenerationContext, completed: Callable[[SharedGeneration], Coroutine[Any, Any, None]]
    ) -> None:
        """`context`: the first call's. `completed` is awaited when the answer is whole, before the flight is over."""
        self.deltas: list[Delta] = []
        #: Whether its `Finish` is here, so that nothing more can go wrong.
        self.finished = False
        #: Whether nothing more will come, for whatever reason.
        self.over = False
        self.error: BaseException | None = None
        self.trace: RouteTrace = context.trace
        self._context = context
        self._landed = completed
        self._listeners: list[Subscriber] = []
        self._payer: Subscriber | None = None
        self._news: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._furthest = 0
        self._pump: asyncio.Task[None] | None = None
        #: Whether the engine has taken it on.
        self.begun = False

    @property
    def joinable(self) -> bool:
        """Whether one more call may listen."""
        return (not self.over or self.finished) and len(self._listeners) < limits.CACHE_LISTENERS

    def begin(self, over: Callable[[], None]) -> Subscriber:
        """Ask the engine; the listener is the first call's. `over` is called when nobody may join any more."""
        listener = self._payer = self.listen(self._context)
        self._pump = asyncio.create_task(self._run())
        # Not in the task itself: one that is cancelled before its first step does nothing at all.
        self._pump.add_done_callback(lambda _: self._end(over))
        return listener

    def listen(self, context: GenerationContext) -> Subscriber:
        """One more call listens, from the beginning."""
        listener = Subscriber(self, context)
        self._listeners.append(listener)
        return listener

    async def close(self, patience: float = 0.0) -> None:
        """End it after `patience` seconds, if it has not come to its end by then."""
        if self._pump is not None:
            if patience:
                await asyncio.wait({self._pump}, timeout=patience)
            self._pump.cancel()
            await asyncio.wait({self._pump})

    # --- the engine's side --------------------------------------------------------------------------------------------
    async def _run(self) -> None:
        try:
            await self._fly()
        except asyncio.CancelledError:
            self.error = EngineFailed("The generation was ended.")
        except Exception as error:
            self.error = fresh(error)

    def _end(self, over: Callable[[], None]) -> None:
        self.over = True
        over()
        self.tell()

    async def _fly(self) -> None:
        context = self._context
        stream = await context.route.generate(context.generation, self.trace)
        async with aclosing(stream):
            self.begun = True
            self.tell()
            async for delta in stream:
                if self.finished:
                    continue  # nothing may follow it; the engine is only let come to its own end
                if isinstance(delta, Batch):
                    self.deltas += delta.deltas
                else:
                    self.deltas.append(delta)
                    self.finished = isinstance(delta, Finish)
                self.tell()
                while len(self.deltas) - self._furthest > limits.CACHE_AHEAD and not self.finished:
                    self._room.clear()
                    await self._room.wait()
        if self.finished:
            await self._landed(self)

    # --- the listeners' side ------------------------------------------------------------------------------------------
    def tell(self) -> None:
        """There is something new: wake all who wait for it."""
        if self._news is not None:
            self._news.set_result(None)
            self._news = None

    async def news(self) -> None:
        """Wait for something new."""
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        # Others wait for the same one: a waiter that is cancelled must not take it from them.
        await asyncio.shield(self._news)

    def taken(self, count: int) -> None:
        """A listener has taken so many deltas."""
        if count > self._furthest:
            self._furthest = count
            self._room.set()

    async def leave(self, listener: Subscriber) -> None:
        """A listener goes; the last one ends the generation, unless it has come to its end."""
        self._listeners.remove(listener)
        paying = listener is self._payer
        if self.finished or self.over or not self._listeners:
            if paying:
                self._settle(listener)
                self._payer = None
            if not (self.finished or self.over):
                await self.close()
            return
        if paying:
            self._hand_over(listener)
        # The fastest may have gone; the others decide now how far ahead it may be.
        self._furthest = max((each.at for each in self._listeners), default=0)
        self._room.set()

    def _settle(self, payer: Subscriber) -> None:
        """The payer leaves before it has taken all that was made: that is billed all the same."""
        context = payer.context
        for delta in self.deltas[payer.at :]:
            context.first_at = context.first_at or time.monotonic()
            if isinstance(delta, Finish):
                context.usage = delta.usage.bounded()
            else:
                context.generated_text.add(getattr(delta, "text", ""))

    def _hand_over(self, leaver: Subscriber) -> None:
        """The next listener pays for the whole, and who leaves for nothing: so it is billed once."""
        next_payer = self._payer = self._listeners[0]
        leaver.context.usage = Usage()
        next_payer.context.cached = False
        next_payer.context.usage = None


class Subscriber(Stream[Delta]):
    """One call's view of a flight: all its deltas, from the first."""

    def __init__(self, flight: SharedGeneration, context: GenerationContext) -> None:
        self.context = context
        #: How many deltas it has taken.
        self.at = 0
        self._flight = flight
        self._closed = False

    async def admitted(self) -> None:
        """Wait until the engine has taken the generation on. Raises what it refuses it with."""
        flight = self._flight
        while not (flight.begun or flight.over):
            await flight.news()
        if not flight.begun and flight.error is not None:
            raise fresh(flight.error)

    async def under_way(self) -> bool:
        """Wait for the first delta. False: there will be none, and another way to an answer is to be found."""
        flight = self._flight
        while not (flight.deltas or flight.over):
            await flight.news()
        return bool(flight.deltas)

    async def __anext__(self) -> Delta:
        flight = self._flight
        while not self._closed:
            if self.at < len(flight.deltas):
                delta = self._take()
                if isinstance(delta, Progress) and not self.context.generation.track:
                    continue
                return delta
            if flight.over or flight.finished:
                break
            await flight.news()
        if flight.error is not None and not flight.finished and not self._closed:
            raise fresh(flight.error)
        raise StopAsyncIteration

    def _take(self) -> Delta:
        """What is next; all that is there at once, for who can take that."""
        deltas, generation = self._flight.deltas, self.context.generation
        count = whole(deltas, self.at) if generation.batches else 1
        piece = deltas[self.at : self.at + count]
        self.at += count
        self._flight.taken(self.at)
        return joined(map(as_new, piece) if self.context.cached else piece)

    async def aclose(self) -> None:
        """Listen no more. Safe to call twice."""
        if not self._closed:
            self._closed = True
            await self._flight.leave(self)


def whole(deltas: Sequence[Delta], start: int) -> int:
    """How many deltas from `start` on may stand in one `Batch`: an answer's own, without its end. At least one."""
    count = 0
    for delta in deltas[start : start + limits.CACHE_BATCH]:
        if isinstance(delta, Finish | Progress):
            break
        count += 1
    return count or 1


def joined(deltas: Iterable[Delta]) -> Delta:
    """One delta as it is, several as a `Batch`."""
    first, *others = deltas
    return Batch((first, *others)) if others else first  # type: ignore[arg-type]  # as `whole` has chosen them


def as_new(delta: Delta) -> Delta:
    """The delta as if it had been made for this call: a tool's call has an id that no other answer has."""
    return msgspec.structs.replace(delta, call_id=new_id("call_")) if isinstance(delta, CallStart) else delta
