"""One background response: made from its beginning, or gone on with from where a worker that died had left it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from antiphon.domain.caching import CacheControl
from antiphon.domain.errors import AntiphonError, EngineFailed, LeaseLost, Overloaded, StoreFailed, StoreUnavailable
from antiphon.domain.records import StoredResponse
from antiphon.domain.tenancy import Caller, Key, Project
from antiphon.policy.call import Call
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.ports import Clock, Engine, Store
from antiphon.protocol.generation import Generation
from antiphon.protocol.responses import request as requests
from antiphon.protocol.responses.machine import ResponseMachine
from antiphon.protocol.unknown import Unknown
from antiphon.run.bus import Bus
from antiphon.run.compaction import Stream
from antiphon.run.driver import drive
from antiphon.run.logs import failed, whole_log
from antiphon.run.patience import PutOff, pause_after
from antiphon.run.persistence import EventLogWriter, split_progress
from antiphon.run.prepare import Prepared, Preparer
from antiphon.telemetry.logs import logger
from antiphon.wire import sse

Json = dict[str, Any]

_log = logger(__name__)
_CUT_OFF = "The server was stopped while this response was being made"
_UNREADABLE = "What was stored of this response cannot be read."
_BROKEN = "The server had an error while this response was being made."


class Accepted(msgspec.Struct):
    """What is stored of a request until its response has ended: all that it takes to make it."""

    body: Json
    extra: Json
    key_id: str | None = None
    #: Whether the rate limits have counted it as a request.
    counted: bool = False
    cache: CacheControl | None = None


class Course(NamedTuple):
    """How far a response has come, and what it takes to go on with it. `progress`: the engine's own notes."""

    accepted: Accepted
    items: list[Json]
    machine: ResponseMachine
    persister: EventLogWriter
    progress: tuple[bytes, ...]


class ResponseJob:
    """Makes one response that this worker holds."""

    def __init__(
        self,
        store: Store,
        gate: Pipeline,
        preparer: Preparer,
        bus: Bus,
        clock: Clock,
        response: StoredResponse,
        *,
        hopeless: bool = False,
    ) -> None:
        """`hopeless`: it broke too often; it is only ended."""
        self._clock = clock
        self._store = store
        self._gate = gate
        self._preparer = preparer
        self._bus = bus
        self._response = response
        self._hopeless = hopeless
        self._wanted = not response.cancel_requested
        self._abandoned = False
        self._answering: asyncio.Task[None] | None = None
        self.response = response
        self.name = (response.project_id, response.id)
        #: Whether nothing is left to do here: it has ended, was put off, or is another worker's now.
        self.settled = False
        #: Whether it broke, other than by a database that takes nothing.
        self.broke = False
        #: Whether it would be lost if it was left now: its engine has been asked, and cannot go on with an answer.
        self.would_be_lost = False

    def cancel(self) -> None:
        """Nobody wants it any more: end it, as cancelled."""
        self._wanted = False
        self._interrupt()

    def abandon(self) -> None:
        """The server stops: leave everything as it is, for another worker."""
        self._abandoned = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self._answering is not None:
            self._answering.cancel()

    async def run(self) -> None:
        """Make it. Whatever happens, the response reaches its end, unless it is another worker's or the store fails."""
        try:
            await self._run()
        except LeaseLost:
            self.settled = True
            _log.warning("a response was deleted or taken over", response=self._response.id)
        except StoreUnavailable as error:
            _log.error("a response could not be gone on with", response=self._response.id, reason=str(error))
        except AntiphonError as error:
            self.broke = True
            _log.error("a response could not be gone on with", response=self._response.id, reason=error.message)
        except Exception as error:
            self.broke = True
            _log.error("a response broke its job", response=self._response.id, exc_info=error)

    async def _run(self) -> None:
        if self._hopeless:
            await self._fail(_BROKEN)
        elif self._response.background:
            try:
                await self._make()
            except PutOff as pause:
                await self._put_off(pause)
        else:
            # Its client was cut off, and nobody can resume it.
            await self._fail(f"{_CUT_OFF}.")
        # What was left is told by its worker: it is nobody's once the database says so.
        self.settled = not self._abandoned

    async def _put_off(self, pause: PutOff) -> None:
        """Give its place to another one, and come back."""
        request = None
        assert self._response.request is not None
        accepted = msgspec.json.decode(self._response.request, type=Accepted)
        if pause.counted and not accepted.counted:
            request = msgspec.json.encode(msgspec.structs.replace(accepted, counted=True))
        waiting = replace(self._response, waited=self._response.waited + int(pause.seconds * 1000))
        await self._store.put_off_response(waiting, int((self._clock.now() + pause.seconds) * 1000), request)

    async def _fail(self, message: str) -> None:
        """End a response that cannot be gone on with, and tell whoever follows it."""
        await self._store.advance_response(*await failed(self._store, self._response, message))
        self._bus.publish(self.name)

    async def _make(self) -> None:
        try:
            course = await self._restored()
        except (StoreFailed, Overloaded):  # the database's, not the response's
            raise
        except Exception as error:
            # Its words may quote what is stored.
            _log.error("a response cannot be read", response=self._response.id, error=type(error).__name__)
            await self._fail(_UNREADABLE)
            return
        if course is None:
            await self._fail(f"{_CUT_OFF}, and its events are no longer kept.")
            return
        machine, persister = course.machine, course.persister
        if self._wanted and not self._abandoned:
            self._answering = asyncio.create_task(self._answer(course))
            await asyncio.wait({self._answering})
            if not self._answering.cancelled():
                self._answering.result()
        # A task that is cancelled before its first step has done nothing at all.
        if not machine.ended and not self._abandoned:
            await persister.keep(machine.cancel())

    async def _answer(self, course: Course) -> None:
        machine, persister = course.machine, course.persister
        call = await self._call(course.accepted)
        try:
            try:
                stream = await self._admit(call, course)
            except AntiphonError as error:
                pause = pause_after(error, self._response.waited / 1000)
                if pause is not None:
                    raise PutOff(error, pause, counted=call.counted) from None
                await persister.keep(machine.fault(error))
                return
            opening = machine.start() if machine.waiting else []
            async with aclosing(drive(machine, opening, stream, persister)) as events:
                async for _ in events:
                    pass
        except PutOff as put_off:
            self._gate.put_off(call, put_off.error)
            raise
        finally:
            fault = machine.error
            self._gate.close(call, 200 if fault is None else fault.status, None if fault is None else fault.code)

    async def _call(self, accepted: Accepted) -> Call:
        """The call that this is, for whoever counts calls: the one that was accepted goes on here."""
        project_id = self._response.project_id
        project = await self._store.get_project(project_id) or Project(project_id, "", 0)
        key = await self._store.get_key(accepted.key_id) if accepted.key_id else None
        # A key that is gone since can be asked nothing any more; what it was promised is kept.
        key = key or Key(accepted.key_id or "", project_id, "", b"", "", 0)
        # It comes under the limits of today; what its key may do was asked when it was accepted.
        return Call(
            caller=Caller(key, project, await self._store.limits_of(key)),
            endpoint="/v1/responses",
            request_id=self._response.id,
            began_at=self._clock.now(),
            method="BACKGROUND",
            cache_control=accepted.cache,
            background=True,
            object_id=self._response.id,
            counted=accepted.counted,
        )

    # --- what is stored -----------------------------------------------------------------------------------------------
    async def _restored(self) -> Course | None:
        """How far it had come; None if the beginning of its log is no longer kept. Raises whatever its rows cause."""
        if self._response.request is None:
            return None
        accepted = msgspec.json.decode(self._response.request, type=Accepted)
        machine = self._machine(accepted)
        items = await self._input()
        persister = EventLogWriter(self._store, machine, self._response, items, self._bus)
        progress: list[bytes] = []
        parser = sse.SSEParser()
        after = -1
        async for batch in whole_log(self._store, *self.name):
            if batch.first != after + 1:
                if after == -1:
                    return None
                raise ValueError(f"events {after + 1} to {batch.first - 1} are missing")
            machine.replay(msgspec.json.decode(event.data) for event in parser.feed(batch.payload))
            if batch.progress:
                progress += split_progress(batch.progress)
            after = batch.first + batch.count - 1
            persister.logged(after + 1, len(batch.payload))
        if after == -1:
            return None
        machine.restored()
        persister.resume(len(machine.output))
        return Course(accepted, items, machine, persister, tuple(progress))

    async def _input(self) -> list[Json]:
        """The input items, in order."""
        stored = await self._store.items_of(self._response.project_id, [self._response.id])
        items = stored.get(self._response.id, [])
        return [msgspec.json.decode(item.body) for item in items if item.direction == "input"]

    def _machine(self, accepted: Accepted) -> ResponseMachine:
        request = requests.parse(accepted.body, accepted.extra)
        return ResponseMachine(
            msgspec.json.decode(self._response.body) | {"output": []},
            clock=self._clock.now,
            obfuscate=request.obfuscate,
            show_logprobs=request.show_logprobs,
            seal=self._preparer.seal(self._response.project_id, request),
        )

    # --- the engine ---------------------------------------------------------------------------------------------------
    async def _admit(self, call: Call, course: Course) -> Stream:
        """The engine's stream."""
        machine, accepted = course.machine, course.accepted
        prepared = await self._preparer.again(
            call, accepted.body, Unknown(accepted.extra), course.items, machine.output
        )
        machine.reserved_ids = prepared.reserved_ids
        machine.forms = prepared.offered.forms
        generation = self._generation(prepared, machine, course.progress)
        engine: Engine = prepared.engine
        # From here on it may be paid for.
        self.would_be_lost = not engine.capabilities.continues
        return await prepared.begin(generation)

    @staticmethod
    def _generation(prepared: Prepared, machine: ResponseMachine, progress: tuple[bytes, ...]) -> Generation:
        engine: Engine = prepared.engine
        continues = engine.capabilities.continues
        if not machine.begun:
            # Every event is kept, so it comes as a stream, whoever watches.
            return msgspec.structs.replace(prepared.generation, track=continues, batches=True, streamed=True)
        if not (continues and progress):
            raise EngineFailed(f"{_CUT_OFF}, and its model cannot go on with an answer.")
        return msgspec.structs.replace(prepared.generation, track=True, progress=progress, streamed=True)
