"""The stream that stream filters let through, and what becomes of the engine's when they end it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack

import msgspec

from antiphon.domain.errors import AntiphonError
from antiphon.policy.call import GenerationContext
from antiphon.policy.pipeline.metered import MeteredStream
from antiphon.policy.pipeline.stages import StreamFilter, error_code
from antiphon.protocol.generation import Delta, Finish
from antiphon.protocol.streams import Stream
from antiphon.telemetry.logs import logger

_log = logger(__name__)


class FilteredStream(Stream[Delta]):
    """A metered stream as filters let it through. Closing it closes the filters, then the engine's stream.

    After a `Finish` nothing more comes. If the engine has not finished by then, it is ended, and what it made is billed
    as for an answer that was broken off; the `Finish` shows that usage.
    """

    def __init__(self, context: GenerationContext, metered: MeteredStream, filters: Sequence[StreamFilter]) -> None:
        """`filters`: the first one surrounds the others. Raises what a filter raises that cannot begin."""
        self._context = context
        self._metered = metered
        #: The filters' streams, the innermost first.
        self._layers: list[AsyncGenerator[Delta, None]] = []
        self._stream: AsyncGenerator[Delta, None] = metered
        self._finished = False
        for each in reversed(filters):
            stream = each.wrap(context, self._stream)
            if stream is not self._stream:
                self._layers.append(stream)
                self._stream = stream

    async def __anext__(self) -> Delta:
        while True:
            try:
                delta = await self._stream.__anext__()
            except StopAsyncIteration:
                await self._stop()
                raise
            except BaseException as error:
                self._note(error)
                raise
            if self._finished:
                continue
            if isinstance(delta, Finish):
                self._finished = True
                return await self._finish(delta)
            return delta

    async def _finish(self, finish: Finish) -> Finish:
        """The end of the answer, with the usage of what the engine made."""
        if not self._context.finished:
            await self._metered.cut()
        engine = self._context.finish
        usage, tier = self._metered.shown_usage(), self._context.tier if engine is None else engine.tier
        if finish.usage is usage and finish.tier == tier:
            return finish
        return msgspec.structs.replace(finish, usage=usage, tier=tier)

    async def _stop(self) -> None:
        """The filters have nothing more."""
        if not self._finished:
            # The driver tells the client that the answer has no end.
            self._context.error = self._context.error or "server_error"
            _log.error("a stream filter has dropped the end of an answer")
        await self.aclose()

    def _note(self, error: BaseException) -> None:
        """Note a filter's error. The engine's own is noted by the meter."""
        if self._metered.over or self._finished:
            return
        context = self._context
        context.error = error_code(error)
        if context.finished:
            # The engine's part went well, so only the call can say what became of the answer.
            context.call.error = context.call.error or context.error
        if isinstance(error, Exception) and not isinstance(error, AntiphonError):
            _log.error("a stream filter failed", error=type(error).__name__)

    async def aclose(self) -> None:
        """End the generation now."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._metered.aclose)
            for layer in self._layers:
                stack.push_async_callback(layer.aclose)
