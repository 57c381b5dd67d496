"""Streams that own what is behind them close it, however they end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from antiphon.domain.errors import EngineFailed
from antiphon.protocol.generation import Delta, Finish, TextDelta
from antiphon.protocol.streams import OwnedStream, Resumed, Stream
from antiphon.protocol.suffix import longest_suffix_that_fits


class Source(Stream[Delta]):
    """Gives what it was made with, and notes that it was closed."""

    def __init__(self, *deltas: Delta | Exception) -> None:
        self._deltas = list(deltas)
        self.closed = 0

    async def __anext__(self) -> Delta:
        if not self._deltas:
            raise StopAsyncIteration
        delta = self._deltas.pop(0)
        if isinstance(delta, Exception):
            raise delta
        return delta

    async def aclose(self) -> None:
        self.closed += 1


class Releases:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def run(check: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await check()

    asyncio.run(main())


def test_closing_closes_all_behind_it_also_before_the_first_delta() -> None:
    async def check() -> None:
        behind, further = Source(), Source()

        async def generator() -> AsyncGenerator[Delta, None]:
            async for delta in behind:
                yield delta

        await OwnedStream(generator(), behind, further).aclose()
        assert (behind.closed, further.closed) == (1, 1)

    run(check)


@pytest.mark.parametrize("deltas", [[TextDelta("a"), Finish("stop")], [TextDelta("a")], [EngineFailed("broken")]])
def test_what_is_held_is_given_back_at_the_end_whatever_it_is(deltas: list[Delta | Exception]) -> None:
    async def check() -> None:
        release = Releases()
        stream = OwnedStream(Source(*deltas), release=release)
        try:
            async for delta in stream:
                assert release.count == isinstance(delta, Finish)
        except EngineFailed:
            pass
        assert release.count >= 1

    run(check)


def test_what_is_held_is_given_back_when_the_stream_is_forgotten_or_closed() -> None:
    async def check() -> None:
        forgotten, closed = Releases(), Releases()
        OwnedStream(Source(TextDelta("a")), release=forgotten)
        gc.collect()
        await OwnedStream(Source(TextDelta("a")), release=closed).aclose()
        assert forgotten.count >= 1
        assert closed.count >= 1

    run(check)


def test_a_delta_that_was_read_already_is_given_once_more() -> None:
    async def check() -> None:
        source = Source(TextDelta("b"))
        stream = Resumed(TextDelta("a"), source)
        assert [delta async for delta in stream] == [TextDelta("a"), TextDelta("b")]
        closed = Resumed(TextDelta("a"), source)
        await closed.aclose()
        assert [delta async for delta in closed] == []
        assert source.closed == 1

    run(check)


@pytest.mark.parametrize("from_end", [False, True])
@pytest.mark.parametrize("last", [0, 1, 2, 7, 100])
def test_the_longest_end_that_fits_is_found_with_few_counts(last: int, *, from_end: bool) -> None:
    async def check() -> None:
        for first in {0, min(1, last)}:
            for right in range(first, last + 1):
                asked: list[int] = []

                async def fits(start: int, right: int = right, asked: list[int] = asked) -> bool:
                    asked.append(start)
                    return start >= right

                assert await longest_suffix_that_fits(last, fits, first=first, from_end=from_end) == right
                assert last not in asked
                assert len(asked) <= 2 * (last + 1).bit_length()

    run(check)
