"""How prompts are read beside answers: a child that takes a step for each call of its stream, and virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from antiphon.domain.errors import EngineFailed
from antiphon.engines.llama.client import Chunk, PromptProgress, Timings
from antiphon.engines.llama.prefill import PrefillScheduler, common_prefix

BATCH = 64


class Child:
    """Reads BATCH tokens a step and draws a token a step. What is read stays in the slot."""

    def __init__(self) -> None:
        self.held: dict[int, list[int]] = {}
        self.bodies: list[dict[str, Any]] = []
        self.busy: set[int] = set()
        self.worst_step = 0
        self.failing = False

    async def complete(self, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        self.bodies.append(body)
        slot, prompt = body["id_slot"], body["prompt"]
        assert slot not in self.busy, "two completions in one slot"
        self.busy.add(slot)
        try:
            held = self.held.setdefault(slot, [])
            read = min(common_prefix(held, prompt), len(prompt) - 1) if body["cache_prompt"] else 0
            cached = read
            del held[read:]
            told = body.get("return_progress")
            if told:
                yield Chunk(prompt_progress=PromptProgress(read, cached))
            while read < len(prompt):
                await asyncio.sleep(0)
                if self.failing:
                    raise EngineFailed("broken")
                step = prompt[read : read + BATCH]
                if len(self.busy) > 1:
                    self.worst_step = max(self.worst_step, len(step))
                held += step
                read += len(step)
                if told:
                    yield Chunk(prompt_progress=PromptProgress(read, cached))
            for drawn in range(body["n_predict"]):
                await asyncio.sleep(0)
                yield Chunk(content="x", tokens_predicted=drawn + 1)
            yield Chunk(
                stop=True, stop_type="limit", tokens_predicted=body["n_predict"], timings=Timings(cache_n=cached)
            )
        finally:
            self.busy.discard(slot)


def body(prompt: list[int], tokens: int = 3, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "n_predict": tokens, "cache_prompt": True, "stream": True, **more}


async def all_of(reading: PrefillScheduler, asked: dict[str, Any]) -> list[Chunk]:
    return [chunk async for chunk in reading.complete(asked)]


LONG = list(range(1000, 3000))
SHORT = list(range(10))


def test_alone_a_prompt_is_read_in_one_go() -> None:
    async def main() -> None:
        child = Child()
        chunks = await all_of(PrefillScheduler(child, 2, BATCH), body(LONG))
        assert [chunk.content for chunk in chunks] == ["x", "x", "x", ""]
        assert all(chunk.prompt_progress is None for chunk in chunks)
        assert len(child.bodies) == 1

    asyncio.run(main())


def test_beside_an_answer_it_is_read_in_pieces_and_nothing_twice() -> None:
    async def main() -> None:
        child = Child()
        reading = PrefillScheduler(child, 2, BATCH)
        answer = reading.complete(body(SHORT, 10**9))
        await anext(answer)
        drawing = asyncio.create_task(drain(answer))
        chunks = await asyncio.wait_for(all_of(reading, body(LONG)), 60)
        assert len(chunks) == 4
        assert chunks[-1].timings.cache_n == 0
        pieces = [each for each in child.bodies if each["n_predict"] == 0]
        assert len(pieces) > 5
        goals = [len(each["prompt"]) for each in pieces]
        assert goals == sorted(goals)
        assert {each["id_slot"] for each in pieces} == {1}
        assert child.held[1][: len(LONG)] == LONG
        drawing.cancel()
        await asyncio.wait({drawing})
        await answer.aclose()
        assert not reading.working

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the child is told of by its state
            await asyncio.sleep(0)


async def drain(answer: AsyncGenerator[Chunk, None]) -> None:
    async for _ in answer:
        await asyncio.sleep(0)


def test_who_comes_while_a_prompt_is_read_need_not_wait_for_it() -> None:
    async def main() -> None:
        child = Child()
        reading = PrefillScheduler(child, 2, BATCH)
        long = asyncio.create_task(all_of(reading, body(list(range(100_000)))))
        await until(lambda: bool(child.held.get(0)))
        await all_of(reading, body(SHORT))
        assert not long.done()
        assert (await long)[-1].stop
        # What was read before it gave way was kept.
        again = [each for each in child.bodies if each["id_slot"] == 0][1:]
        assert all(each["cache_prompt"] for each in again)

    asyncio.run(main())


def test_two_long_prompts_come_to_their_ends_in_turn() -> None:
    async def main() -> None:
        child = Child()
        reading = PrefillScheduler(child, 2, BATCH)
        one, two = await asyncio.gather(all_of(reading, body(LONG)), all_of(reading, body(LONG[::-1])))
        assert one[-1].stop
        assert two[-1].stop

    asyncio.run(main())


def test_a_seed_reads_anew_but_its_own_pieces_only_once() -> None:
    async def main() -> None:
        child = Child()
        reading = PrefillScheduler(child, 2, BATCH)
        answer = reading.complete(body(SHORT, 10**9))
        await anext(answer)
        await all_of(reading, body(LONG, cache_prompt=False))
        first, *rest = [each for each in child.bodies if each["id_slot"] == 1]
        assert not first["cache_prompt"]
        assert rest
        assert all(each["cache_prompt"] for each in rest)
        await answer.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("beside", [True, False])
def test_a_prompt_is_ended_in_its_middle_alone(*, beside: bool) -> None:
    async def main() -> None:
        child = Child()
        reading = PrefillScheduler(child, 2, BATCH)
        answer = reading.complete(body(SHORT, 10**9))
        if beside:
            await anext(answer)
        ending = asyncio.create_task(all_of(reading, body(list(range(1_000_000)))))
        await until(lambda: len(child.bodies) >= (4 if beside else 1))
        ending.cancel()
        await asyncio.wait({ending})
        assert ending.cancelled()
        assert child.busy <= {0}
        assert (await anext(answer)).content == "x"
        await answer.aclose()
        assert (await asyncio.wait_for(all_of(reading, body(SHORT)), 10))[-1].stop
        assert not child.busy

    asyncio.run(main())


def test_a_child_that_fails_in_a_piece_fails_that_prompt() -> None:
    async def main() -> None:
        child = Child()
        reading = PrefillScheduler(child, 2, BATCH)
        answer = reading.complete(body(SHORT, 10**9))
        await anext(answer)
        child.failing = True
        with pytest.raises(EngineFailed):
            await all_of(reading, body(LONG))
        async with aclosing(answer):
            assert (await anext(answer)).content == "x"

    asyncio.run(main())


def test_a_prompt_goes_to_the_slot_that_knows_its_beginning() -> None:
    async def main() -> None:
        child = Child()
        reading = PrefillScheduler(child, 3, BATCH)
        await all_of(reading, body(LONG))
        await all_of(reading, body(SHORT))
        await all_of(reading, body([*LONG, 1]))
        await all_of(reading, body([5] * 50))
        await all_of(reading, body([6] * 50))
        assert [each["id_slot"] for each in child.bodies] == [0, 1, 0, 2, 1]

    asyncio.run(main())


def test_common_beginnings() -> None:
    assert common_prefix([], [1]) == 0
    assert common_prefix([1, 2, 3], [1, 2, 4]) == 2
    assert common_prefix([1, 2], [1, 2, 3]) == 2
    assert common_prefix([2], [1]) == 0
