"""Group commit: one thread and one connection write for everybody.

The writer runs all writes that have gathered in one transaction, and only when it is durable are the callers told.
While it commits, the next group gathers: the busier the server, the cheaper a write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Sequence
from queue import Empty
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import StoreUnavailable, fresh
from antiphon.stores.driver import Driver
from antiphon.stores.query import DatabaseSession
from antiphon.stores.threads import CallQueue, DatabaseCall, DatabaseThread


def waves(calls: Sequence[DatabaseCall]) -> list[dict[Any, list[DatabaseCall]]]:
    """Split a group into waves in which the order does not matter, because no two calls of a wave have the same key.

    In a wave, the calls of each function stand together.
    """
    result: list[dict[Any, list[DatabaseCall]]] = [{}]
    keys: set[Hashable] = set()
    for call in calls:
        if call.key in keys:
            result.append({})
            keys.clear()
        keys.add(call.key)
        result[-1].setdefault(call.function, []).append(call)
    return result


class Writer(DatabaseThread):
    """The one thread that writes. One bad write fails alone: the others of its group are then run one by one."""

    read_only = False

    def __init__(self, driver: Driver, loop: asyncio.AbstractEventLoop, queue: CallQueue) -> None:
        #: When the log must be tidied because something was deleted (monotonic seconds).
        self._tidy_at: float | None = None
        #: Set from the loop: whether not to wait long for a lock.
        self.hurried = False
        self._hurries = False
        super().__init__(driver, loop, queue)

    def serve(self) -> None:
        """Write until told to stop, and leave a tidy log."""
        running = True
        while running:
            group, running = self._gather()
            if group:
                self._write(group, alone=False)
                self.deliver(group)
            if not running or (self._tidy_at is not None and time.monotonic() >= self._tidy_at):
                self._tidy()

    def _gather(self) -> tuple[list[DatabaseCall], bool]:
        """Wait for a call and take all others that are there. Empty: it is time to tidy. False: stop after these."""
        group: list[DatabaseCall] = []
        try:
            wait = None if self._tidy_at is None else max(0.0, self._tidy_at - time.monotonic())
            call = self.queue.get(timeout=wait)
            while call is not None:
                group.append(call)
                if len(group) == limits.MAX_GROUP_COMMIT:
                    return group, True
                call = self.queue.get_nowait()
        except Empty:
            return group, True
        return group, False

    def _write(self, group: Sequence[DatabaseCall], *, alone: bool) -> bool:
        """Write a group, and note each call's outcome. False: the database takes no transaction at all now.

        If the group fails, each of its calls is tried once more, `alone`. That also saves those that were only unlucky:
        a lost connection, a deadlock with another server's writes.
        """
        try:
            session = self._begin()
        except Exception as error:  # the callers get it
            return self._fail(group, error)
        try:
            _run(session, group)
        except Exception as error:  # the callers get it
            self._roll_back(session)
            if alone:
                self._fail(group, error)
            else:
                self._write_one_by_one(group)
            return True
        try:
            session.commit()
        except Exception as error:  # the callers get it
            # Not tried again: with a server that hung up, nobody knows whether this commit has happened.
            self._roll_back(session)
            self._fail(group, error)
            return not isinstance(self.explain(error), StoreUnavailable)
        if self._tidy_at is None and any(call.erases for call in group):
            self._tidy_at = time.monotonic() + limits.STORE_ERASE_WITHIN
        return True

    def _write_one_by_one(self, group: Sequence[DatabaseCall]) -> None:
        for number, call in enumerate(group):
            if not self._write([call], alone=True):
                error = call.error
                assert error is not None
                # Each further one might wait just as long for a lock that does not come free.
                self._fail(group[number + 1 :], error)
                return

    def _begin(self) -> DatabaseSession:
        try:
            session = self._in_time()
            session.begin()
        except self.driver.error as error:
            if not self.lost(error):
                raise
            session = self._in_time()
            session.begin()
        return session

    def _in_time(self) -> DatabaseSession:
        """A session that waits for locks for as long as it now should."""
        if self._hurries != self.hurried:
            self._hurries = self.hurried
            self.session().hurry(hurried=self._hurries)
        return self.session()

    def _roll_back(self, session: DatabaseSession) -> None:
        try:
            session.rollback()
        except self.driver.error as error:
            # SQLite has rolled back by itself after some errors; a dead connection has nothing to roll back.
            self.lost(error)

    def _fail(self, calls: Sequence[DatabaseCall], error: Exception) -> bool:
        explained = self.explain(error)
        for call in calls:
            # One object for each: raised in several tasks, a shared one would gather all their tracebacks.
            call.error = fresh(explained)
        return False

    def _tidy(self) -> None:
        try:
            done = self.session().tidy()
        except self.driver.error as error:
            self.lost(error)
            done = False
        self._tidy_at = None if done else time.monotonic() + limits.STORE_ERASE_WITHIN


def _run(session: DatabaseSession, group: Sequence[DatabaseCall]) -> None:
    for wave in waves(group):
        for function, calls in wave.items():
            results = function(session, [call.argument for call in calls])
            for call, result in zip(calls, results, strict=True):
                call.result = result
