"""The one driver: facts go into a machine, its events come out, and what must be kept is kept first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from antiphon.domain.errors import AntiphonError, EngineFailed
from antiphon.protocol.events import Event, MachineError
from antiphon.protocol.generation import Progress
from antiphon.telemetry.logs import logger

F = TypeVar("F")
F_co = TypeVar("F_co", covariant=True)

_log = logger(__name__)


class MachineInput(Protocol[F_co]):
    """What a machine is fed. `aclose` ends the generation behind it, whether it was begun or not."""

    def __aiter__(self) -> AsyncIterator[F_co]:
        """Fact by fact."""

    async def aclose(self) -> None:
        """End it now."""


class Machine(Protocol):
    """What the driver needs of a surface's protocol machine."""

    unsaved: bool
    error: AntiphonError | None

    @property
    def ended(self) -> bool:
        """Whether the terminal state is reached."""

    def feed(self, fact: Any) -> list[Event]:
        """Take one fact, of the kind that this machine knows."""

    def fault(self, error: AntiphonError) -> list[Event]:
        """End because something broke."""

    def cancel(self) -> list[Event]:
        """End because nobody wants it any more."""


class Persister:
    """Decides what is stored, and when. This one stores nothing."""

    async def keep(self, events: list[Event]) -> None:
        """Make durable what these events tell, before they are sent."""

    def note(self, progress: bytes) -> None:
        """Remember how far the engine had come, until the next `keep`."""

    async def leave(self, machine: Machine) -> None:
        """Settle a machine whose driver was closed before its end: by default, cancel it."""
        await self.keep(machine.cancel())


async def drive(
    machine: Machine, opening: list[Event], facts: MachineInput[Any], persister: Persister
) -> AsyncGenerator[list[Event], None]:
    """Run a machine to its end, after the events it has opened with.

    Each list of events is yielded only after the persister has what it tells. A fault of the engine becomes the
    machine's terminal event; a fault of the store is raised, since nothing more may be said then. Closing this
    generator ends the generation.
    """
    try:
        if opening:
            await persister.keep(opening)
            yield opening
        async with contextlib.aclosing(_steps(machine, facts, persister)) as steps:
            async for events in steps:
                # Not within the reach of any `except`: what could not be kept must not be followed by anything.
                await persister.keep(events)
                yield events
    finally:
        await _settle(machine, facts, persister)


async def _steps(machine: Machine, facts: MachineInput[Any], persister: Persister) -> AsyncGenerator[list[Event], None]:
    """The machine's events for each fact; for a fault, those of its end."""
    try:
        async for fact in facts:
            if isinstance(fact, Progress):
                persister.note(fact.state)
            elif events := machine.feed(fact):
                yield events
        if not machine.ended:
            raise EngineFailed("The model ended its answer without saying that it was finished.")
    except Exception as error:
        if machine.ended:
            raise
        fault = as_fault(error)
    else:
        return
    yield machine.fault(fault)


async def finish(machine: Machine, opening: list[Event], facts: MachineInput[Any], persister: Persister) -> None:
    """Run a machine to its end for a caller who wants the result only. Raises what broke the generation."""
    events = drive(machine, opening, facts, persister)
    try:
        async for _ in events:
            pass
    finally:
        await events.aclose()
    if machine.error is not None:
        raise machine.error


async def _settle(machine: Machine, facts: MachineInput[Any], persister: Persister) -> None:
    """Free the engine's slot, and give a response that was left the status it has earned."""
    try:
        if not machine.ended:
            # The client's task may be cancelled already; what it was told must still be kept.
            await asyncio.shield(asyncio.ensure_future(persister.leave(machine)))
    finally:
        await facts.aclose()


def as_fault(error: Exception) -> AntiphonError:
    """What a client is told of whatever broke a generation."""
    if isinstance(error, AntiphonError):
        return error
    kind = "engine broke the protocol" if isinstance(error, MachineError) else "generation failed"
    _log.error(kind, error=type(error).__name__, exc_info=error)
    return EngineFailed("The server had an error while processing your request.")


class Merged(Generic[F]):
    """Several generations side by side, each delta with its stream's index. The first error ends them all."""

    def __init__(self, streams: Sequence[AsyncGenerator[F, None]]) -> None:
        self._streams = streams
        self._inner = _merge(streams)

    def __aiter__(self) -> AsyncIterator[tuple[int, F]]:
        return self._inner

    async def aclose(self) -> None:
        """End them all, also those that nobody has begun to read."""
        await self._inner.aclose()
        if len(self._streams) == 1:
            await self._streams[0].aclose()
            return
        # Each of them, whatever becomes of another: all have been asked for.
        outcomes = await asyncio.gather(*(stream.aclose() for stream in self._streams), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome


async def _merge(streams: Sequence[AsyncGenerator[F, None]]) -> AsyncGenerator[tuple[int, F], None]:
    if len(streams) == 1:
        async for delta in streams[0]:
            yield 0, delta
        return
    queue: asyncio.Queue[tuple[int, F | Exception | None]] = asyncio.Queue(maxsize=4 * len(streams))

    async def pump(index: int, stream: AsyncGenerator[F, None]) -> None:
        try:
            async for delta in stream:
                await queue.put((index, delta))
            await queue.put((index, None))
        except Exception as error:
            await queue.put((index, error))

    pumps = [asyncio.create_task(pump(index, stream)) for index, stream in enumerate(streams)]
    try:
        running = len(pumps)
        while running:
            index, item = await queue.get()
            if item is None:
                running -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield index, item
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
