"""What of a response is stored, and when: one way for a client that listens, another for one that may come back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import LeaseLost
from antiphon.domain.jobs import NewJob
from antiphon.domain.records import ConversationItem, EventBatch, StoredItem, StoredResponse
from antiphon.ports import ResponseStore
from antiphon.protocol.events import Event
from antiphon.protocol.responses.machine import ResponseMachine
from antiphon.run.bus import Bus
from antiphon.run.conversation_lock import ConversationLock
from antiphon.run.driver import Machine, Persister
from antiphon.wire import json as wire_json
from antiphon.wire import sse
from antiphon.wire.large import encoded

Json = dict[str, Any]
#: Statuses with which a response's items belong to its conversation.
_SAID = frozenset({"completed", "incomplete"})


class ResponseWriter(Persister):
    """Keeps a response: its id, each finished item, its end. Single deltas are not stored.

    `record` is the response as it is to be stored at first; None as `store` keeps nothing. `turn` is its turn in its
    conversation, unless that is held by the stored response alone: what was said is appended there at the end, in the
    same transaction as the end.
    """

    def __init__(
        self,
        store: ResponseStore | None,
        machine: ResponseMachine,
        record: StoredResponse,
        items: list[Json],
        turn: ConversationLock | None = None,
    ) -> None:
        self.body = b""
        self._store = store
        self._machine = machine
        self._record = record
        self._turn = turn
        self._job: NewJob | None = None
        self._items = items
        self._inputs: list[StoredItem] = []
        self._stored = False
        self._outputs = 0

    async def keep(self, events: list[Event]) -> None:
        """Store what has become certain."""
        if self._machine.unsaved:
            await self._commit(None)
            self._machine.unsaved = False

    async def _commit(self, batch: EventBatch | None) -> None:
        machine = self._machine
        if machine.unsaved:
            snapshot = machine.snapshot()
            self.body = msgspec.json.encode(snapshot)
            self._record = replace(self._record, status=snapshot["status"], body=self.body)
        if self._store is not None or self._turn is not None:
            await self._encode_inputs()
        if self._store is None:
            if self._turn is not None and machine.ended:
                await self._turn.end(self._said())
            return
        fresh = [
            StoredItem(item["id"], self._outputs + offset, "output", msgspec.json.encode(item))
            for offset, item in enumerate(machine.output[self._outputs :])
        ]
        try:
            await self._write(self._store, fresh, batch)
        except LeaseLost:
            self._store = None
            raise
        self._outputs += len(fresh)
        if self._turn is not None and self._record.ended:
            self._turn.settled = True

    async def _encode_inputs(self) -> None:
        """Once, and only if they are kept: they may be large."""
        items, self._items = self._items, []
        for position, item in enumerate(items):
            self._inputs.append(StoredItem(item["id"], position, "input", await encoded(item)))

    async def _write(self, store: ResponseStore, fresh: list[StoredItem], batch: EventBatch | None) -> None:
        if not self._stored:
            first = [*self._inputs, *fresh]
            await store.put_response(self._record, first, batch, appended=self._said(), job=self._job)
            self._stored = True
            return
        await store.advance_response(self._record, fresh, batch, appended=self._said())

    def _said(self) -> list[ConversationItem]:
        """What the conversation gains."""
        if self._record.conversation_id is None or self._record.status not in _SAID:
            return []
        inputs = [ConversationItem(item.id, item.body) for item in self._inputs]
        outputs = [ConversationItem(item["id"], msgspec.json.encode(item)) for item in self._machine.output]
        return [*inputs, *outputs]


class FinalResponseWriter(ResponseWriter):
    """Keeps a response whose client waits for the whole: nobody has seen its id, so it is stored once, at its end."""

    async def keep(self, events: list[Event]) -> None:
        """Store the end."""
        if self._machine.ended and self._machine.error is None:
            await self._commit(None)
        self._machine.unsaved = False


class EventLogWriter(ResponseWriter):
    """Keeps every event as it will be sent, so that a stream can be gone on with by anybody, anywhere, at any time."""

    def __init__(
        self,
        store: ResponseStore,
        machine: ResponseMachine,
        record: StoredResponse,
        items: list[Json],
        bus: Bus,
        job: NewJob | None = None,
    ) -> None:
        """`job`: the job that makes the response, stored together with its first events."""
        super().__init__(store, machine, record, items)
        self._bus = bus
        self._job = job
        self._name = (record.project_id, record.id)
        self._progress: list[bytes] = []
        #: The log in some sixteenths of what it may be: before which event each ends, and its bytes.
        self._log: list[tuple[int, int]] = []
        self._bytes = 0

    def resume(self, outputs: int) -> None:
        """Go on with a response that is stored already, and with so many of its output items."""
        self._stored = True
        self._outputs = outputs

    def note(self, progress: bytes) -> None:
        """Keep this with the next events."""
        self._progress.append(progress)

    async def keep(self, events: list[Event]) -> None:
        """Append to the log, then tell who listens."""
        first: int = events[0].body["sequence_number"]
        payload = b"".join([sse.event(event.type, wire_json.encode(event.body)) for event in events])
        batch = EventBatch(first, len(events), payload, join_progress(self._progress))
        await _whole(self._commit(batch))
        self._machine.unsaved = False
        self._progress = []
        self._bus.publish(self._name)
        await self._bound(first + len(events), len(payload))

    async def leave(self, machine: Machine) -> None:
        """Nothing yet: whether it is cancelled, or left for another worker, is for its job to say."""

    def logged(self, after: int, size: int) -> None:
        """A batch is in the log that ends before event `after`, of `size` bytes."""
        self._bytes += size
        last = self._log.pop() if self._log and self._log[-1][1] < limits.MAX_LOG_BYTES // 16 else (0, 0)
        self._log.append((after, last[1] + size))

    async def _bound(self, after: int, size: int) -> None:
        """Forget the oldest events when the log is over its bound."""
        self.logged(after, size)
        before = 0
        while self._bytes > limits.MAX_LOG_BYTES and len(self._log) > 1:
            before, freed = self._log.pop(0)
            self._bytes -= freed
        if before and self._store is not None:
            await self._store.trim_events(*self._name, before)


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Do `work` to its end even if the caller is cancelled: half a step would leave a gap in the log."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def join_progress(pieces: list[bytes]) -> bytes | None:
    """Notes of an engine as one; None if there are none."""
    return msgspec.msgpack.encode(pieces) if pieces else None


def split_progress(joined: bytes) -> list[bytes]:
    """What `join_progress` joined."""
    return msgspec.msgpack.decode(joined, type=list[bytes])
