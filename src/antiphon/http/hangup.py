"""Whether a client is still there, told by its connection and not asked for: asking costs a task for each request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Receive, Scope

#: Where a connection is found in the scope of a request on it.
SCOPE_KEY = "antiphon.connection"


class Connection:
    """One client's connection: knows that it is lost, and tells whoever wants to know."""

    __slots__ = ("_callbacks", "is_lost", "is_read")

    def __init__(self) -> None:
        self.is_lost = False
        #: Whether the whole of the newest request has come, so that reading it does not wait.
        self.is_read = False
        self._callbacks: set[Callable[[], None]] = set()

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call this once, soon after the connection is lost. Returns what ends the watch."""
        if self.is_lost:
            return asyncio.get_running_loop().call_soon(callback).cancel
        self._callbacks.add(callback)
        return lambda: self._callbacks.discard(callback)

    def lose(self) -> None:
        """It is lost."""
        self.is_lost = True
        for callback in list(self._callbacks):
            callback()


def watch(scope: Scope, receive: Receive, callback: Callable[[], None]) -> Callable[[], None]:
    """Call this once, when the client of this request has hung up. Returns what ends the watch.

    Under a server that is not ours, `receive` is asked, so the request's body must have been read.
    """
    connection: Connection | None = scope.get(SCOPE_KEY)
    if connection is not None:
        return connection.watch(callback)

    async def ask() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        callback()

    asking = asyncio.get_running_loop().create_task(ask())

    def unwatch() -> None:
        asking.cancel()

    return unwatch
