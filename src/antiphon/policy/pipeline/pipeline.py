"""The one way to a generation: every stage, in one order, whatever the surface."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError
from antiphon.domain.fairness import WHOSE
from antiphon.domain.texts import label
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.keys.permit import permit_model
from antiphon.policy.pipeline.metered import MeteredStream, wasted
from antiphon.policy.pipeline.stages import Answerer, CallListener, Stage, StartListener, error_code, leave
from antiphon.ports import Capabilities, Route
from antiphon.protocol.generation import Delta, Generation
from antiphon.telemetry import logs
from antiphon.telemetry.logs import logger

_log = logger(__name__)


class Pipeline:
    """Lets generations through its stages, and tells its call_listeners of calls."""

    def __init__(
        self,
        stages: Sequence[Stage] = (),
        call_listeners: Sequence[CallListener] = (),
        answerer: Answerer | None = None,
        start_listeners: Sequence[StartListener] = (),
        deferred_listeners: Sequence[CallListener] = (),
    ) -> None:
        """As `install` takes them. A pipeline that is made without may be handed on, and is given them later."""
        self._over: list[Call] = []
        self.install(stages, call_listeners, answerer, start_listeners, deferred_listeners)

    def install(
        self,
        stages: Sequence[Stage] = (),
        call_listeners: Sequence[CallListener] = (),
        answerer: Answerer | None = None,
        start_listeners: Sequence[StartListener] = (),
        deferred_listeners: Sequence[CallListener] = (),
    ) -> None:
        """`stages` in the order they are entered; then `answering` is asked, and only then the engine.

        `call_listeners` are told at once that a call is over. `deferred_listeners` are told of many calls together,
        within `limits.CALLS_TICK`: what they do costs half as much then.
        """
        self._stages = tuple(stages)
        self._call_listeners = tuple(call_listeners)
        self._answerer = answerer
        self._start_listeners = tuple(start_listeners)
        self._deferred_listeners = tuple(deferred_listeners)

    def bound(self, call: Call, route: Route) -> PipelineEngine:
        """The route as an engine for this call: whatever it generates goes through the stages.

        Raises `ModelNotFound` if the call's key may not ask for it: it might as well not be there.
        """
        permit_model(call.caller, call.model, route.name)
        return PipelineEngine(self, call, route)

    async def generate(self, call: Call, route: Route, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Admit a generation, and give its stream. Raises what a stage or the engine refuses it with."""
        WHOSE.set(call.project_id)
        context = GenerationContext(call, route, generation, tier=call.service_tier)
        call.add_generation(context)
        entered: list[Stage] = []
        try:
            for stage in self._stages:
                await stage.enter(context)
                entered.append(stage)
            stream = await self._answerer.answer(context) if self._answerer is not None else None
            if stream is None:
                stream = await route.generate(context.generation, context.trace)
        except BaseException as error:
            context.error = error_code(error)
            context.failed_usage = wasted(context)
            leave(entered, context)
            tell(context)
            raise
        context.failed_usage = wasted(context)
        tell(context)
        for listener in self._start_listeners:
            try:
                listener.answer_started(context)
            except Exception as broken:  # an answer is there, and worth more than what is said of it
                _log.error("an answer's headers are not complete", listener=type(listener).__name__, exc_info=broken)
        return MeteredStream(context, entered, stream)

    async def check(self, call: Call, route: Route, generation: Generation) -> None:
        """Raise what a stage or the engine would refuse this with now. Nothing is generated.

        It is an context that is marked as a trial, and not one of the call's. That the call is a request is counted.
        """
        WHOSE.set(call.project_id)
        context = GenerationContext(call, route, generation, trial=True)
        entered: list[Stage] = []
        try:
            for stage in self._stages:
                await stage.enter(context)
                entered.append(stage)
            await route.check(generation)
        finally:
            leave(entered, context)

    def close(self, call: Call, status: int, error: str | None = None) -> None:
        """The call is over. Safe to call twice; the first time counts."""
        if call.closed:
            return
        call.closed = True
        call.status = status
        call.error = call.error or (None if error is None else label(error) or "other")
        call.ended = time.monotonic()
        _tell_of(call, self._call_listeners)
        self._over.append(call)
        if len(self._over) == 1:
            try:
                asyncio.get_running_loop().call_later(limits.CALLS_TICK, self.settle)
            except RuntimeError:  # no loop runs: nobody would come back to it
                self.settle()

    def put_off(self, call: Call, error: AntiphonError) -> None:
        """The call was refused for the moment and will come again as another one: nobody is told that it is over.

        What it held, such as a place among those that run, is let go of. If something of it was paid for before it was
        refused, such as a summary, it is told of nevertheless.
        """
        if any(context.total_usage is not None for context in call.generations):
            self.close(call, error.status, error.code)
        elif not call.closed:
            call.closed = True
            _tell_of(call, self._call_listeners)
            call.generations = []

    def settle(self) -> None:
        """Tell the deferred_listeners of all calls that are over."""
        calls, self._over = self._over, []
        for call in calls:
            _tell_of(call, self._deferred_listeners)
            # Calls and their generations know each other: parted, they go at once, and the collector has nothing to do.
            call.generations = []
        logs.flush()


def _tell_of(call: Call, call_listeners: Sequence[CallListener]) -> None:
    for listener in call_listeners:
        try:
            listener.call_ended(call)
        except Exception as broken:  # what is over cannot be refused any more
            _log.error("a call could not be noted", listener=type(listener).__name__, exc_info=broken)


class PipelineEngine:
    """An engine as one call has it: see `ports.Engine`."""

    def __init__(self, gate: Pipeline, call: Call, route: Route) -> None:
        self._gate = gate
        self._call = call
        self.route = route

    @property
    def name(self) -> str:
        """The model's name as answers show it."""
        return self.route.model

    @property
    def capabilities(self) -> Capabilities:
        """What some target of the route can do."""
        return self.route.capabilities

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Through the stages, on the route."""
        if self._call.upstream_headers:
            generation = msgspec.structs.replace(generation, headers=self._call.upstream_headers)
        return await self._gate.generate(self._call, self.route, generation)

    async def check(self, generation: Generation) -> None:
        """Raise what would refuse it, and count nothing."""
        await self._gate.check(self._call, self.route, generation)

    async def count_tokens(self, generation: Generation) -> int:
        """As the route counts them."""
        return await self.route.count_tokens(generation)

    async def start(self) -> None:
        """Nothing: a call starts no engine."""

    async def stop(self) -> None:
        """Nothing: nor does it stop one."""

    async def ready(self) -> bool:
        """The route decides when it is asked."""
        return True


_TOLD = (b"x-antiphon-target", b"x-antiphon-attempts", b"x-antiphon-fallback")


def tell(context: GenerationContext) -> None:
    """Put into the call's headers which target serves it, after how many tries, and whether it is a fallback.

    Only for routes that were configured: the built-in model alone has nothing to tell. Of several generations, the last
    one's target is told, and the tries of all.
    """
    call, trace = context.call, context.trace
    call.attempts += len(trace.attempts)
    if not call.attempts:
        return
    headers = call.headers
    fallback = trace.fallback
    if call.has_target_headers:
        fallback = fallback or (_TOLD[2], b"true") in headers
        headers[:] = [header for header in headers if header[0] not in _TOLD]
    call.has_target_headers = True
    headers.append((_TOLD[1], b"%d" % call.attempts))
    if trace.target is not None:
        headers.append((_TOLD[0], str(trace.target).encode("ascii", "backslashreplace")))
    if fallback:
        headers.append((_TOLD[2], b"true"))
