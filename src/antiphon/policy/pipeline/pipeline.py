"""Where all stages are installed: the one way to a generation, and to those who are told of calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError
from antiphon.domain.texts import label
from antiphon.policy.call import Call
from antiphon.policy.keys.permit import permit_model
from antiphon.policy.pipeline.engine import PipelineEngine, Stages
from antiphon.policy.pipeline.stages import (
    AdmissionCheck,
    Answerer,
    CallListener,
    RequestTransform,
    Stage,
    StartListener,
    StreamFilter,
)
from antiphon.ports import Route
from antiphon.telemetry import logs
from antiphon.telemetry.logs import logger

_log = logger(__name__)


class Pipeline:
    """Gives every call a route's engine behind all stages, and tells listeners of calls that are over."""

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
        """`stages`: those of one kind are passed in this order. The order of the kinds is told in `stages.py`.

        `call_listeners` are told at once that a call is over. `deferred_listeners` are told of many calls together,
        within `limits.CALLS_TICK`: what they do costs half as much then.
        """
        self._stages = Stages(
            checks=tuple(each for each in stages if isinstance(each, AdmissionCheck)),
            transforms=tuple(each for each in stages if isinstance(each, RequestTransform)),
            answerer=answerer,
            filters=tuple(each for each in stages if isinstance(each, StreamFilter)),
            start_listeners=tuple(start_listeners),
        )
        self._call_listeners = tuple(call_listeners)
        self._deferred_listeners = tuple(deferred_listeners)

    def bound(self, call: Call, route: Route) -> PipelineEngine:
        """The route as an engine for this call: whatever it generates passes the stages.

        Raises `ModelNotFound` if the call's key may not use it, as for a model that does not exist.
        """
        permit_model(call.caller, call.model, route.name)
        return PipelineEngine(call, route, self._stages.applying(call, route))

    def close(self, call: Call, status: int, error: str | None = None) -> None:
        """The call is over. Safe to call twice; the first time counts."""
        if call.closed:
            return
        call.closed = True
        call.status = status
        call.error = call.error or (None if error is None else label(error) or "other")
        call.ended = time.monotonic()
        _notify(call, self._call_listeners)
        self._over.append(call)
        if len(self._over) == 1:
            try:
                asyncio.get_running_loop().call_later(limits.CALLS_TICK, self.settle)
            except RuntimeError:  # no loop runs: nobody would come back to it
                self.settle()

    def put_off(self, call: Call, error: AntiphonError) -> None:
        """The call was refused for the moment and will be tried again as another one, so no listener counts this one.

        What it holds, such as its place among concurrent calls, is given back. If something of it was paid for before
        it was refused, such as a summary, it is closed like any other call.
        """
        if any(context.total_usage is not None for context in call.generations):
            self.close(call, error.status, error.code)
        elif not call.closed:
            call.closed = True
            _notify(call, self._call_listeners)
            call.generations = []

    def settle(self) -> None:
        """Tell the deferred listeners of all calls that are over."""
        calls, self._over = self._over, []
        for call in calls:
            _notify(call, self._deferred_listeners)
            # Calls and contexts refer to each other: without this, only the garbage collector could free them.
            call.generations = []
        logs.flush()


def _notify(call: Call, listeners: Sequence[CallListener]) -> None:
    for listener in listeners:
        try:
            listener.call_ended(call)
        except Exception as broken:  # what is over cannot be refused any more
            _log.error("a call could not be noted", listener=type(listener).__name__, exc_info=broken)
