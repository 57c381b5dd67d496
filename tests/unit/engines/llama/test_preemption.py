"""Answers that grow within the tokens that all share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed
from antiphon.engines.llama.child_connection import ChildConnection
from antiphon.engines.llama.client import BrokenOff, Chunk
from antiphon.engines.llama.preemption import PreemptibleCompletion, tokens_of
from antiphon.engines.llama.slots import SlotQueue, SlotTicket


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENGINE_ANSWER_STEP", 8)


class Child:
    """Draws the tokens 1, 2, 3 … after whatever it is asked; notes how many tokens all its completions have."""

    def __init__(self, pool: int) -> None:
        self.pool = pool
        self.held: dict[int, int] = {}
        self.bodies: list[dict[str, Any]] = []

    async def ask(self, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        self.bodies.append(body)
        key = len(self.bodies)
        drawn_before = sum(1 for token in body["prompt"] if token > 0)
        try:
            for drawn in range(1, body["n_predict"] + 1):
                self.held[key] = len(body["prompt"]) + drawn
                assert sum(self.held.values()) <= self.pool
                token = drawn_before + drawn
                yield Chunk(content=f"{token} ", tokens=(token,), tokens_predicted=drawn)
                await asyncio.sleep(0)
            yield Chunk(stop=True, stop_type="limit", tokens_predicted=body["n_predict"])
        finally:
            self.held.pop(key, None)


def body(prompt: int, tokens: int, **more: Any) -> dict[str, Any]:
    return {"prompt": [0] * prompt, "n_predict": tokens, **more}


async def answer(child: Child, ticket: SlotTicket, asked: dict[str, Any]) -> tuple[str, Chunk]:
    async def connection() -> ChildConnection:
        return cast("ChildConnection", child)

    child.client = child  # type: ignore[attr-defined]
    await ticket.acquire(tokens_of(asked))
    text = ""
    try:
        async for chunk in PreemptibleCompletion(ticket, connection).run(asked, child.ask):
            text += chunk.content
            last = chunk
    finally:
        ticket.release()
    return text, last


def counted(tokens: int) -> str:
    return "".join(f"{number} " for number in range(1, tokens + 1))


def test_answers_that_fit_are_not_disturbed() -> None:
    async def main() -> None:
        queue, child = SlotQueue(2, 4, 100, lambda: 0.0), Child(100)
        found = await asyncio.gather(*(answer(child, queue.enter(), body(10, 30)) for _ in range(2)))
        assert [text for text, _ in found] == [counted(30)] * 2
        assert len(child.bodies) == 2

    asyncio.run(main())


def test_where_the_room_ends_one_waits_and_goes_on() -> None:
    async def main() -> None:
        queue, child = SlotQueue(3, 9, 100, lambda: 0.0), Child(100)
        found = await asyncio.wait_for(
            asyncio.gather(*(answer(child, queue.enter(), body(10, 70)) for _ in range(5))), 30
        )
        for text, last in found:
            assert text == counted(70)
            assert last.tokens_predicted == 70
        assert len(child.bodies) > 5
        assert queue.free_tokens == 100
        assert queue.inside == 0

    asyncio.run(main())


def test_under_a_grammar_it_ends_there_and_nobody_else_does() -> None:
    async def main() -> None:
        queue, child = SlotQueue(2, 4, 100, lambda: 0.0), Child(100)
        found = await asyncio.wait_for(
            asyncio.gather(*(answer(child, queue.enter(), body(10, 90, grammar="x")) for _ in range(2))), 30
        )
        drawn = sorted(last.tokens_predicted for _, last in found)
        assert 8 <= drawn[0] < drawn[1] == 90
        for text, last in found:
            assert (last.stop, last.stop_type) == (True, "limit")
            assert text == counted(last.tokens_predicted)

    asyncio.run(main())


def test_who_reads_slowly_takes_what_is_drawn_all_the_same() -> None:
    async def main() -> None:
        queue, child = SlotQueue(2, 4, 100, lambda: 0.0), Child(100)
        slow = queue.enter()
        asked = body(10, 60)
        await slow.acquire(tokens_of(asked))

        async def connection() -> ChildConnection:
            return cast("ChildConnection", child)

        async with aclosing(PreemptibleCompletion(slow, connection).run(asked, child.ask)) as chunks:
            assert (await anext(chunks)).content == "1 "
            async with asyncio.timeout(20):
                while slow.tokens < 70:  # noqa: ASYNC110 - nobody reads meanwhile
                    await asyncio.sleep(0)
            assert "1 " + "".join([chunk.content async for chunk in chunks]) == counted(60)

    asyncio.run(main())


def test_an_error_comes_after_what_was_made() -> None:
    async def broken(_: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        yield Chunk(content="a", tokens_predicted=1)
        raise EngineFailed("broken")

    async def main() -> list[str]:
        ticket = SlotQueue(1, 1, 100, lambda: 0.0).enter()
        await ticket.acquire(50)
        chunks = PreemptibleCompletion(ticket, cast("Any", None)).run(body(1, 5), broken)
        first = await anext(chunks)
        with pytest.raises(EngineFailed, match="broken"):
            await anext(chunks)
        return [first.content]

    assert asyncio.run(main()) == ["a"]


def test_prompts_that_do_not_fit_together_come_one_after_the_other() -> None:
    async def main() -> None:
        queue, child = SlotQueue(4, 9, 100, lambda: 0.0), Child(100)
        found = await asyncio.gather(*(answer(child, queue.enter(), body(80, 15)) for _ in range(4)))
        assert [text for text, _ in found] == [counted(15)] * 4

    asyncio.run(main())


class BreakingChild(Child):
    """Breaks off each completion after `after` tokens, as llama.cpp does when its cache is full."""

    def __init__(self, after: int) -> None:
        super().__init__(1000)
        self.after = after

    async def ask(self, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        async with aclosing(super().ask(body)) as chunks:
            made = 0
            async for chunk in chunks:
                if made == self.after and not chunk.stop:
                    raise BrokenOff("broken off")
                made += 1
                yield chunk


def test_an_answer_that_the_child_breaks_off_goes_on_from_its_tokens() -> None:
    async def main() -> None:
        queue, child = SlotQueue(2, 4, 1000, lambda: 0.0), BreakingChild(9)
        text, last = await asyncio.wait_for(answer(child, queue.enter(), body(10, 70)), 30)
        assert (text, last.tokens_predicted) == (counted(70), 70)
        assert len(child.bodies) == 8
        assert queue.free_tokens == 1000

    asyncio.run(main())


@pytest.mark.parametrize(
    ("after", "more", "asked"), [(0, {}, limits.ENGINE_FUTILE_TRIES + 1), (9, {"grammar": "x"}, 1)]
)
def test_what_cannot_go_on_is_an_error(after: int, more: dict[str, Any], asked: int) -> None:
    async def main() -> None:
        queue, child = SlotQueue(2, 4, 1000, lambda: 0.0), BreakingChild(after)
        with pytest.raises(BrokenOff):
            await asyncio.wait_for(answer(child, queue.enter(), body(10, 70, **more)), 30)
        assert len(child.bodies) == asked
        assert queue.free_tokens == 1000

    asyncio.run(main())
