"""Ending a task, and being ended meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.tasks import end


def test_a_task_is_over_afterwards_however_it_ends() -> None:
    async def fails() -> None:
        raise ValueError

    async def sleeps() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        tasks = [asyncio.create_task(fails()), asyncio.create_task(sleeps())]
        await asyncio.sleep(0)
        for task in tasks:
            await end(task)
            await end(task)
            assert task.done()

    asyncio.run(main())


def test_the_callers_own_cancel_is_not_swallowed() -> None:
    async def main() -> bool:
        holding = asyncio.Event()

        async def slow_to_end() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await holding.wait()
                raise

        task = asyncio.create_task(slow_to_end())
        await asyncio.sleep(0)
        went_on = False

        async def caller() -> None:
            nonlocal went_on
            await end(task)
            went_on = True

        calling = asyncio.create_task(caller())
        await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        holding.set()
        await asyncio.wait({task})
        return went_on

    assert asyncio.run(main()) is False
