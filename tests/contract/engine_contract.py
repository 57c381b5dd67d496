"""What every `Engine` promises. A module tests an engine by giving `TestX(EngineContract)` two fixtures.

@pytest.fixture(scope="module")
def run() -> Iterator[Run]: ...        # runs a coroutine in the loop that the engine lives in

@pytest.fixture(scope="module")
def engine(run) -> Iterator[Engine]: ...   # an engine that was started
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from antiphon.domain.errors import AntiphonError
from antiphon.ports import Engine
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    Generation,
    Message,
    Role,
    Sampling,
    TextDelta,
    Turn,
)

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def said(text: str, role: Role = "user") -> Message:
    """A message of one piece of text."""
    from antiphon.protocol.generation import TextPart

    return Message(role, (TextPart(text),))


def asking(*turns: str | Turn, **more: Any) -> Generation:
    """A generation; plain strings are user messages. Up to 24 tokens unless `sampling` says otherwise."""
    more.setdefault("sampling", Sampling(max_tokens=24))
    return Generation("model", tuple(said(turn) if isinstance(turn, str) else turn for turn in turns), **more)


async def collect(engine: Engine, generation: Generation) -> list[Delta]:
    """Everything an engine says to a generation, which must be a legal sequence of deltas."""
    async with aclosing(await engine.generate(generation)) as stream:
        deltas = [delta async for delta in stream]
    assert [isinstance(delta, Finish) for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    in_call = False
    for delta in deltas:
        match delta:
            case CallStart(name=name, call_id=call_id):
                assert name
                assert call_id
                in_call = True
            case CallArguments(text=text):
                assert in_call
                assert text
            case TextDelta(text=text):
                assert not in_call, "text after a call"
                assert text
    return deltas


def text_of(deltas: Sequence[Delta]) -> str:
    """All text of an answer."""
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def calls_of(deltas: Sequence[Delta]) -> list[tuple[str, str]]:
    """Names and arguments of an answer's calls."""
    calls: list[tuple[str, str]] = []
    for delta in deltas:
        if isinstance(delta, CallStart):
            calls.append((delta.name, ""))
        elif isinstance(delta, CallArguments):
            calls[-1] = (calls[-1][0], calls[-1][1] + delta.text)
    return calls


def finish_of(deltas: Sequence[Delta]) -> Finish:
    """How an answer ended."""
    finish = deltas[-1]
    assert isinstance(finish, Finish)
    return finish


class EngineContract:
    """The suite."""

    def test_it_is_ready_and_has_a_name_and_a_context(self, run: Run, engine: Engine) -> None:
        assert run(engine.ready())
        assert engine.name
        assert engine.capabilities.context_tokens > 0

    def test_an_answer_ends_with_how_it_ended_and_what_it_used(self, run: Run, engine: Engine) -> None:
        finish = finish_of(run(collect(engine, asking("Say hello."))))
        assert finish.reason in {"stop", "length"}
        usage = finish.usage
        assert usage.input_tokens > 0
        assert usage.output_tokens > 0
        assert 0 <= usage.cached_tokens <= usage.input_tokens

    def test_tokens_are_counted_as_they_are_charged(self, run: Run, engine: Engine) -> None:
        generation = asking(said("Be brief.", "system"), "Say hello, wörld.")
        counted = run(engine.count_tokens(generation))
        assert finish_of(run(collect(engine, generation))).usage.input_tokens == counted

    def test_many_at_once(self, run: Run, engine: Engine) -> None:
        async def main() -> list[list[Delta]]:
            return await asyncio.gather(*(collect(engine, asking(f"Say {i}.")) for i in range(6)))

        assert all(finish_of(deltas).usage.output_tokens > 0 for deltas in run(main()))

    def test_closing_early_is_harmless(self, run: Run, engine: Engine) -> None:
        async def main() -> None:
            for steps in (0, 1, 2):
                stream = await engine.generate(asking("Tell me a long story."))
                for _ in range(steps):
                    await anext(stream)
                await stream.aclose()
                await stream.aclose()
                with pytest.raises(StopAsyncIteration):
                    await anext(stream)
            await collect(engine, asking("Say hello."))

        run(main())

    def test_a_cancelled_reader_is_harmless(self, run: Run, engine: Engine) -> None:
        async def main() -> None:
            first = asyncio.Event()

            async def read() -> None:
                async with aclosing(await engine.generate(asking("Tell me a long story."))) as stream:
                    async for _ in stream:
                        first.set()
                        await asyncio.Event().wait()

            task = asyncio.create_task(read())
            begun = asyncio.create_task(first.wait())
            await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)  # or it has failed, which is raised
            begun.cancel()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await collect(engine, asking("Say hello."))

        run(main())

    def test_it_can_be_stopped_and_started_again(self, run: Run, engine: Engine) -> None:
        async def main() -> None:
            stream = await engine.generate(asking("Tell me a very long story.", sampling=Sampling(max_tokens=200)))
            await anext(stream)
            await engine.stop()
            try:
                async for _ in stream:
                    pass
            except AntiphonError:
                pass  # a clean fault; an engine that had everything ready may also go on to the end
            assert not await engine.ready()
            await engine.stop()
            await engine.start()
            assert await engine.ready()
            await collect(engine, asking("Say hello."))

        run(main())
