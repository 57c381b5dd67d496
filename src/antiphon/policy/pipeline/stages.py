"""The kinds of stages of the pipeline, and of those that listen to it.

A generation passes them in this order (`engine.PipelineEngine`), whatever asked for it:

1. `AdmissionCheck`s are entered, the first one first. Each may refuse, and may hold something for the generation.
2. `RequestTransform`s rewrite what the engine will see.
3. The `Answerer` may answer in the engine's place. It knows requests as they were rewritten, and answers that no filter
   has seen yet.
4. The route's engine answers.
5. The meter notes what was made (`metered.MeteredStream`): that is billed, whatever a filter lets through.
6. `StreamFilter`s rewrite the answer, the last one first, so that a stage that is both a transform and a filter
   surrounds those after it on both ways. What they let through is what is sent, stored and logged.

`StartListener`s are told when an answer begins, `CallListener`s when a call is over.

Stages inherit from these classes; what a stage does not need has a default that does nothing. One object may be of
several kinds. Most stages answer at once; a method that must wait returns what is to be awaited. So a generation that
meets nothing to wait for waits for nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from typing import Protocol, runtime_checkable

from antiphon.domain.errors import AntiphonError
from antiphon.domain.texts import label
from antiphon.policy.call import Call, GenerationContext
from antiphon.ports import Route
from antiphon.protocol.generation import Delta
from antiphon.telemetry.logs import logger

_log = logger(__name__)


@runtime_checkable
class AdmissionCheck(Protocol):
    """A rule that every generation passes: a limit, a budget."""

    def enter(self, context: GenerationContext) -> Awaitable[None] | None:
        """Admit the generation, or raise the domain error that refuses it: at once, or when the result is awaited.

        A check that has refused holds nothing. What is held for a trial is given back when it is left; only that its
        call is a request may stay counted.
        """
        return None

    def finish(self, context: GenerationContext) -> None:
        """The answer is complete and `context.usage` is known. Called before the end of the answer is sent."""
        return

    def leave(self, context: GenerationContext) -> None:
        """The generation is over, however it ended. Called once for each check that was entered, the last one first."""
        return


class _Rewriting(Protocol):
    """What transforms and filters have in common."""

    #: Whether it reads or rewrites neutral turns and deltas. While it applies, no request is passed through in its own
    #: words, and no answer comes in the upstream's; nor, for a filter, in batches or with notes of progress.
    needs_neutral: bool = True

    def applies(self, call: Call, route: Route) -> bool:
        """Whether it applies to this call on this route. Asked once for both, before anything is known of the request.

        The answer must depend on the key, the project and the route only: it may be remembered for them.
        """
        return True


@runtime_checkable
class RequestTransform(_Rewriting, Protocol):
    """Rewrites what the engine will see: redacts a prompt, adds an instruction."""

    def transform(self, context: GenerationContext) -> Awaitable[None] | None:
        """Call `context.ask` with what the engine is to be asked instead, or raise the domain error that refuses it.

        Also called for trials and for counting tokens, so it should be cheap.
        """


@runtime_checkable
class StreamFilter(_Rewriting, Protocol):
    """Rewrites what the engine answers. It may hold deltas back, change, drop or replace them, and end the answer."""

    def wrap(self, context: GenerationContext, stream: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
        """The stream that is let through; `stream` itself, if nothing of it will be changed.

        It ends with a `Finish`: the engine's, once what was held back is given out, or one of its own, which ends the
        engine's work. Usage and tier of a `Finish` are set by the pipeline. An error that it raises ends the answer
        with this error; nothing that it holds back is sent then. It need not close `stream`.
        """


#: What a feature may put into the pipeline, besides its answerer and its listeners.
Stage = AdmissionCheck | RequestTransform | StreamFilter


class Answerer(Protocol):
    """A stage that may answer in the engine's place."""

    def answer(self, context: GenerationContext) -> Awaitable[AsyncGenerator[Delta, None] | None] | None:
        """The answer, when it is awaited; None, at once or then, if the engine is to be asked."""


class CallListener(Protocol):
    """Is told of every call that is over: the ledger, the metrics."""

    def call_ended(self, call: Call) -> None:
        """A call is over. Must not fail, and must not wait."""


class StartListener(Protocol):
    """Is told when an answer begins: what it adds to the call's headers is sent with it."""

    def answer_started(self, context: GenerationContext) -> None:
        """The engine, or the answerer in its place, has accepted the generation. Must not fail, and must not wait."""


def leave_all(entered: list[AdmissionCheck], context: GenerationContext) -> None:
    """Leave the checks that were entered, the last one first."""
    while entered:
        check = entered.pop()
        try:
            check.leave(context)
        except Exception as error:  # the answer is out: nothing of it can be refused any more
            _log.error("a stage could not be left", stage=type(check).__name__, exc_info=error)


def error_code(error: BaseException) -> str:
    """The code of what ended a generation. Some are an upstream's own."""
    if isinstance(error, AntiphonError):
        return label(error.code or error.type) or "other"
    return "cancelled" if not isinstance(error, Exception) else "server_error"
