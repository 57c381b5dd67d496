"""Keeps one child running: starts it, watches it, starts it again.

stopped ──start, or the first request──► starting ──► ready
   ▲                                       ▲  │         │ the process ended
   │ stop                                  │  ▼         ▼
   └──────────── from anywhere ──────  crashed (waits a little) ──too often, or it said why──► down
                                                                down ──the next request──► starting
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from typing import Generic, Protocol, TypeVar

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed, EngineUnavailable
from antiphon.engines.llama.process import ChildGone, ChildProcess
from antiphon.tasks import end

_log = logging.getLogger("antiphon.engines.llama")

#: The first wait after a crash; it doubles with each one in a row, up to the second value.
_BACKOFF, _BACKOFF_MAX = 0.1, 5.0
#: A child that was ready for this long ends a row of crashes.
_STABLE_AFTER = 30.0
#: After the engine was left down, requests are refused at once for this long before one may try again. It doubles each
#: time in a row, up to the second value.
_DOWN_FOR, _DOWN_MAX = 2.0, 30.0
_MOST_DOWNS = 10
#: The end of a process is noticed within this time after its sockets have closed.
_NOTICE_TIMEOUT = 2.0


class State(Enum):
    """Where the supervisor stands."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    CRASHED = "crashed"
    DOWN = "down"


class _Connection(Protocol):
    async def watch(self) -> str:
        """Watch the child; returns why it must be replaced."""

    async def close(self) -> None:
        """Let go of it."""


C = TypeVar("C", bound=_Connection)


class Supervisor(Generic[C]):
    """Supervises children made by `launch`; `connect` makes of a new child what callers use to speak to it.

    Used from one event loop.
    """

    def __init__(
        self,
        launch: Callable[[], Awaitable[ChildProcess]],
        connect: Callable[[ChildProcess], Awaitable[C]],
        *,
        backoff: float = _BACKOFF,
        down_for: float = _DOWN_FOR,
    ) -> None:
        self._launch = launch
        self._connect = connect
        self._backoff = backoff
        self._down_for = down_for
        self._state = State.STOPPED
        self._changed = asyncio.Event()
        self._child: ChildProcess | None = None
        self._connection: C | None = None
        self._runner: asyncio.Task[None] | None = None
        self._down_until = 0.0
        self._downs = 0

    @property
    def state(self) -> State:
        """Where it stands now."""
        return self._state

    @property
    def pid(self) -> int | None:
        """The child's process number, while there is one."""
        return self._child.pid if self._child is not None else None

    async def connection(self) -> C:
        """The way to a child that is ready; starts one if there is none.

        Raises `EngineUnavailable` if it cannot be started, or not within `limits.ENGINE_START_TIMEOUT`.
        """
        if self._state is State.READY and self._connection is not None:
            return self._connection
        if self._runner is None or self._runner.done():
            if asyncio.get_running_loop().time() < self._down_until:
                raise EngineUnavailable("The local model could not be started; the server's log says why.")
            self._set(State.STARTING)
            self._runner = asyncio.create_task(self._run(), name="llama-supervisor")
        try:
            async with asyncio.timeout(limits.ENGINE_START_TIMEOUT):
                while self._state in {State.STARTING, State.CRASHED}:
                    await self._changed.wait()
        except TimeoutError:
            raise EngineUnavailable("The local model is still starting.") from None
        if self._connection is None:
            raise EngineUnavailable("The local model could not be started; the server's log says why.")
        return self._connection

    async def replaced(self, connection: C) -> bool:
        """Whether the child of a connection that just failed is gone (noticed a moment after its sockets close)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_NOTICE_TIMEOUT):
                while self._connection is connection:
                    await self._changed.wait()
        return self._connection is not connection

    def kill(self) -> None:
        """End a child that hangs; it is started again as after a crash."""
        if self._child is not None:
            self._child.kill()

    async def stop(self) -> None:
        """End the child and everything that watches it. Safe to call twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await end(runner)
        self._down_until = 0.0
        self._set(State.STOPPED)

    def _set(self, state: State) -> None:
        self._state = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _run(self) -> None:
        """Keep a child running until it is hopeless."""
        loop = asyncio.get_running_loop()
        crashes = 0
        while crashes <= limits.ENGINE_MAX_RESTARTS:
            self._set(State.STARTING)
            ready_at = None
            try:
                ready_at = await self._one_life()
            except ChildGone as gone:
                _log.error("the local model's process did not start: %s", gone)
                if gone.reason is not None:
                    break  # a file that cannot be loaded now cannot be loaded in a second either
            except EngineFailed as error:
                _log.error("the local model's process does not work: %s", error)
            except TimeoutError:
                _log.error("the local model's process took too long to start")
                break
            except Exception as error:  # whatever the system refuses: processes, memory, files
                _log.error("the local model's process cannot be started: %s: %s", type(error).__name__, error)
                break
            if ready_at is not None and loop.time() - ready_at > _STABLE_AFTER:
                crashes = 0
            self._set(State.CRASHED)
            await asyncio.sleep(min(self._backoff * 2**crashes, _BACKOFF_MAX))
            crashes += 1
        self._down_until = loop.time() + min(self._down_for * 2**self._downs, _DOWN_MAX)
        self._downs = min(self._downs + 1, _MOST_DOWNS)
        self._set(State.DOWN)

    async def _one_life(self) -> float:
        """Start a child, serve with it until it ends; returns the loop's time at which it was ready."""
        child = await self._launch()
        self._child = child
        try:
            self._connection = await self._connect(child)
            ready_at = asyncio.get_running_loop().time()
            self._downs = 0
            self._set(State.READY)
            code = await _end_of(child, self._connection)
            _log.error("the local model's process ended (exit code %s) and is started again", code)
            for line in child.last_words():
                _log.error("it said: %s", line)
        finally:
            connection, self._connection = self._connection, None
            if self._state is State.READY:
                self._set(State.CRASHED)  # at once: requests that come while we tidy up wait for the next child
            if connection is not None:
                await connection.close()
            await child.end()
            self._child = None
        return ready_at


async def _end_of(child: ChildProcess, connection: _Connection) -> int:
    """Wait until the child ends, or end it when it must be replaced; returns the exit code."""
    ended = asyncio.create_task(child.wait())
    watching = asyncio.create_task(connection.watch(), name="llama-watch")
    try:
        await asyncio.wait({ended, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            _log.error("the local model's process hangs and is ended: %s", watching.result())
            child.kill()
        return await ended
    finally:
        await end(watching)
        await end(ended)
