"""One background response: made from its beginning, or gone on with from where a worker that died had left it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.caching import Wish
from antiphon.domain.errors import (
    AntiphonError,
    EngineFailed,
    EngineUnavailable,
    LeaseLost,
    NeverFits,
    Overloaded,
    RateLimited,
)
from antiphon.domain.records import EventBatch, StoredResponse
from antiphon.domain.tenancy import Caller, Key, Project
from antiphon.policy.call import Call
from antiphon.policy.gate import Gate
from antiphon.ports import Clock, Engine, Store
from antiphon.protocol.generation import Generation
from antiphon.protocol.responses import request as requests
from antiphon.protocol.responses.machine import ResponseMachine
from antiphon.protocol.unknown import Unknown
from antiphon.run.bus import Bus
from antiphon.run.compaction import Stream
from antiphon.run.driver import drive
from antiphon.run.keepers import JournalKeeper, split_progress
from antiphon.run.prepare import Prepared, Preparer
from antiphon.telemetry.logs import logger
from antiphon.wire import sse

Json = dict[str, Any]

_log = logger(__name__)
#: Before a response that found the engine's queue full asks again (seconds).
_PATIENCE = 0.5
#: How long an engine that cannot be started is waited for before a response fails (seconds).
_ENGINE_PATIENCE = 30.0
_CUT_OFF = "The server was stopped while this response was being made"


class Accepted(msgspec.Struct):
    """What is stored of a request until its response has ended: all that it takes to make it."""

    body: Json
    extra: Json
    key_id: str | None = None
    #: Whether the rate limits have counted it as a request.
    counted: bool = False
    cache: Wish | None = None


class Job:
    """Makes one response that this worker holds the lease of."""

    def __init__(
        self, store: Store, gate: Gate, preparer: Preparer, bus: Bus, clock: Clock, response: StoredResponse
    ) -> None:
        self._clock = clock
        self._store = store
        self._gate = gate
        self._preparer = preparer
        self._bus = bus
        self._response = response
        self._wanted = not response.cancel_requested
        self._abandoned = False
        self._answering: asyncio.Task[None] | None = None
        self.response = response
        #: Whether nothing is left to do here: it has ended, or is another worker's now.
        self.settled = False

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
        """Make it. Whatever happens, the response reaches its end, unless the lease is lost or the store is gone."""
        try:
            if self._response.background:
                await self._make()
            else:
                # Its client was cut off with its server, and nobody can resume it.
                await self._fail(f"{_CUT_OFF}.")
            self.settled = True
        except LeaseLost:
            self.settled = True
            _log.warning("a response was deleted or taken over", response=self._response.id)
        except AntiphonError as error:
            _log.error("a response could not be gone on with", response=self._response.id, reason=error.message)
        except Exception as error:
            _log.error("a response broke its job", response=self._response.id, exc_info=error)

    async def _fail(self, message: str) -> None:
        """End a response whose log cannot be gone on with."""
        error = {"code": "server_error", "message": message}
        body = msgspec.json.decode(self._response.body) | {"status": "failed", "error": error}
        await self._store.advance_response(replace(self._response, status="failed", body=msgspec.json.encode(body)))
        self._bus.publish((self._response.project_id, self._response.id))

    async def _make(self) -> None:
        batches = await self._log()
        if batches is None or self._response.request is None:
            await self._fail(f"{_CUT_OFF}, and its events are no longer kept.")
            return
        accepted = msgspec.json.decode(self._response.request, type=Accepted)
        machine = self._machine(accepted, batches)
        items = await self._input()
        keeper = JournalKeeper(self._store, machine, self._response, items, self._bus)
        keeper.resume(len(machine.output))
        progress = [note for batch in batches if batch.progress for note in split_progress(batch.progress)]
        if self._wanted and not self._abandoned:
            self._answering = asyncio.create_task(self._answer(accepted, items, machine, keeper, tuple(progress)))
            await asyncio.wait({self._answering})
            if not self._answering.cancelled():
                self._answering.result()
        # A task that is cancelled before its first step has done nothing at all.
        if not machine.ended and not self._abandoned:
            await keeper.keep(machine.cancel())

    async def _answer(
        self,
        accepted: Accepted,
        items: list[Json],
        machine: ResponseMachine,
        keeper: JournalKeeper,
        progress: tuple[bytes, ...],
    ) -> None:
        call = await self._call(accepted)
        try:
            try:
                stream = await self._admit(call, accepted, items, machine, progress)
            except AntiphonError as error:
                await keeper.keep(machine.fault(error))
                return
            opening = machine.start() if machine.waiting else []
            async with aclosing(drive(machine, opening, stream, keeper)) as events:
                async for _ in events:
                    pass
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
    async def _log(self) -> list[EventBatch] | None:
        """The whole log, or None if its beginning is no longer kept."""
        batches: list[EventBatch] = []
        after = -1
        while True:
            page = await self._store.events(
                self._response.project_id, self._response.id, after=after, limit=limits.TAIL_PAGE
            )
            if page is None or page.start != 0:
                return None
            batches += page.batches
            if len(page.batches) < limits.TAIL_PAGE:
                return batches
            after = batches[-1].first + batches[-1].count - 1

    async def _input(self) -> list[Json]:
        """The input items, in order."""
        stored = await self._store.items_of(self._response.project_id, [self._response.id])
        items = stored.get(self._response.id, [])
        return [msgspec.json.decode(item.body) for item in items if item.direction == "input"]

    def _machine(self, accepted: Accepted, batches: list[EventBatch]) -> ResponseMachine:
        request = requests.parse(accepted.body, accepted.extra)
        base = msgspec.json.decode(self._response.body) | {"output": []}
        machine = ResponseMachine(
            base,
            clock=self._clock.now,
            obfuscate=request.obfuscate,
            show_logprobs=request.show_logprobs,
            seal=self._preparer.seal(self._response.project_id, request),
        )
        parser = sse.SSEParser()
        machine.restore(msgspec.json.decode(event.data) for batch in batches for event in parser.feed(batch.payload))
        return machine

    # --- the engine ---------------------------------------------------------------------------------------------------
    async def _admit(
        self,
        call: Call,
        accepted: Accepted,
        items: list[Json],
        machine: ResponseMachine,
        progress: tuple[bytes, ...],
    ) -> Stream:
        """The engine's stream. Waits while its queue is full: that is what being queued means."""
        prepared = await self._preparer.again(call, accepted.body, Unknown(accepted.extra), items, machine.output)
        machine.taken = prepared.taken
        machine.forms = prepared.offered.forms
        generation = self._generation(prepared, machine, progress)
        waited = 0.0
        while True:
            try:
                return await prepared.begin(generation)
            except NeverFits:
                raise
            except (Overloaded, RateLimited):
                pass
            except EngineUnavailable:
                if waited > _ENGINE_PATIENCE:
                    raise
            await asyncio.sleep(_PATIENCE)
            waited += _PATIENCE

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
