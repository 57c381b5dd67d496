"""When a child counts as silent, and when as hanging."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from antiphon.domain import limits
from antiphon.engines.llama.heartbeat import Heartbeat


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENGINE_SILENCE", 0.1)
    monkeypatch.setattr(limits, "ENGINE_HANG_TIMEOUT", 0.4)
    monkeypatch.setattr(limits, "ENGINE_TOKEN_TIMEOUT", 0.4)


class Child:
    """`answering`: whether it answers, else it takes as long as it is waited for."""

    def __init__(self, *, working: bool = False) -> None:
        self.answering = asyncio.Event()
        self.answering.set()
        self.heard = 0
        self.asked = 0
        self.heartbeat = Heartbeat(self._ask, lambda: working, lambda: self.heard, every=0.01, patience=0.05)

    async def _ask(self, patience: float) -> bool:
        self.asked += 1
        try:
            async with asyncio.timeout(patience):
                await self.answering.wait()
        except TimeoutError:
            return False
        return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the child is told of by its state
            await asyncio.sleep(0.005)


def test_a_child_that_does_not_answer_is_silent_first_and_then_replaced() -> None:
    async def main() -> str:
        child = Child()
        watching = asyncio.create_task(child.heartbeat.watch())
        await until(lambda: child.asked > 3)
        assert not child.heartbeat.silent
        child.answering.clear()
        await asyncio.wait_for(child.heartbeat.until_silent(), 20)
        assert not watching.done()
        return await asyncio.wait_for(watching, 20)

    assert "has not answered" in asyncio.run(main())


def test_a_child_that_answers_again_is_kept() -> None:
    async def main() -> None:
        child = Child()
        watching = asyncio.create_task(child.heartbeat.watch())
        child.answering.clear()
        await asyncio.wait_for(child.heartbeat.until_silent(), 20)
        child.answering.set()
        await asyncio.wait_for(child.heartbeat.until_answers(), 20)
        assert not child.heartbeat.silent
        asked = child.asked
        await until(lambda: child.asked > asked + 3)
        assert not watching.done()
        watching.cancel()

    asyncio.run(main())


def test_a_model_that_makes_nothing_any_more_is_replaced() -> None:
    async def main() -> str:
        child = Child(working=True)
        return await asyncio.wait_for(child.heartbeat.watch(), 20)

    assert "made nothing" in asyncio.run(main())


def test_a_model_that_comes_along_is_kept_however_slow() -> None:
    async def main() -> None:
        child = Child(working=True)
        watching = asyncio.create_task(child.heartbeat.watch())
        for _ in range(5):
            asked = child.asked
            await until(lambda asked=asked: child.asked > asked + 5)  # type: ignore[misc]
            child.heard += 1
        assert not watching.done()
        watching.cancel()

    asyncio.run(main())


def test_a_pause_of_everything_is_no_silence() -> None:
    """The loop stands for much longer than a hang may last, as after a laptop's sleep: the child has not been late."""

    async def main() -> None:
        child = Child()
        child.answering.clear()  # its answer is under way when everything is stopped
        watching = asyncio.create_task(child.heartbeat.watch())
        await until(lambda: child.asked == 1)
        time.sleep(1.5)  # noqa: ASYNC251 - nothing runs meanwhile: that is what is tried
        child.answering.set()
        asked = child.asked
        await until(lambda: child.asked > asked + 2)
        assert not watching.done()
        assert not child.heartbeat.silent
        watching.cancel()

    asyncio.run(main())
