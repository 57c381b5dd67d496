"""Threads that talk to the database for the event loop, so that it never waits for a disk."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from queue import SimpleQueue
from typing import Any, ClassVar

from antiphon.domain.errors import Unstorable
from antiphon.stores.driver import Connection, Driver
from antiphon.stores.query import DatabaseSession


class DatabaseCall:
    """A call that waits for a thread, and then its outcome.

    A reader calls `function(session, *argument)`. The writer calls `function(session, arguments)` with the arguments
    of many calls; calls with the same `key` keep their order. `erases`: the call deletes content.
    """

    __slots__ = ("argument", "erases", "error", "function", "future", "key", "result")

    def __init__(
        self,
        function: Callable[..., Any],
        argument: Any,
        future: asyncio.Future[Any],
        *,
        key: Hashable = None,
        erases: bool = False,
    ) -> None:
        self.function = function
        self.argument = argument
        self.future = future
        self.key = key
        self.erases = erases
        self.result: Any = None
        self.error: Exception | None = None


#: Calls that wait for a thread. None tells one thread to stop.
CallQueue = SimpleQueue[DatabaseCall | None]


def _deliver(calls: Sequence[DatabaseCall]) -> None:
    """Set the outcomes, on the loop. A caller that was cancelled is no longer there."""
    for call in calls:
        if not call.future.done():
            if call.error is None:
                call.future.set_result(call.result)
            else:
                call.future.set_exception(call.error)


#: What drivers raise, besides their own errors, for numbers of more than 64 bits and for halves of surrogate pairs.
_NO_VALUE = (OverflowError, UnicodeEncodeError)


class DatabaseThread(ABC):
    """A thread with one connection, which is made when it is first needed, and again after it was lost."""

    read_only: ClassVar[bool]

    def __init__(self, driver: Driver, loop: asyncio.AbstractEventLoop, queue: CallQueue) -> None:
        self.driver = driver
        self.queue = queue
        #: Done when the thread has stopped and its connection is closed.
        self.stopped: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._connection: Connection | None = None
        self._session: DatabaseSession | None = None
        # A daemon: a program that forgets to close the store still ends; what was acknowledged is durable.
        self._thread = threading.Thread(target=self._main, name=f"antiphon-{type(self).__name__}", daemon=True)
        self._thread.start()

    @abstractmethod
    def serve(self) -> None:
        """Do calls until None comes from the queue. Must not raise."""

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def session(self) -> DatabaseSession:
        """A session on a live connection. Raises the driver's error if there is none to be had."""
        if self._session is None:
            self._connection = self.driver.connect(read_only=self.read_only)
            self._session = DatabaseSession(self._connection.cursor(), self.driver)
        return self._session

    def lost(self, error: Exception) -> bool:
        """Whether `error` says that the connection is dead; then the next `session` makes a new one."""
        dead = self._connection is not None and self.driver.lost(self._connection, error)
        if dead:
            self._disconnect()
        return dead

    def explain(self, error: Exception) -> Exception:
        """The domain error for a driver's error. Errors of our own, and bugs, stay what they are."""
        if isinstance(error, _NO_VALUE):
            return Unstorable(type(error).__name__)
        return self.driver.failure(error) if isinstance(error, self.driver.error) else error

    def deliver(self, calls: Sequence[DatabaseCall]) -> None:
        """Hand the outcomes of these calls to their callers, in one hop to the loop."""
        self._call(_deliver, calls)

    def _main(self) -> None:
        try:
            self.serve()
        finally:
            self._disconnect()
            self._call(self.stopped.set_result, None)

    def _call(self, function: Callable[..., object], argument: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:  # the loop was closed before the store: nobody waits any more
            return

    def _disconnect(self) -> None:
        connection, self._connection, self._session = self._connection, None, None
        if connection is not None:
            try:
                connection.close()
            except self.driver.error:  # it was dead already
                return


class Reader(DatabaseThread):
    """Takes one read at a time from a queue that all readers share."""

    read_only = True

    def serve(self) -> None:
        """Read until told to stop."""
        while (call := self.queue.get()) is not None:
            if call.future.cancelled():
                continue
            try:
                call.result = self._read(call)
            except Exception as error:  # whatever it is belongs to the caller, not to this thread
                call.error = self.explain(error)
            self.deliver((call,))

    def _read(self, call: DatabaseCall) -> Any:
        try:
            return call.function(self.session(), *call.argument)
        except self.driver.error as error:
            if not self.lost(error):
                raise
        return call.function(self.session(), *call.argument)
