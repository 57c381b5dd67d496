"""Services: what runs beside the calls, and the order in which services start and stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from antiphon.engines.routed.fleet import Fleet
from antiphon.http.api import Api
from antiphon.telemetry import logs

_log = logs.logger(__name__)


class Service(Protocol):
    """Something that runs beside the calls, from its start to its stop."""

    async def start(self) -> None:
        """Begin. Raises what keeps the server from starting."""

    async def stop(self) -> None:
        """Finish what must be stored, and end. Safe to call twice."""


class ShutdownHook:
    """A service for an object that needs no start, but has something to do when the server stops."""

    def __init__(self, end: Callable[[], Awaitable[None] | None]) -> None:
        """`end`: called at the stop, and awaited if it returns something to await."""
        self._end = end

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Call it."""
        ending = self._end()
        if ending is not None:
            await ending


class ServiceGroup:
    """Services by name that need one another: each starts after those before it, and stops before them."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self.services = services
        self._running: list[str] = []

    async def start(self) -> None:
        """Start them in order. What one raises is raised here; then `stop` stops those that were started."""
        for name, service in self.services.items():
            await service.start()
            self._running.append(name)

    async def stop(self) -> None:
        """Stop those that run, the last one first. One that fails is logged, and the others are stopped all the same.

        Safe to call twice.
        """
        while self._running:
            name = self._running.pop()
            try:
                await self.services[name].stop()
            except Exception as error:  # the others have things to write down
                _log.error("a service did not stop well", service=name, exc_info=error)


class Unattended(Protocol):
    """Work that no client waits for, and that would be lost if it was interrupted."""

    async def finished(self) -> None:
        """Wait until all of it has ended."""

    async def leave_all(self) -> None:
        """Interrupt what still runs, so that another server, or the next start, can take it up."""


@dataclass(frozen=True, slots=True)
class Services:
    """A composed server that is not started yet.

    `lasting`: what calls need for as long as any runs. `background`: work that no client waits for. `unattended`: what
    goes on of that while the server waits for its clients.
    """

    api: Api
    engine: Fleet
    lasting: ServiceGroup
    background: ServiceGroup
    unattended: Unattended

    async def start(self) -> None:
        """Start all services."""
        await self.lasting.start()
        await self.background.start()

    async def stop(self) -> None:
        """Stop the work that no client waits for. What clients wait for goes on.

        A client that follows a background response is disconnected: the response goes on at another server, or at this
        one's next start.
        """
        await self.background.stop()

    async def close(self) -> None:
        """Stop the rest, when no client waits any more."""
        await self.background.stop()
        await self.lasting.stop()
