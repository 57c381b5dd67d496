"""An answer under way: its target's load and health follow it, and no wait of it is longer than it may be."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from antiphon.domain.errors import AntiphonError, DeadlineExceeded, EngineFailed, RateLimited
from antiphon.engines.routed.health import Health
from antiphon.engines.routed.retry import blames_target, malformed, rest, retry
from antiphon.engines.timer import WaitTimer
from antiphon.ports import Clock
from antiphon.protocol.generation import Delta, Finish
from antiphon.protocol.streams import Stream


class TargetLease:
    """One call of a target. It is settled once: its outcome is noted in the target's health."""

    __slots__ = ("_answering", "_clock", "_health", "_open", "_probe")

    def __init__(self, health: Health, clock: Clock) -> None:
        self._health = health
        self._clock = clock
        self._probe = health.breaker.enter(clock.monotonic())
        self._open = True
        self._answering = False
        health.outstanding += 1
        health.calls += 1

    def answers(self, seconds: float) -> None:
        """Its first token has come, after so long. A probe need not wait for the last one."""
        now = self._clock.monotonic()
        self._answering = True
        self._health.measured(seconds, now)
        if self._probe:
            self._probe = False
            self._health.breaker.succeeded(now)

    def finished(self) -> None:
        """The answer is whole."""
        if self._settle():
            self._health.breaker.succeeded(self._clock.monotonic())

    def failed(self, error: BaseException) -> None:
        """It has ended with this."""
        if not self._settle():
            return
        now = self._clock.monotonic()
        breaker = self._health.breaker
        if not isinstance(error, AntiphonError):
            breaker.abandoned(probe=self._probe)
            return
        if wait := rest(error):
            self._health.rest(now + wait, limited=isinstance(error, RateLimited))
        if blames_target(error, answering=self._answering):
            self._health.failures += 1
            breaker.failed(now, probe=self._probe)
        elif isinstance(error, RateLimited) or retry(error) == "at once" or malformed(error):
            breaker.abandoned(probe=self._probe)
        else:  # it was there, and has said what is wrong with the request
            breaker.succeeded(now)

    def abandoned(self) -> None:
        """The answer was given up: its client has gone, or another target is asked."""
        if self._settle():
            self._health.breaker.abandoned(probe=self._probe)

    def _settle(self) -> bool:
        if not self._open:
            return False
        self._open = False
        self._health.outstanding -= 1
        return True


@dataclass(frozen=True, slots=True)
class StreamDeadlines:
    """How long a stream may take between two deltas (seconds), and until when as a whole (time of the loop)."""

    between: float = math.inf
    until: float = math.inf


class TargetStream(Stream[Delta]):
    """The stream of an answer whose first delta has come. Raises `DeadlineExceeded` where it takes too long.

    `deadlines`: None for an engine that keeps its deadlines itself.
    """

    def __init__(
        self, first: Delta, stream: AsyncGenerator[Delta, None], lease: TargetLease, deadlines: StreamDeadlines | None
    ) -> None:
        self._first: Delta | None = first
        self._stream = stream
        self._lease = lease
        self._deadlines = deadlines
        self._timer: WaitTimer | None = None
        self._task: asyncio.Task[object] | None = None
        self._late = False
        self._finished = False

    async def __anext__(self) -> Delta:
        if self._first is not None:
            delta, self._first = self._first, None
        else:
            try:
                delta = await (
                    self._stream.__anext__() if self._deadlines is None else self._next_in_time(self._deadlines)
                )
            except StopAsyncIteration:
                if not self._finished:  # it was broken off; the driver says so
                    self._end(EngineFailed("The answer ended without its end."))
                raise
            except BaseException as error:
                self._end(error)
                raise
        if isinstance(delta, Finish):
            self._finished = True
            self._lease.finished()
            if self._timer is not None:
                self._timer.close()
        return delta

    async def _next_in_time(self, deadlines: StreamDeadlines) -> Delta:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        if self._timer is None:
            self._timer = WaitTimer(loop, self._expire)
        self._task = task
        cancels = task.cancelling()
        self._timer.wait(min(loop.time() + deadlines.between, deadlines.until))
        try:
            return await self._stream.__anext__()
        except asyncio.CancelledError:
            # A cancel that came from elsewhere goes on.
            if self._late and task.uncancel() <= cancels:
                raise DeadlineExceeded("The model took too long: its next token, or the whole answer.") from None
            raise
        finally:
            self._timer.rest()
            self._task = None

    def _expire(self) -> None:
        if self._task is not None:
            self._late = True
            self._task.cancel()

    def _end(self, error: BaseException) -> None:
        self._lease.failed(error)
        if self._timer is not None:
            self._timer.close()

    async def aclose(self) -> None:
        """End the generation now."""
        self._first = None
        self._lease.abandoned()
        if self._timer is not None:
            self._timer.close()
        await self._stream.aclose()

    def __del__(self) -> None:
        self._lease.abandoned()
