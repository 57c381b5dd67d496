"""A generation's stream of which the first delta was read ahead."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType

from antiphon.protocol.generation import Delta


class Resumed(AsyncGenerator[Delta, None]):
    """The stream as if nobody had read its first delta. Closing it closes the stream, read or not."""

    def __init__(self, first: Delta, stream: AsyncGenerator[Delta, None]) -> None:
        self._first: Delta | None = first
        self._stream = stream

    async def __anext__(self) -> Delta:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._stream.__anext__()

    async def asend(self, value: None) -> Delta:
        """The next delta."""
        return await self.__anext__()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Delta:
        """End with this error."""
        await self.aclose()
        raise typ

    async def aclose(self) -> None:
        """End the generation."""
        self._first = None
        await self._stream.aclose()
