"""One generation whose answer several equal calls get, each through a subscription of its own ("single flight")."""

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
    """A generation under way. It goes on for as long as it has a subscriber, even if the call that began it has left.

    What it uses is billed to one call, the payer: the one that began it; if that leaves, the next subscriber.
    """

    def __init__(
        self, context: GenerationContext, completed: Callable[[SharedGeneration], Coroutine[Any, Any, None]]
    ) -> None:
        """`context`: the first call's. `completed` is awaited when the answer is complete, before `over`."""
        self.deltas: list[Delta] = []
        #: Whether its `Finish` is here, so that nothing more can go wrong.
        self.finished = False
        #: Whether nothing more will come, for whatever reason.
        self.over = False
        self.error: BaseException | None = None
        self.trace: RouteTrace = context.trace
        self._context = context
        self._completed = completed
        self._subscribers: list[Subscriber] = []
        self._payer: Subscriber | None = None
        self._changed: asyncio.Future[None] | None = None
        self._wanted = asyncio.Event()
        self._furthest = 0
        self._pump: asyncio.Task[None] | None = None
        #: Whether the engine has accepted it.
        self.begun = False

    @property
    def joinable(self) -> bool:
        """Whether one more call may subscribe."""
        return (not self.over or self.finished) and len(self._subscribers) < limits.CACHE_SUBSCRIBERS

    def begin(self, over: Callable[[], None]) -> Subscriber:
        """Ask the engine; the subscriber is the first call's. `over` is called when nobody may join any more."""
        subscriber = self._payer = self.subscribe(self._context)
        self._pump = asyncio.create_task(self._run())
        # Not in the task itself: one that is cancelled before its first step does nothing at all.
        self._pump.add_done_callback(lambda _: self._end(over))
        return subscriber

    def subscribe(self, context: GenerationContext) -> Subscriber:
        """One more subscriber, which gets the answer from its beginning."""
        subscriber = Subscriber(self, context)
        self._subscribers.append(subscriber)
        return subscriber

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
            await self._generate()
        except asyncio.CancelledError:
            self.error = EngineFailed("The generation was ended.")
        except Exception as error:
            self.error = fresh(error)

    def _end(self, over: Callable[[], None]) -> None:
        self.over = True
        over()
        self.notify()

    async def _generate(self) -> None:
        context = self._context
        stream = await context.route.generate(context.generation, self.trace)
        async with aclosing(stream):
            self.begun = True
            self.notify()
            async for delta in stream:
                if self.finished:
                    continue  # nothing may follow it; the engine is only let come to its own end
                if isinstance(delta, Batch):
                    self.deltas += delta.deltas
                else:
                    self.deltas.append(delta)
                    self.finished = isinstance(delta, Finish)
                self.notify()
                while len(self.deltas) - self._furthest > limits.CACHE_AHEAD and not self.finished:
                    self._wanted.clear()
                    await self._wanted.wait()
        if self.finished:
            await self._completed(self)

    # --- the subscribers' side ----------------------------------------------------------------------------------------
    def notify(self) -> None:
        """Wake the subscribers that wait for something new."""
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    async def changed(self) -> None:
        """Wait for something new."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        # Others wait for the same one: a waiter that is cancelled must not take it from them.
        await asyncio.shield(self._changed)

    def note_taken(self, count: int) -> None:
        """Note how many deltas a subscriber has taken."""
        if count > self._furthest:
            self._furthest = count
            self._wanted.set()

    async def leave(self, subscriber: Subscriber) -> None:
        """Remove a subscriber; with the last one, the generation ends, unless it is complete."""
        self._subscribers.remove(subscriber)
        paying = subscriber is self._payer
        if self.finished or self.over or not self._subscribers:
            if paying:
                self._settle(subscriber)
                self._payer = None
            if not (self.finished or self.over):
                await self.close()
            return
        if paying:
            self._hand_over(subscriber)
        # The fastest may have gone; the others decide now how far ahead it may be.
        self._furthest = max((each.at for each in self._subscribers), default=0)
        self._wanted.set()

    def _settle(self, payer: Subscriber) -> None:
        """Bill the payer, which leaves early, for the deltas that it has not taken."""
        context = payer.context
        for delta in self.deltas[payer.at :]:
            context.first_at = context.first_at or time.monotonic()
            if isinstance(delta, Finish):
                context.usage = delta.usage.bounded()
            else:
                context.generated_text.add(getattr(delta, "text", ""))

    def _hand_over(self, leaver: Subscriber) -> None:
        """Make the next subscriber the payer of all of it, so that it is billed once."""
        next_payer = self._payer = self._subscribers[0]
        leaver.context.usage = Usage()
        next_payer.context.cached = False
        next_payer.context.usage = None


class Subscriber(Stream[Delta]):
    """One call's stream of a shared generation: all its deltas, from the first."""

    def __init__(self, shared: SharedGeneration, context: GenerationContext) -> None:
        self.context = context
        #: How many deltas it has taken.
        self.at = 0
        self._shared = shared
        self._closed = False

    async def admitted(self) -> None:
        """Wait until the engine has accepted the generation. Raises what it refuses it with."""
        shared = self._shared
        while not (shared.begun or shared.over):
            await shared.changed()
        if not shared.begun and shared.error is not None:
            raise fresh(shared.error)

    async def under_way(self) -> bool:
        """Wait for the first delta. False: there will be none, and another way to an answer is to be found."""
        shared = self._shared
        while not (shared.deltas or shared.over):
            await shared.changed()
        return bool(shared.deltas)

    async def __anext__(self) -> Delta:
        shared = self._shared
        while not self._closed:
            if self.at < len(shared.deltas):
                delta = self._take()
                if isinstance(delta, Progress) and not self.context.generation.track:
                    continue
                return delta
            if shared.over or shared.finished:
                break
            await shared.changed()
        if shared.error is not None and not shared.finished and not self._closed:
            raise fresh(shared.error)
        raise StopAsyncIteration

    def _take(self) -> Delta:
        """What is next; all that is there at once, for who can take that."""
        deltas, generation = self._shared.deltas, self.context.generation
        count = whole(deltas, self.at) if generation.batches else 1
        piece = deltas[self.at : self.at + count]
        self.at += count
        self._shared.note_taken(self.at)
        return joined(map(as_new, piece) if self.context.cached else piece)

    async def aclose(self) -> None:
        """Listen no more. Safe to call twice."""
        if not self._closed:
            self._closed = True
            await self._shared.leave(self)


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
