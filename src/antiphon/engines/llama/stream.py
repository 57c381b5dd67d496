"""A stream of deltas that gives back what it holds, also when nobody ever began to read it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any

from antiphon.protocol.generation import Delta, Finish


class OwnedStream(AsyncGenerator[Delta, None]):
    """Passes everything on to `inner`, and calls `release` at the end, however that comes (more than once, perhaps).

    A plain async generator does not run its `finally` if it is closed, or forgotten, before its first step.
    """

    def __init__(self, inner: AsyncGenerator[Delta, None], release: Callable[[], None]) -> None:
        self._inner = inner
        self._release = release

    async def asend(self, value: None) -> Delta:
        """The next delta."""
        try:
            delta = await self._inner.asend(value)
        except BaseException:  # StopAsyncIteration, an engine's fault, a cancel: all of them end the generator
            self._release()
            raise
        if isinstance(delta, Finish):
            self._release()
        return delta

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Delta:
        """Raise an exception inside the generator."""
        try:
            arguments: tuple[Any, ...] = (typ,) if val is None and tb is None else (typ, val, tb)
            return await self._inner.athrow(*arguments)
        except BaseException:
            self._release()
            raise

    async def aclose(self) -> None:
        """End the generation now."""
        try:
            await self._inner.aclose()
        finally:
            self._release()

    def __del__(self) -> None:
        self._release()
