"""The meter: what an engine made of a generation, what that used, and what failed attempts have used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from antiphon.domain import limits
from antiphon.domain.errors import used_by
from antiphon.domain.routing import LOCAL
from antiphon.policy.call import GenerationContext, TargetUsage
from antiphon.policy.pipeline.stages import AdmissionCheck, error_code, leave_all
from antiphon.protocol.generation import (
    Batch,
    CallArguments,
    Delta,
    Finish,
    PassthroughDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    Usage,
)
from antiphon.protocol.streams import Stream

#: The answer does not fit a schema that is not strict.
UNMET = (b"x-antiphon-schema", b"unmet")
_WITH_TEXT = (TextDelta, PassthroughDelta, ReasoningDelta, CallArguments, RefusalDelta)


class MeteredStream(Stream[Delta]):
    """An engine's stream that notes what came of it, and leaves the checks at its end, however that comes."""

    def __init__(
        self, context: GenerationContext, entered: list[AdmissionCheck], stream: AsyncGenerator[Delta, None]
    ) -> None:
        self._context = context
        self._entered = entered
        self._stream = stream
        self._add_text = context.generated_text.add
        #: Whether it has ended, failed or was closed.
        self.over = False

    async def __anext__(self) -> Delta:
        try:
            delta = await self._stream.__anext__()
        except StopAsyncIteration:
            self._leave()
            raise
        except BaseException as error:
            self._context.error = error_code(error)
            used = used_by(error)
            if isinstance(used, Usage) and not self._context.finished:
                self._context.usage = used.bounded()
            self._leave()
            raise
        # By far most deltas are further text: they cost no more than this.
        if isinstance(delta, _WITH_TEXT) and self._context.first_at is not None:
            self._add_text(delta.text)
        else:
            self._note(delta)
        return delta

    def _note(self, delta: Delta) -> None:
        context = self._context
        if context.first_at is None:
            context.first_at = time.monotonic()
        if isinstance(delta, _WITH_TEXT):
            self._add_text(delta.text)
        elif isinstance(delta, Batch):
            for each in delta.deltas:
                self._note(each)
        elif isinstance(delta, Finish):
            context.finish = delta
            context.tier = delta.tier
            if context.cached:
                context.saved_usage = delta.usage.bounded()
            else:
                context.usage = delta.usage.bounded()
            if delta.unmet and not context.unmet:
                context.unmet = True
                context.call.trailers.append(UNMET)
            self._finish()

    def _finish(self) -> None:
        self._context.finished = True
        for check in self._entered:
            check.finish(self._context)

    async def cut(self) -> None:
        """End the engine's work: its answer is complete as it is. What it made until now is what it has used."""
        context = self._context
        await self._close()
        if context.finished:  # the rest of a whole answer was there
            return
        if context.cached:
            context.saved_usage = estimated(context)
        elif context.usage is None:
            context.usage = estimated(context)
        self._finish()

    def shown_usage(self) -> Usage:
        """The usage that a finished answer shows: the engine's own words, or our estimate."""
        context = self._context
        if context.finish is not None:
            return context.finish.usage
        return (context.saved_usage if context.cached else context.usage) or Usage()

    def _leave(self) -> None:
        if self.over:
            return
        self.over = True
        context = self._context
        if context.usage is None:
            context.usage = estimated(context)
        leave_all(self._entered, context)

    async def aclose(self) -> None:
        """End the generation now."""
        context = self._context
        try:
            await self._close()
        finally:
            if not context.finished and context.error is None:
                context.error = "cancelled"
            self._leave()

    async def _close(self) -> None:
        context = self._context
        if not (self.over or context.finished or context.generation.streamed):
            await self._take_what_is_there()
        await self._stream.aclose()

    async def _take_what_is_there(self) -> None:
        """Read the rest of a whole answer, as far as it has come: it says what it has used."""
        try:
            async with asyncio.timeout(0):
                async for delta in self._stream:
                    self._note(delta)
        except Exception:  # it has not come yet, or is broken: there is nothing more to learn
            return


def estimated(context: GenerationContext) -> Usage | None:
    """An estimate of what an answer that was broken off has used.

    An upstream that was asked for a whole answer has worked on it for an unknown time: it counts as long as it might
    have been. None: nothing was generated.
    """
    target, text = context.trace.target, context.generated_text
    elsewhere = target is not None and target.upstream != LOCAL
    if text.pieces:
        output = text.tokens(None if target is None else target.model)
    elif elsewhere and not context.generation.streamed:
        output = _most_output(context)
    elif elsewhere or context.first_at is not None:
        output = 0
    else:
        return None
    return Usage(context.expected_input, output_tokens=output, estimated=True).bounded()


def _most_output(context: GenerationContext) -> int:
    """The most output tokens that an answer might have had."""
    most = context.generation.sampling.max_tokens
    return limits.BUDGET_OUTPUT_TOKENS if most is None else most


def usage_of_failed(context: GenerationContext) -> list[TargetUsage]:
    """What targets used that were asked and gave no answer, where they may have to be paid for it all the same."""
    used: list[TargetUsage] = []
    for attempt in context.trace.attempts:
        if isinstance(attempt.used, Usage):
            used.append(TargetUsage(attempt.target, attempt.used.bounded()))
        elif attempt.paid and attempt.target.upstream != LOCAL:
            output = 0 if context.generation.streamed else _most_output(context)
            usage = Usage(context.expected_input, output_tokens=output, estimated=True)
            used.append(TargetUsage(attempt.target, usage.bounded()))
    return used
