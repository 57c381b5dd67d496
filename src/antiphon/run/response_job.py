"""The kind of job that makes a background response, from its beginning or from where a worker that died had left it.

The response is a row of its own, and its log is what clients see. The job is what says that somebody has to make it,
and with what. Both are written in one transaction at the start, and end in one transaction: the job is then gone, or
kept as a dead letter if the response failed because it could not be read or made.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec

from antiphon.domain import limits
from antiphon.domain.caching import CacheControl
from antiphon.domain.errors import AntiphonError, EngineFailed, Overloaded, StoreFailed
from antiphon.domain.jobs import RESPONSE, Job, NewJob
from antiphon.domain.records import StoredResponse
from antiphon.domain.tenancy import Caller, Key, Project
from antiphon.jobs.kinds import INTERRUPTED, SETTLED, JobContext, JobKind, Outcome, Reschedule, Unreadable
from antiphon.policy.call import Call
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.ports import Clock, Engine, Store
from antiphon.protocol.generation import Generation
from antiphon.protocol.responses import request as requests
from antiphon.protocol.responses.machine import ResponseMachine
from antiphon.protocol.unknown import Unknown
from antiphon.run.backoff import pause_after
from antiphon.run.bus import Bus
from antiphon.run.compaction import Stream
from antiphon.run.driver import drive
from antiphon.run.logs import CUT_OFF, end_as_failed, whole_log
from antiphon.run.persistence import EventLogWriter, split_progress
from antiphon.run.prepare import Prepared, Preparer
from antiphon.telemetry.logs import logger
from antiphon.wire import sse

Json = dict[str, Any]

_log = logger(__name__)
_UNREADABLE = "What was stored of this response cannot be read."
_BROKEN = "The server had an error while this response was being made."


class Accepted(msgspec.Struct):
    """The job's payload: all that it takes to make the response."""

    body: Json
    extra: Json
    key_id: str | None = None
    #: Whether the rate limits have counted it as a request.
    counted: bool = False
    cache: CacheControl | None = None

    def job(self, project_id: str, response_id: str) -> NewJob:
        """The job that makes it, which has the response's id."""
        return NewJob(project_id, RESPONSE, msgspec.json.encode(self), id=response_id)


class Course(NamedTuple):
    """How far a response has come, and what it takes to go on with it. `progress`: the engine's own notes."""

    accepted: Accepted
    items: list[Json]
    machine: ResponseMachine
    persister: EventLogWriter
    progress: tuple[bytes, ...]


def response_jobs(store: Store, gate: Pipeline, preparer: Preparer, bus: Bus, clock: Clock) -> JobKind[Accepted]:
    """How background responses are made."""

    async def run(context: JobContext[Accepted]) -> Outcome | None:
        response = await store.get_response(*context.job.name)
        if response is None or response.ended:
            return None
        return await ResponseJob(store, gate, preparer, bus, clock, context, response).run()

    async def on_dead(job: Job, error: Exception) -> Outcome | None:
        response = await store.get_response(*job.name)
        if response is None or response.ended:
            return None
        message = _UNREADABLE if isinstance(error, Unreadable) else _BROKEN
        await end_as_failed(store, bus, response, message, dead=True)
        return SETTLED

    return JobKind(
        RESPONSE,
        payload=Accepted,
        run=run,
        on_dead=on_dead,
        max_running=limits.MAX_BACKGROUND,
        max_of_project=limits.MAX_BACKGROUND_OF_PROJECT,
        interruptible=False,
    )


class ResponseJob:
    """One attempt at making a response that this worker holds."""

    def __init__(
        self,
        store: Store,
        gate: Pipeline,
        preparer: Preparer,
        bus: Bus,
        clock: Clock,
        context: JobContext[Accepted],
        response: StoredResponse,
    ) -> None:
        self._clock = clock
        self._store = store
        self._gate = gate
        self._preparer = preparer
        self._bus = bus
        self._context = context
        self._response = response

    async def run(self) -> Outcome:
        """Make it, as far as nobody interrupts. Raises `Reschedule` if it has to wait."""
        try:
            return await self._make()
        finally:
            self._bus.publish(self._context.job.name)

    async def _make(self) -> Outcome:
        try:
            course = await self._restored()
        except (StoreFailed, Overloaded):  # the database's, not the response's
            raise
        except Exception as error:
            # Its words may quote what is stored.
            _log.error("a response cannot be read", response=self._response.id, error=type(error).__name__)
            await end_as_failed(self._store, self._bus, self._response, _UNREADABLE, dead=True)
            return SETTLED
        if course is None:
            message = f"{CUT_OFF}, and its events are no longer kept."
            await end_as_failed(self._store, self._bus, self._response, message)
            return SETTLED
        machine, context = course.machine, self._context
        await context.until_interrupted(self._answer(course))
        # A task that is cancelled before its first step has done nothing at all.
        if not machine.ended and not context.leaving:
            await course.persister.keep(machine.cancel())
        return SETTLED if machine.ended else INTERRUPTED

    async def _answer(self, course: Course) -> None:
        machine, persister = course.machine, course.persister
        call = await self._call(course.accepted)
        try:
            try:
                stream = await self._admit(call, course)
            except AntiphonError as error:
                pause = pause_after(error, self._context.job.waited / 1000)
                if pause is not None:
                    self._gate.put_off(call, error)
                    raise Reschedule(pause, payload=self._counted(call)) from None
                await persister.keep(machine.fault(error))
                return
            opening = machine.start() if machine.waiting else []
            async with aclosing(drive(machine, opening, stream, persister)) as events:
                async for _ in events:
                    pass
        finally:
            fault = machine.error
            self._gate.close(call, 200 if fault is None else fault.status, None if fault is None else fault.code)

    def _counted(self, call: Call) -> bytes | None:
        """What it is begun with the next time, if that is not the same: the rate limits count it only once."""
        accepted = self._context.payload
        if not call.counted or accepted.counted:
            return None
        return msgspec.json.encode(msgspec.structs.replace(accepted, counted=True))

    async def _call(self, accepted: Accepted) -> Call:
        """The call as limits, budgets and the ledger see it: the one that was accepted goes on here."""
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
        accepted = self._context.payload
        machine = self._machine(accepted)
        items = await self._input()
        persister = EventLogWriter(self._store, machine, self._response, items, self._bus)
        progress: list[bytes] = []
        parser = sse.SSEParser()
        after = -1
        async for batch in whole_log(self._store, *self._context.job.name):
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
        self._context.would_be_lost = not engine.capabilities.continues
        return await prepared.begin(generation)

    @staticmethod
    def _generation(prepared: Prepared, machine: ResponseMachine, progress: tuple[bytes, ...]) -> Generation:
        engine: Engine = prepared.engine
        continues = engine.capabilities.continues
        if not machine.begun:
            # Every event is stored, so the engine streams.
            return msgspec.structs.replace(prepared.generation, track=continues, batches=True, streamed=True)
        if not (continues and progress):
            raise EngineFailed(f"{CUT_OFF}, and its model cannot go on with an answer.")
        return msgspec.structs.replace(prepared.generation, track=True, progress=progress, streamed=True)
