"""A stream of deltas that gives back what it holds, also when nobody ever began to read it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from antiphon.protocol.generation import Delta, Finish
from antiphon.protocol.streams import Stream


class OwnedStream(Stream[Delta]):
    """Passes everything on to `inner`, and calls `release` at the end, however that comes (more than once, perhaps)."""

    def __init__(self, inner: AsyncGenerator[Delta, None], release: Callable[[], None]) -> None:
        self._inner = inner
        self._release = release

    async def __anext__(self) -> Delta:
        try:
            delta = await self._inner.__anext__()
        except BaseException:  # StopAsyncIteration, an engine's fault, a cancel: all of them end the generator
            self._release()
            raise
        if isinstance(delta, Finish):
            self._release()
        return delta

    async def aclose(self) -> None:
        """End the generation now."""
        try:
            await self._inner.aclose()
        finally:
            self._release()

    def __del__(self) -> None:
        self._release()
