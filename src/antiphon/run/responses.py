"""Responses: made, kept, followed, looked up, cancelled and deleted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import EngineUnavailable, InvalidRequest, NotFound, Overloaded
from antiphon.domain.ids import new_id
from antiphon.domain.records import Page, StoredItem, StoredResponse
from antiphon.jobs.presence import Presence
from antiphon.jobs.retries import Retries
from antiphon.jobs.runner import JobRunner
from antiphon.policy.call import Call
from antiphon.policy.keys.touched import permit_touched
from antiphon.ports import Clock, ResponseStore, Store
from antiphon.protocol.client_params import RESPONSES, with_client_param
from antiphon.protocol.events import Event
from antiphon.protocol.refusals import missing_parameter, unknown_parameter, unsupported_parameter
from antiphon.protocol.responses import compaction, objects
from antiphon.protocol.responses import request as requests
from antiphon.protocol.responses.machine import ResponseMachine
from antiphon.protocol.unknown import Unknown
from antiphon.run.bus import Bus
from antiphon.run.chains import Chains
from antiphon.run.compaction import Stream
from antiphon.run.conversation_lock import ConversationLock, ConversationLocks
from antiphon.run.driver import MachineInput, drive, finish
from antiphon.run.foreground import Foreground
from antiphon.run.persistence import EventLogWriter, FinalResponseWriter, ResponseWriter
from antiphon.run.prepare import Prepared, Preparer
from antiphon.run.response_job import Accepted
from antiphon.run.retention import Retention
from antiphon.run.tail import tail

Json = dict[str, Any]

#: How long a cancel waits for the worker that makes the response (seconds).
_CANCEL_PATIENCE = 5.0


class ResponseRun:
    """One response being made for a client that listens. Exactly one of `events` and `result` is used, once."""

    def __init__(
        self,
        store: ResponseStore,
        foreground: Foreground,
        record: StoredResponse,
        prepared: Prepared,
        machine: ResponseMachine,
        deltas: Stream,
        turn: ConversationLock | None = None,
    ) -> None:
        self.id = record.id
        self._store = store if prepared.request.store else None
        self._foreground = foreground
        self._record = record
        self._items = prepared.items
        self._turn = turn
        self.prepared = prepared
        self.machine = machine
        self.deltas = deltas

    async def events(self, facts: MachineInput[Any] | None = None) -> AsyncGenerator[list[Event], None]:
        """The stream. What it shows is stored before it is yielded. `facts`: what to feed instead of the deltas."""
        persister = ResponseWriter(self._store, self.machine, self._record, self._items, self._turn)
        with self._foreground.under_way(self._record.project_id, self.id):
            async with (
                self._over(),
                aclosing(drive(self.machine, self.machine.start(), facts or self.deltas, persister)) as events,
            ):
                async for batch in events:
                    yield batch

    async def result(self) -> bytes:
        """The finished Response object as JSON, stored if it is to be. Raises what broke the generation."""
        persister = FinalResponseWriter(self._store, self.machine, self._record, self._items, self._turn)
        async with self._over():
            await finish(self.machine, self.machine.start(), self.deltas, persister)
        return persister.body

    @contextlib.asynccontextmanager
    async def _over(self) -> AsyncIterator[None]:
        """After this, the turn in the conversation is over, however it went."""
        try:
            yield
        finally:
            if self._turn is not None:
                await self._turn.release()


class Responses:
    """The Responses surface over the driver."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        bus: Bus,
        presence: Presence,
        runner: JobRunner,
        foreground: Foreground,
        retries: Retries,
        preparer: Preparer,
    ) -> None:
        self._store = store
        self._clock = clock
        self._bus = bus
        self._presence = presence
        self._runner = runner
        self._foreground = foreground
        self._preparer = preparer
        self._turns = ConversationLocks(store, presence, retries)
        self._retention = Retention(store, clock)

    # --- making -------------------------------------------------------------------------------------------------------
    async def begin(self, call: Call, body: Json, unknown: Unknown, *, chains: Chains | None = None) -> ResponseRun:
        """Admit a request: everything that can be refused is refused here, before anything is made or stored.

        `chains`: what the client's connection remembers.
        """
        await self._presence.confirm()
        permit_touched(call.caller, body, writes=True)
        async with self._turns.taken(call.project_id, body) as turn:
            prepared = await self._preparer.prepare(call, body, unknown, chains)
            record, base = await self._record(call, prepared, turn)
            call.object_id, call.streamed = record.id, bool(body.get("stream"))
            deltas = await self._admit(prepared)
            machine = self._machine(call.project_id, prepared, base)
            return ResponseRun(self._store, self._foreground, record, prepared, machine, deltas, turn)

    async def begin_background(self, call: Call, body: Json, unknown: Unknown) -> StoredResponse:
        """Accept a request to be made in the background: when this returns, it survives everything but its database."""
        permit_touched(call.caller, body, writes=True)
        async with self._turns.taken(call.project_id, body) as turn:
            queued = await self._queue(call, body, unknown, turn)
            if turn is not None:
                # Held by the stored response from now on.
                turn.settled = True
                await turn.release()
        self._runner.notify()
        return queued

    async def _queue(self, call: Call, body: Json, unknown: Unknown, turn: ConversationLock | None) -> StoredResponse:
        prepared = await self._preparer.prepare(call, body, unknown)
        if not prepared.request.store:
            raise InvalidRequest("Background responses must be stored.", code="invalid_value", param="store")
        # What the engine would refuse is refused now, to whoever can still correct it; for the rest there is time.
        with contextlib.suppress(Overloaded, EngineUnavailable):
            await self._check(prepared)
        record, base = await self._record(call, prepared, turn)
        # With its prompt put in: a version that is published later changes nothing.
        accepted = Accepted(
            prepared.request.body, dict(unknown.fields), call.caller.key.id, call.counted, call.cache_control
        )
        record = replace(record, background=True, owner=None)
        machine = self._machine(call.project_id, prepared, base)
        job = accepted.job(call.project_id, record.id)
        persister = EventLogWriter(self._store, machine, record, prepared.items, self._bus, job)
        await persister.keep(machine.queue())
        return replace(record, status="queued", body=persister.body)

    async def _admit(self, prepared: Prepared) -> Stream:
        try:
            return await prepared.begin(msgspec.structs.replace(prepared.generation, batches=True))
        except InvalidRequest as error:
            raise with_client_param(error, RESPONSES.at(prepared.offered.places)) from None

    async def _check(self, prepared: Prepared) -> None:
        try:
            await prepared.check()
        except InvalidRequest as error:
            raise with_client_param(error, RESPONSES.at(prepared.offered.places)) from None

    async def _record(
        self, call: Call, prepared: Prepared, turn: ConversationLock | None
    ) -> tuple[StoredResponse, Json]:
        now = int(self._clock.now())
        base = requests.new_response(prepared.request, prepared.engine.name, now)
        if turn is not None:
            base["id"] = turn.response_id
        record = StoredResponse(
            project_id=call.project_id,
            id=base["id"],
            created_at=now,
            status="in_progress",
            model=prepared.engine.name,
            body=b"",
            previous_response_id=prepared.request.previous_response_id,
            owner=self._presence.worker,
            conversation_id=None if turn is None else turn.conversation_id,
            expires_at=await self._retention.expiry(call.project_id, now) if prepared.request.store else None,
        )
        return record, base

    def _machine(self, project_id: str, prepared: Prepared, base: Json) -> ResponseMachine:
        request = prepared.request
        return ResponseMachine(
            base,
            clock=self._clock.now,
            obfuscate=request.obfuscate,
            show_logprobs=request.show_logprobs,
            seal=self._preparer.seal(project_id, request),
            reserved_ids=prepared.reserved_ids,
            forms=prepared.offered.forms,
        )

    # --- the context --------------------------------------------------------------------------------------------------
    async def count(self, call: Call, body: Json, unknown: Unknown) -> int:
        """Input tokens that a response to this request would use (body: schema `TokenCountsBody`).

        Without `model`, that of the previous response counts. Raises what making the response would raise.
        """
        permit_touched(call.caller, body, writes=False)
        if body.get("personality"):
            raise unsupported_parameter("personality", "is not available with this model")
        if not body.get("model") and body.get("previous_response_id"):
            body = {**body, "model": await self._preparer.model_of(call.project_id, body["previous_response_id"])}
        prepared = await self._prepare_context(call, body, unknown)
        try:
            return await prepared.engine.count_tokens(prepared.generation)
        except InvalidRequest as error:
            raise with_client_param(error, RESPONSES.at(prepared.offered.places)) from None

    async def compact(self, call: Call, body: Json, unknown: Unknown) -> bytes:
        """A compacted conversation as JSON: the user's messages and one compaction item. Nothing of it is stored.

        `body` is of schema `CompactResponseMethodPublicBody`.
        """
        permit_touched(call.caller, body, writes=False)
        for name in unknown.fields:
            raise unknown_parameter(name)
        prepared = await self._prepare_context(call, body, unknown, compaction.forced)
        assert prepared.compaction is not None
        try:
            item, usage = await prepared.compaction.make()
        except InvalidRequest as error:
            raise with_client_param(error, RESPONSES.at(prepared.offered.places)) from None
        return msgspec.json.encode(
            {
                "id": new_id("resp_"),
                "object": "response.compaction",
                "created_at": int(self._clock.now()),
                "output": [*prepared.compaction.users, item],
                "usage": objects.usage(usage),
            }
        )

    async def _prepare_context(
        self, call: Call, body: Json, unknown: Unknown, change: Callable[[Json], Json] = dict
    ) -> Prepared:
        body = {name: value for name, value in body.items() if value is not None}
        if not {"input", "previous_response_id", "conversation", "prompt"} & body.keys():
            raise missing_parameter("input")
        return await self._preparer.prepare(call, change({"input": [], **body}), unknown)

    # --- what was made ------------------------------------------------------------------------------------------------
    async def get(self, project_id: str, response_id: str) -> bytes:
        """The Response object as JSON. Raises `NotFound`."""
        return (await self._find(project_id, response_id)).body

    async def follow(self, project_id: str, response_id: str, *, after: int) -> AsyncGenerator[bytes, None]:
        """The events of a background response after sequence number `after` (-1: all), those to come included.

        Raises `NotFound`, and `InvalidRequest` for a response that is no background response.
        """
        if not (await self._find(project_id, response_id)).background:
            raise InvalidRequest(
                "Only responses that were created with 'background' can be streamed again.",
                code="not_a_background_response",
                param="stream",
            )
        return tail(self._store, self._bus, project_id, response_id, after=after)

    async def cancel(self, project_id: str, response_id: str) -> bytes:
        """End a background response; returns the Response object as it is then. One that has ended stays as it is.

        Raises `NotFound`, and `InvalidRequest` for a response that is no background response.
        """
        response = await self._find(project_id, response_id)
        if not response.background:
            raise InvalidRequest(
                "Only responses that were created with 'background' can be cancelled; end a synchronous one by closing "
                "its connection.",
                code="not_a_background_response",
                param="response_id",
            )
        if not response.ended:
            await self._runner.cancel(project_id, response_id)
            response = await self._ended(response)
        return response.body

    async def _ended(self, response: StoredResponse) -> StoredResponse:
        """The response once it has ended; as it is, if that takes too long."""
        name = (response.project_id, response.id)
        deadline = self._clock.monotonic() + _CANCEL_PATIENCE
        while not response.ended and (left := deadline - self._clock.monotonic()) > 0:
            news = self._bus.listen(name)
            response = await self._find(*name)
            if not response.ended:
                # News of other workers come by polling, if at all.
                await asyncio.wait({news}, timeout=min(left, limits.CANCEL_TICK))
            self._bus.forget(name, news)
        return response

    async def delete(self, project_id: str, response_id: str) -> None:
        """Delete a response, its items and its events. One that is being made is ended first. Raises `NotFound`."""
        response = await self._find(project_id, response_id)
        if response.background and not response.ended:
            await self._runner.cancel(project_id, response_id)
            await self._ended(response)
        if not await self._store.delete_response(project_id, response_id):
            raise _not_found(response_id)

    async def input_items(
        self, project_id: str, response_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[StoredItem]:
        """A page of the input items. Raises `NotFound` for the response, and for an `after` that is not among them."""
        await self._find(project_id, response_id)
        return await self._store.list_items(project_id, response_id, after=after, limit=limit, ascending=ascending)

    async def _find(self, project_id: str, response_id: str) -> StoredResponse:
        response = await self._store.get_response(project_id, response_id)
        if response is None:
            raise _not_found(response_id)
        return response


def _not_found(response_id: str) -> NotFound:
    return NotFound(f"Response with id '{response_id}' not found.", param="response_id")
