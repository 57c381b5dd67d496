"""Streams of a generation's deltas that are written as classes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import TypeVar

from antiphon.protocol.generation import Delta

T = TypeVar("T")


class Stream(AsyncGenerator[T, None]):
    """What a class has to say of itself is how it gives the next delta, and how it ends.

    A generator function does not run its `finally` if it is closed, or forgotten, before its first step. A class that
    holds something (a slot, a connection, a lease) can let go of it all the same.
    """

    @abstractmethod
    async def __anext__(self) -> T:
        """The next delta. Raises `StopAsyncIteration` after the last one."""

    @abstractmethod
    async def aclose(self) -> None:
        """End the generation now, and free what it holds. Safe to call twice."""

    async def asend(self, value: None) -> T:
        """The next delta."""
        return await self.__anext__()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> T:
        """End with this error."""
        await self.aclose()
        raise typ


class Resumed(Stream[Delta]):
    """The stream as if nobody had read its first delta. Closing it closes the stream, read or not."""

    def __init__(self, first: Delta, stream: AsyncGenerator[Delta, None]) -> None:
        self._first: Delta | None = first
        self._stream = stream

    async def __anext__(self) -> Delta:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._stream.__anext__()

    async def aclose(self) -> None:
        """End the generation."""
        self._first = None
        await self._stream.aclose()
