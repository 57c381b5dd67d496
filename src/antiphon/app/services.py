"""A server's parts that do something by themselves, and the order in which they begin and end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from antiphon.engines.routed.fleet import Fleet
from antiphon.http.api import Api
from antiphon.telemetry import logs

_log = logs.logger(__name__)


class Service(Protocol):
    """Something that works beside the calls, from its start to its stop."""

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End, and leave nothing undone that must last."""


class ShutdownHook:
    """A part that works only when it is asked, but has something to do at the end."""

    def __init__(self, end: Callable[[], Awaitable[None] | None]) -> None:
        self._end = end

    async def start(self) -> None:
        """Nothing."""

    async def stop(self) -> None:
        """What there is to do at the end."""
        ending = self._end()
        if ending is not None:
            await ending


class ServiceGroup:
    """Services by name that need one another: each starts after those before it, and stops before them."""

    def __init__(self, parts: Mapping[str, Service]) -> None:
        self.parts = parts
        self._running: list[str] = []

    async def start(self) -> None:
        """Start them in order. What raises ends this; `stop` stops those that were started."""
        for name, part in self.parts.items():
            await part.start()
            self._running.append(name)

    async def stop(self) -> None:
        """Stop those that run, the last one first, whatever becomes of each. Safe to call twice."""
        while self._running:
            name = self._running.pop()
            try:
                await self.parts[name].stop()
            except Exception as error:  # the others have things to write down
                _log.error("a part of the server did not end well", part=name, exc_info=error)


class Unattended(Protocol):
    """Work that no client waits for, and that would be lost if it was left in the middle."""

    async def finished(self) -> None:
        """Wait until all of it has ended."""

    async def leave_all(self) -> None:
        """Leave what is still under way."""


@dataclass(frozen=True, slots=True)
class Services:
    """A server's parts, put together and not yet started.

    `lasting`: what calls need for as long as any is under way. `background`: work that no client waits for.
    `unattended`: what goes on of that while the server waits for its clients.
    """

    api: Api
    engine: Fleet
    lasting: ServiceGroup
    background: ServiceGroup
    unattended: Unattended

    async def start(self) -> None:
        """Begin the work beside the calls."""
        await self.lasting.start()
        await self.background.start()

    async def stop(self) -> None:
        """Begin to end. Whoever follows a response is let go: another server goes on with it, or this one's next start.

        What clients wait for goes on.
        """
        await self.background.stop()

    async def close(self) -> None:
        """End, when no client waits any more."""
        await self.background.stop()
        await self.lasting.stop()
