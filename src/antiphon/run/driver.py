"""The one driver: deltas go into a machine, its events come out, and what must be kept is kept first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from antiphon.domain.errors import AntiphonError, EngineFailed
from antiphon.protocol.events import Event, MachineError
from antiphon.telemetry.logs import logger

F = TypeVar("F")
F_co = TypeVar("F_co", covariant=True)
F_contra = TypeVar("F_contra", contravariant=True)
Commit = Callable[[], Awaitable[None]]

_log = logger(__name__)


class Facts(Protocol[F_co]):
    """What a machine is fed. `aclose` ends the generation behind it, whether it was begun or not."""

    def __aiter__(self) -> AsyncIterator[F_co]:
        """Fact by fact."""

    async def aclose(self) -> None:
        """End it now."""


class Machine(Protocol[F_contra]):
    """What the driver needs of a surface's protocol machine."""

    unsaved: bool
    error: AntiphonError | None

    @property
    def ended(self) -> bool:
        """Whether the terminal state is reached."""

    def start(self) -> list[Event]:
        """Begin."""

    def feed(self, fact: F_contra) -> list[Event]:
        """Take one fact."""

    def fault(self, error: AntiphonError) -> list[Event]:
        """End because something broke."""

    def cancel(self) -> list[Event]:
        """End because nobody wants it any more."""


async def drive(machine: Machine[F], facts: Facts[F], commit: Commit) -> AsyncGenerator[list[Event], None]:
    """Run a machine to its end. Each list of events is yielded only after what it says is durable.

    `commit` stores what the machine has; it is awaited whenever the machine is `unsaved`. A fault of the engine becomes
    the machine's terminal event; a fault of the store is raised, since nothing more may be said then. Closing this
    generator cancels the generation.
    """
    try:
        yield await _kept(machine, machine.start(), commit)
        try:
            async for fact in facts:
                events = machine.feed(fact)
                if machine.unsaved:
                    events = await _kept(machine, events, commit)
                if events:
                    yield events
            if not machine.ended:
                raise EngineFailed("The model ended its answer without saying that it was finished.")
        except Exception as error:
            if machine.ended:
                raise
            yield await _kept(machine, machine.fault(_as_fault(error)), commit)
    finally:
        await _settle(machine, facts, commit)


async def finish(machine: Machine[F], facts: Facts[F], commit: Commit) -> None:
    """Run a machine to its end for a caller who wants the result only.

    Nothing is stored before the end, as no one has seen an id before. Raises what broke the generation.
    """

    async def commit_at_end() -> None:
        if machine.ended and machine.error is None:
            await commit()
        machine.unsaved = False

    events = drive(machine, facts, commit_at_end)
    try:
        async for _ in events:
            pass
    finally:
        await events.aclose()
    if machine.error is not None:
        raise machine.error


async def _kept(machine: Machine[F], events: list[Event], commit: Commit) -> list[Event]:
    if machine.unsaved:
        await commit()
        machine.unsaved = False
    return events


async def _settle(machine: Machine[F], facts: Facts[F], commit: Commit) -> None:
    """Free the engine's slot, and give a response that was left the status it has earned."""
    try:
        if not machine.ended:
            machine.cancel()
            if machine.unsaved:
                # The client's task may be cancelled already; what it was told must still be kept.
                await asyncio.shield(asyncio.ensure_future(commit()))
                machine.unsaved = False
    finally:
        await facts.aclose()


def _as_fault(error: Exception) -> AntiphonError:
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
        for stream in self._streams:
            await stream.aclose()


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
