"""A route as one call has it: whatever it generates passes the stages."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import NamedTuple

import msgspec

from antiphon.domain.errors import EngineFailed, InvalidRequest
from antiphon.domain.fairness import WHOSE
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.pipeline.filtered import FilteredStream
from antiphon.policy.pipeline.metered import MeteredStream, usage_of_failed
from antiphon.policy.pipeline.stages import (
    AdmissionCheck,
    Answerer,
    RequestTransform,
    StartListener,
    StreamFilter,
    error_code,
    leave_all,
)
from antiphon.ports import Capabilities, Route
from antiphon.protocol.generation import Delta, Generation
from antiphon.telemetry.logs import logger

_log = logger(__name__)


class Stages(NamedTuple):
    """All stages, in the order in which a generation passes them (see `stages`), and who is told when it starts."""

    checks: tuple[AdmissionCheck, ...] = ()
    transforms: tuple[RequestTransform, ...] = ()
    answerer: Answerer | None = None
    filters: tuple[StreamFilter, ...] = ()
    start_listeners: tuple[StartListener, ...] = ()

    @property
    def reads_answer(self) -> bool:
        """Whether a filter needs the answer in neutral deltas."""
        return bool(self.filters) and any(each.needs_neutral for each in self.filters)

    @property
    def reads_request(self) -> bool:
        """Whether a transform needs the request in neutral words."""
        return bool(self.transforms) and any(each.needs_neutral for each in self.transforms)

    def applying(self, call: Call, route: Route) -> Stages:
        """Those that apply to a call on a route. It depends on the call's key and the route only."""
        if not (self.transforms or self.filters):
            return self
        return self._replace(
            transforms=tuple(each for each in self.transforms if each.applies(call, route)),
            filters=tuple(each for each in self.filters if each.applies(call, route)),
        )


class PipelineEngine:
    """Implements `ports.Engine` for one call."""

    def __init__(self, call: Call, route: Route, stages: Stages) -> None:
        """`stages`: those that apply to the call on this route."""
        self._call = call
        self._stages = stages
        self.route = route
        self._reads_answer = stages.reads_answer
        self._reads = self._reads_answer or stages.reads_request

    @property
    def name(self) -> str:
        """The model's name as answers show it."""
        return self.route.model

    @property
    def capabilities(self) -> Capabilities:
        """What some target of the route can do, and the stages allow."""
        known = self.route.capabilities
        if not self._reads:
            return known
        return replace(known, passthrough=frozenset(), continues=known.continues and not self._reads_answer)

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """The stream of a new generation that has passed all stages. Raises what refuses it."""
        call, stages = self._call, self._stages
        WHOSE.set(call.project_id)
        if call.upstream_headers:
            generation = msgspec.structs.replace(generation, headers=call.upstream_headers)
        context = GenerationContext(call, self.route, self._readable(generation), tier=call.service_tier)
        call.add_generation(context)
        entered: list[AdmissionCheck] = []
        try:
            await self._enter(context, entered)
            waiting = None if stages.answerer is None else stages.answerer.answer(context)
            stream = None if waiting is None else await waiting
            if stream is None:
                stream = await self.route.generate(context.generation, context.trace)
        except BaseException as error:
            context.error = error_code(error)
            context.failed_usage = usage_of_failed(context)
            leave_all(entered, context)
            set_target_headers(context)
            raise
        if context.trace.attempts:
            context.failed_usage = usage_of_failed(context)
        set_target_headers(context)
        for listener in stages.start_listeners:
            try:
                listener.answer_started(context)
            except Exception as broken:  # an answer is there, and worth more than its headers
                _log.error("an answer's headers are not complete", listener=type(listener).__name__, exc_info=broken)
        metered = MeteredStream(context, entered, stream)
        return await self._filtered(context, metered) if stages.filters else metered

    async def _enter(self, context: GenerationContext, entered: list[AdmissionCheck]) -> None:
        for check in self._stages.checks:
            waiting = check.enter(context)
            if waiting is not None:
                await waiting
            entered.append(check)
        for transform in self._stages.transforms:
            waiting = transform.transform(context)
            if waiting is not None:
                await waiting

    async def _filtered(self, context: GenerationContext, metered: MeteredStream) -> FilteredStream:
        try:
            return FilteredStream(context, metered, self._stages.filters)
        except BaseException as error:
            context.error = error_code(error)
            await metered.aclose()
            raise

    def _readable(self, generation: Generation) -> Generation:
        """The generation in neutral words, where a stage reads it; and with an answer in neutral words, likewise.

        Raises `InvalidRequest` for what only a server of the same API could answer in its own words, and `EngineFailed`
        for the rest of an answer of which the stages have not seen the beginning.
        """
        if not self._reads:
            return generation
        if generation.passthrough is not None and generation.passthrough.only:
            raise InvalidRequest(
                "This request asks for something that can only be passed on as it is, and rules of this server must "
                "read what is passed on.",
                code="unsupported_value",
            )
        if not self._reads_answer:
            return generation.plain()
        if generation.progress:
            raise EngineFailed("An answer that passes a filter cannot be gone on with.")
        return generation.neutral()

    async def check(self, generation: Generation) -> None:
        """Raise what a stage or the engine would refuse this with now. Nothing is generated.

        Its context is marked as a trial, and not one of the call's. That the call is a request is counted.
        """
        WHOSE.set(self._call.project_id)
        context = self._trial(generation)
        entered: list[AdmissionCheck] = []
        try:
            await self._enter(context, entered)
            await self.route.check(context.generation)
        finally:
            leave_all(entered, context)

    async def count_tokens(self, generation: Generation) -> int:
        """As the route counts them, of what the engine would see."""
        if self._stages.transforms:
            context = self._trial(generation)
            for transform in self._stages.transforms:
                waiting = transform.transform(context)
                if waiting is not None:
                    await waiting
            generation = context.generation
        return await self.route.count_tokens(generation)

    def _trial(self, generation: Generation) -> GenerationContext:
        return GenerationContext(self._call, self.route, self._readable(generation), trial=True)

    async def start(self) -> None:
        """Does nothing: a call starts no engine."""

    async def stop(self) -> None:
        """Does nothing: a call stops no engine."""

    async def ready(self) -> bool:
        """True: the route decides when it is asked."""
        return True


_TARGET, _ATTEMPTS, _FALLBACK = b"x-antiphon-target", b"x-antiphon-attempts", b"x-antiphon-fallback"
_TARGET_HEADERS = frozenset({_TARGET, _ATTEMPTS, _FALLBACK})


def set_target_headers(context: GenerationContext) -> None:
    """Put into the call's headers which target answers, after how many attempts, and whether it is a fallback.

    Only for routes that were configured: the built-in model alone has no attempts. Of several generations, the last
    one's target is named, and the attempts of all are counted.
    """
    call, trace = context.call, context.trace
    call.attempts += len(trace.attempts)
    if not call.attempts:
        return
    headers = call.headers
    fallback = trace.fallback
    if call.has_target_headers:
        fallback = fallback or (_FALLBACK, b"true") in headers
        headers[:] = [header for header in headers if header[0] not in _TARGET_HEADERS]
    call.has_target_headers = True
    headers.append((_ATTEMPTS, b"%d" % call.attempts))
    if trace.target is not None:
        headers.append((_TARGET, str(trace.target).encode("ascii", "backslashreplace")))
    if fallback:
        headers.append((_FALLBACK, b"true"))
