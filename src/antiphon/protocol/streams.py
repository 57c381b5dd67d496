"""Streams of a generation's deltas that are written as classes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, TypeVar

from antiphon.protocol.generation import Delta, Finish

T = TypeVar("T")


class Stream(AsyncGenerator[T, None]):
    """An asynchronous generator that is written as a class: `__anext__` and `aclose` are all that it must define.

    A generator function does not run its `finally` if it is closed, or forgotten, before its first step. A class that
    holds something (a slot, a connection, a lease) can give it back all the same.
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


class OwnedStream(Stream[T]):
    """A stream that closes and gives back what belongs to it, also if it is never read.

    `owned`: streams behind it, closed after it. `release`: gives something back (a slot, a place); it is called as soon
    as the last delta has come, the stream has ended in any other way, or it is forgotten, perhaps more than once.
    """

    def __init__(
        self,
        inner: AsyncGenerator[T, None],
        *owned: AsyncGenerator[Any, None],
        release: Callable[[], None] | None = None,
    ) -> None:
        self._inner = inner
        self._owned = owned
        self._release = release

    async def __anext__(self) -> T:
        release = self._release
        if release is None:
            return await self._inner.__anext__()
        try:
            delta = await self._inner.__anext__()
        except BaseException:  # its end, a failure or a cancel: nothing more comes after any of them
            release()
            raise
        if isinstance(delta, Finish):
            release()
        return delta

    async def aclose(self) -> None:
        """End the generation now."""
        try:
            await self._inner.aclose()
            for stream in self._owned:
                await stream.aclose()
        finally:
            if self._release is not None:
                self._release()

    def __del__(self) -> None:
        if self._release is not None:
            self._release()


class Resumed(OwnedStream[Delta]):
    """A stream of which the first delta was read already, to see what it is: it is given once more."""

    def __init__(self, first: Delta, stream: AsyncGenerator[Delta, None]) -> None:
        super().__init__(stream)
        self._first: Delta | None = first

    async def __anext__(self) -> Delta:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._inner.__anext__()

    async def aclose(self) -> None:
        """End the generation."""
        self._first = None
        await self._inner.aclose()
