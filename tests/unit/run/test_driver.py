"""The driver's promises about generations that end early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from antiphon.domain.errors import StoreFailed
from antiphon.protocol.chat.machine import ChatMachine
from antiphon.protocol.events import Event
from antiphon.protocol.generation import Delta, Finish, TextDelta
from antiphon.run.driver import Merged, Persister, drive

BASE: dict[str, Any] = {"id": "c", "created": 1, "model": "m", "service_tier": None, "system_fingerprint": None}


class Stream(AsyncGenerator[Delta, None]):
    """A generation that knows whether it was closed.

    A plain generator would not: its `finally` does not run before its first step.
    """

    def __init__(self) -> None:
        self.closed = False

    async def asend(self, _: None) -> Delta:
        await asyncio.sleep(0)
        return TextDelta("a")

    async def athrow(self, *_: Any) -> Delta:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


class Failing(Persister):
    """Keeps nothing, and says so."""

    async def keep(self, events: list[Event]) -> None:
        raise StoreFailed("no room")


@pytest.mark.parametrize("choices", [1, 3])
@pytest.mark.parametrize("read", [1, 2, 5])
def test_every_generation_is_closed_however_little_was_read(choices: int, read: int) -> None:
    streams = [Stream() for _ in range(choices)]

    async def run() -> None:
        machine = ChatMachine(BASE, choices=choices)
        events = drive(machine, machine.start(), Merged(streams), Persister())
        for _ in range(read):
            await anext(events)
        await events.aclose()

    asyncio.run(run())
    assert [stream.closed for stream in streams] == [True] * choices


def test_a_store_that_fails_ends_the_generation() -> None:
    streams = [Stream(), Stream()]

    async def run() -> None:
        machine = ChatMachine(BASE, choices=2)
        with pytest.raises(StoreFailed):
            await anext(drive(machine, machine.start(), Merged(streams), Failing()))

    asyncio.run(run())
    assert [stream.closed for stream in streams] == [True, True]


def test_the_first_error_ends_all() -> None:
    async def broken() -> AsyncGenerator[Delta, None]:
        yield TextDelta("b")
        raise StoreFailed("broken")

    stream = Stream()

    async def run() -> None:
        merged = Merged[Delta]([stream, broken()])
        with pytest.raises(StoreFailed):
            async for _ in merged:
                pass
        await merged.aclose()

    asyncio.run(run())
    assert stream.closed


def test_deltas_carry_the_index_of_their_stream() -> None:
    async def saying(text: str) -> AsyncGenerator[Delta, None]:
        yield TextDelta(text)
        yield Finish("stop")

    async def run() -> list[tuple[int, Delta]]:
        return [pair async for pair in Merged([saying("a"), saying("b")])]

    pairs = asyncio.run(run())
    assert [delta for index, delta in pairs if index == 0] == [TextDelta("a"), Finish("stop")]
    assert [delta for index, delta in pairs if index == 1] == [TextDelta("b"), Finish("stop")]
