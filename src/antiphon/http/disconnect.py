"""Notices when a client disconnects, and ends the work that was done for it.

ASGI offers only `receive()` for that, which would cost a waiting task for each request. So our server puts the state of
the connection into each request's scope, and calls back when the connection is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.types import Receive, Scope

T = TypeVar("T")

#: Where the connection's state is found in the scope of a request.
SCOPE_KEY = "antiphon.connection"


class ClientGone(Exception):
    """The client has disconnected, or reads nothing of its answer any more."""


class ClientConnection:
    """The state of one client's connection, as requests on it need to know it."""

    __slots__ = ("_callbacks", "lost", "request_complete")

    def __init__(self) -> None:
        self.lost = False
        #: Whether the newest request has arrived to its end, so that reading its body does not wait.
        self.request_complete = False
        self._callbacks: set[Callable[[], None]] = set()

    def on_disconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called once, soon after the connection is lost. Returns a function that takes it back."""
        if self.lost:
            return asyncio.get_running_loop().call_soon(callback).cancel
        self._callbacks.add(callback)
        return lambda: self._callbacks.discard(callback)

    def mark_lost(self) -> None:
        """The connection is lost: make all callbacks."""
        self.lost = True
        for callback in list(self._callbacks):
            callback()


class Cancellation:
    """Runs work of the current task so that it can be ended from outside; `ClientGone` is raised in its place then."""

    __slots__ = ("_cancelled", "_done", "_task")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelled = self._done = False

    def cancel(self) -> None:
        """End the work. Once: a second cancellation would interrupt what is done about the first."""
        if not self._done and not self._cancelled:
            self._cancelled = True
            self._task.cancel()

    async def run(self, work: Awaitable[T], scope: Scope, receive: Receive) -> T:
        """Do `work`, unless the client of this request disconnects or `cancel` is called: then raise `ClientGone`."""
        forget = on_disconnect(scope, receive, self.cancel)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._cancelled:
                raise
            self._task.uncancel()
            raise ClientGone from None
        finally:
            self._done = True
            forget()


def on_disconnect(scope: Scope, receive: Receive, callback: Callable[[], None]) -> Callable[[], None]:
    """Have `callback` called once when the client of this request disconnects. Returns a function that takes it back.

    Under another ASGI server `receive` is awaited for that, so the request's body must have been read.
    """
    connection: ClientConnection | None = scope.get(SCOPE_KEY)
    if connection is not None:
        return connection.on_disconnect(callback)

    async def ask() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        callback()

    asking = asyncio.get_running_loop().create_task(ask())

    def forget() -> None:
        asking.cancel()

    return forget
