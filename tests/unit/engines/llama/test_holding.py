"""Answers that grow within the tokens that all share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from antiphon.domain import limits
from antiphon.engines.llama.client import Chunk
from antiphon.engines.llama.connection import Connection
from antiphon.engines.llama.holding import Holding, tokens_of
from antiphon.engines.llama.slots import SlotQueue, Ticket


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


async def answer(child: Child, ticket: Ticket, asked: dict[str, Any]) -> tuple[str, Chunk]:
    async def connection() -> Connection:
        return cast("Connection", child)

    child.client = child  # type: ignore[attr-defined]
    await ticket.acquire(tokens_of(asked))
    text = ""
    try:
        async for chunk in Holding(ticket, connection).run(asked, child.ask):
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


def test_prompts_that_do_not_fit_together_come_one_after_the_other() -> None:
    async def main() -> None:
        queue, child = SlotQueue(4, 9, 100, lambda: 0.0), Child(100)
        found = await asyncio.gather(*(answer(child, queue.enter(), body(80, 15)) for _ in range(4)))
        assert [text for text, _ in found] == [counted(15)] * 4

    asyncio.run(main())
