"""A generation's stream, and what is noted of it: what came, what it used, and what failed attempts have used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from antiphon.domain import limits
from antiphon.domain.errors import used_by
from antiphon.domain.routing import LOCAL
from antiphon.policy.call import GenerationContext, TargetUsage
from antiphon.policy.pipeline.stages import Stage, error_code, leave
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

#: Tells that an answer does not fit a schema that is not strict.
UNMET = (b"x-antiphon-schema", b"unmet")
_SAYS = (TextDelta, PassthroughDelta, ReasoningDelta, CallArguments, RefusalDelta)


class MeteredStream(Stream[Delta]):
    """A generation's stream that notes what came of it, and leaves the stages at its end, however that comes."""

    def __init__(self, context: GenerationContext, entered: list[Stage], stream: AsyncGenerator[Delta, None]) -> None:
        self._context = context
        self._entered = entered
        self._stream = stream
        self._say = context.generated_text.add
        self._left = False

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
        self._note(delta)
        return delta

    def _note(self, delta: Delta) -> None:
        context = self._context
        if context.first_at is None:
            context.first_at = time.monotonic()
        if isinstance(delta, Batch):
            for each in delta.deltas:
                self._note(each)
            return
        if isinstance(delta, Finish):
            if context.cached:
                context.saved_usage = delta.usage.bounded()
            else:
                context.usage = delta.usage.bounded()
            context.tier = delta.tier
            context.finished = True
            if delta.unmet and not context.unmet:
                context.unmet = True
                context.call.trailers.append(UNMET)
            for stage in self._entered:
                stage.finish(context)
        elif isinstance(delta, _SAYS):
            self._say(delta.text)

    def _leave(self) -> None:
        if self._left:
            return
        self._left = True
        context = self._context
        if context.usage is None:
            context.usage = estimated(context)
        leave(self._entered, context)

    async def aclose(self) -> None:
        """End the generation now."""
        context = self._context
        try:
            if not (self._left or context.finished or context.generation.streamed):
                await self._take_what_is_there()
            await self._stream.aclose()
        finally:
            if not context.finished and context.error is None:
                context.error = "cancelled"
            self._leave()

    async def _take_what_is_there(self) -> None:
        """Of a whole answer that nobody wants any more: what has come already says what it has used."""
        try:
            async with asyncio.timeout(0):
                async for delta in self._stream:
                    self._note(delta)
        except Exception:  # it has not come yet, or is broken: there is nothing more to learn
            return


def estimated(context: GenerationContext) -> Usage | None:
    """What an answer that was broken off has used, as far as that can be told from outside.

    An upstream that was asked for the whole of an answer has worked on it, and nobody can say how far: it counts as
    long as it might have been. None: nothing was generated.
    """
    target, said = context.trace.target, context.generated_text
    elsewhere = target is not None and target.upstream != LOCAL
    if said.pieces:
        output = said.tokens(None if target is None else target.model)
    elif elsewhere and not context.generation.streamed:
        output = _unknown_output(context)
    elif elsewhere or context.first_at is not None:
        output = 0
    else:
        return None
    return Usage(context.expected_input, output_tokens=output, estimated=True).bounded()


def _unknown_output(context: GenerationContext) -> int:
    """Output tokens of an answer of which nothing is known: as many as it might have had."""
    most = context.generation.sampling.max_tokens
    return limits.BUDGET_OUTPUT_TOKENS if most is None else most


def wasted(context: GenerationContext) -> list[TargetUsage]:
    """What targets used that were asked and gave no answer, where they may have to be paid for it all the same."""
    spent: list[TargetUsage] = []
    for attempt in context.trace.attempts:
        if isinstance(attempt.used, Usage):
            spent.append(TargetUsage(attempt.target, attempt.used.bounded()))
        elif attempt.paid and attempt.target.upstream != LOCAL:
            output = 0 if context.generation.streamed else _unknown_output(context)
            usage = Usage(context.expected_input, output_tokens=output, estimated=True)
            spent.append(TargetUsage(attempt.target, usage.bounded()))
    return spent
