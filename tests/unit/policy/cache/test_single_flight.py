"""A shared generation, whatever its listeners do and in whatever order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from antiphon.domain.errors import EngineFailed
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.policy.cache.answerer import Cache
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.protocol.generation import Batch, Delta, Finish, TextDelta, Usage
from support.caching import MemoryCache, ScriptedRoute, SetClock, a_call, asking
from support.examples import examples

USAGE = Usage(input_tokens=10, output_tokens=5)
#: What happens next: a call joins, one of them takes a delta, leaves, or the loop gets a few turns.
ACTIONS = st.lists(
    st.one_of(
        st.just(("join", 0)),
        st.tuples(st.just("take"), st.integers(0, 5)),
        st.tuples(st.just("leave"), st.integers(0, 5)),
        st.tuples(st.just("turns"), st.integers(1, 8)),
    ),
    max_size=30,
)


class Reader:
    """A call with its stream, and what it has got. `batches`: whether it can take several deltas at once."""

    def __init__(self, world: tuple[Pipeline, ScriptedRoute], *, batches: bool) -> None:
        self.gate, self.route = world
        self.batches = batches
        self.call = a_call()
        self.stream: AsyncGenerator[Delta, None] | None = None
        self.got: list[Delta] = []
        self.failed = False
        self.left = False

    async def join(self) -> None:
        generation = msgspec.structs.replace(asking(), batches=self.batches)
        self.stream = await self.gate.bound(self.call, self.route).generate(generation)

    async def take(self) -> bool:
        assert self.stream is not None
        if self.left or self.failed:
            return False
        try:
            delta = await anext(self.stream)
            assert self.batches or not isinstance(delta, Batch)
            self.got += delta.deltas if isinstance(delta, Batch) else [delta]
        except StopAsyncIteration:
            self.left = True
            return False
        except EngineFailed:
            self.failed = True
            return False
        return True

    async def leave(self) -> None:
        assert self.stream is not None
        await self.stream.aclose()
        self.left = True


async def play(actions: list[tuple[str, int]], world: tuple[Pipeline, ScriptedRoute]) -> list[Reader]:
    """Have it all happen. The first call is always there."""
    readers: list[Reader] = []
    for action, number in [("join", 0), *actions, ("turns", 50)]:
        if action == "join" and len(readers) < 6:
            readers.append(Reader(world, batches=len(readers) % 2 == 1))
            await readers[-1].join()
        elif action == "turns":
            for _ in range(number):
                await asyncio.sleep(0)
        elif number < len(readers):
            await (readers[number].take() if action == "take" else readers[number].leave())
    return readers


@settings(max_examples=examples(300), deadline=None)
@example([("join", 0), ("take", 0), ("leave", 0)], 3, False)
@given(ACTIONS, st.integers(0, 6), st.booleans())
def test_everybody_gets_the_same_and_each_generation_is_billed_once(
    actions: list[tuple[str, int]], length: int, broken: bool
) -> None:
    pieces: list[Step] = [TextDelta(f"{number} ") for number in range(length)]
    script: list[Step] = [*pieces, EngineFailed("broke") if broken else Finish("stop", USAGE)]

    async def main() -> None:
        engine = ScriptedEngine(lambda _: script)
        cache = Cache(MemoryCache(), SetClock(), b"s" * 32)
        world = (Pipeline(answerer=cache), ScriptedRoute(engine))
        readers = await play(actions, world)
        left_early = {reader for reader in readers if reader.left and len(reader.got) <= length}
        for reader in readers:
            while await reader.take():
                pass
            if reader.stream is not None:
                await reader.stream.aclose()
        for _ in range(50):
            await asyncio.sleep(0)
        for reader in readers:
            assert reader.got == script[: len(reader.got)]
            assert reader.failed or reader in left_early or len(reader.got) == length + (not broken)
        assert not cache._all, "something is still under way"
        assert not cache._under_way
        payers = [reader for reader in readers if not reader.call.generations[0].cached]
        paid = [usage for reader in readers if (usage := reader.call.generations[0].usage) not in (None, Usage())]
        assert len(paid) <= len(engine.asked), "a generation was billed twice"
        if not broken and engine.closed == 0:
            assert len(paid) == len(engine.asked), "a generation was not billed"
            assert all(usage == USAGE for usage in paid)
        assert payers

    asyncio.run(main())
