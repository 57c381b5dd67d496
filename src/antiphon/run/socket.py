"""Responses of a connection that stays: warmed up, made, steered, and remembered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from antiphon.policy.call import Call
from antiphon.protocol.events import Event
from antiphon.protocol.generation import Delta, Usage
from antiphon.protocol.responses.ending import Steered, Warmed
from antiphon.protocol.responses.machine import ResponseMachine
from antiphon.protocol.responses.table import ItemDelta
from antiphon.protocol.streams import OwnedStream
from antiphon.protocol.unknown import Unknown
from antiphon.run.chains import Chains, Link
from antiphon.run.compaction import Stream
from antiphon.run.responses import ResponseRun, Responses

Json = dict[str, Any]
MachineInput = AsyncGenerator[Delta | ItemDelta | Steered | Warmed, None]


class SocketRun:
    """One response being made. `events` is used once."""

    def __init__(self, run: ResponseRun, *, generate: bool) -> None:
        self.id = run.id
        self._run = run
        self._steered = asyncio.Event()
        self._facts = _steerable(run.deltas, run.machine, self._steered) if generate else _warm(run)

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """The stream. What it shows is stored before it is yielded, if it is to be."""
        facts = OwnedStream(self._facts, self._run.deltas)
        events = self._run.events(facts)
        try:
            async for batch in events:
                yield batch
        finally:
            await events.aclose()

    def steer(self) -> None:
        """End it at the next point where another response can go on from it, unless it ends before."""
        self._steered.set()

    @property
    def ended(self) -> Json | None:
        """The Response object once it has ended."""
        return self._run.machine.snapshot() if self._run.machine.ended else None

    def link(self) -> Link:
        """What there is to remember of it."""
        prepared, machine = self._run.prepared, self._run.machine
        whole = prepared.parent is None or prepared.parent.persisted
        items = [*prepared.items, *machine.output]
        if whole:
            items = [*prepared.before, *items]
        return Link(None if whole else prepared.parent, items, persisted=prepared.request.store and whole)


async def _steerable(deltas: Stream, machine: ResponseMachine, steered: asyncio.Event) -> MachineInput:
    """The deltas, until the response is steered and may end where it is."""
    # The first delta may take long, as the prompt is read before it; the others come one soon after the other.
    first = await _unless(steered, deltas)
    if first is None:
        if steered.is_set():
            yield Steered()
        return
    yield first
    async for delta in deltas:
        if steered.is_set() and machine.steerable:
            yield Steered()
            return
        yield delta


async def _unless(steered: asyncio.Event, deltas: Stream) -> Delta | ItemDelta | None:
    """The first delta; None if the response is steered before it, or if there is none."""
    arriving = asyncio.ensure_future(anext(deltas, None))
    asked = asyncio.ensure_future(steered.wait())
    try:
        await asyncio.wait({arriving, asked}, return_when=asyncio.FIRST_COMPLETED)
        return arriving.result() if arriving.done() else None
    finally:
        asked.cancel()
        if not arriving.done():
            arriving.cancel()
            await asyncio.gather(arriving, return_exceptions=True)


async def _warm(run: ResponseRun) -> MachineInput:
    """Have the engine read the prompt, so that a response that goes on from it begins sooner, and say nothing."""
    await anext(run.deltas, None)
    await run.deltas.aclose()
    tokens = await run.prepared.engine.count_tokens(run.prepared.generation)
    yield Warmed(Usage(input_tokens=tokens))


class SocketResponses:
    """The Responses surface, as one connection uses it."""

    def __init__(self, responses: Responses) -> None:
        self._responses = responses
        self._chains = Chains()

    async def begin(self, call: Call, body: Json, unknown: Unknown, *, generate: bool) -> SocketRun:
        """Admit a request. Raises whatever refuses it."""
        run = await self._responses.begin(call, body, unknown, chains=self._chains)
        return SocketRun(run, generate=generate)

    def keep(self, run: SocketRun) -> None:
        """Remember a response that has ended."""
        self._chains.keep(run.id, run.link())

    def forget(self, response_id: str) -> None:
        """Have a response be gone on from no more, unless the store has it."""
        self._chains.forget(response_id)
