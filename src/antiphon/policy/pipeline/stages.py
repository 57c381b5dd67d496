"""What stands in the way of a generation: its rules, and who is told of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from antiphon.domain.errors import AntiphonError
from antiphon.domain.texts import label
from antiphon.policy.call import Call, GenerationContext
from antiphon.protocol.generation import Delta
from antiphon.telemetry.logs import logger

_log = logger(__name__)


class Stage(Protocol):
    """One rule that every generation passes."""

    async def enter(self, context: GenerationContext) -> None:
        """Let it pass, or raise the domain error that refuses it. Nothing of a refused one may be left behind.

        Nor of one that is only a trial, once it was left; but that its call is a request may be counted then.
        """

    def finish(self, context: GenerationContext) -> None:
        """The engine has finished, and `context.usage` is known. Before the end of the answer is sent."""

    def leave(self, context: GenerationContext) -> None:
        """It is over, however it went. Called once for each stage that was entered, the last one first."""


class CallListener(Protocol):
    """Who is told of every call that is over: the ledger, the metrics."""

    def call_ended(self, call: Call) -> None:
        """A call is over. Must not fail, and must not wait."""


class Answerer(Protocol):
    """A stage that may answer in the engine's place."""

    async def answer(self, context: GenerationContext) -> AsyncGenerator[Delta, None] | None:
        """The answer, or None to ask on."""


class StartListener(Protocol):
    """Who is told when an answer begins: what it adds to the call's headers is sent with it."""

    def answer_started(self, context: GenerationContext) -> None:
        """The engine, or a stage in its place, has taken the generation on. Must not fail, and must not wait."""


def leave(entered: list[Stage], context: GenerationContext) -> None:
    """Leave the stages that were entered, the last one first."""
    while entered:
        stage = entered.pop()
        try:
            stage.leave(context)
        except Exception as error:  # the answer is out: nothing of it can be refused any more
            _log.error("a stage could not be left", stage=type(stage).__name__, exc_info=error)


def error_code(error: BaseException) -> str:
    """The code of what ended a generation. Some are an upstream's own."""
    if isinstance(error, AntiphonError):
        return label(error.code or error.type) or "other"
    return "cancelled" if not isinstance(error, Exception) else "server_error"
