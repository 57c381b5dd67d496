"""Several choices of one completion: made at the same time, so that they take as long as the slowest of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from antiphon.domain import limits
from antiphon.protocol.generation import Delta
from antiphon.protocol.streams import Stream

Choice = AsyncGenerator[Delta, None]


async def start_choices(start: Callable[[int], Awaitable[Choice]], count: int, *, streamed: bool) -> Sequence[Choice]:
    """The streams of all choices, or what the first that is refused is refused with; then none of them goes on.

    `start` admits one by its number. Whole answers are waited for. Where they are `streamed`, the first choice that has
    something to say begins the answer; what fails of the others later fails within the answer.
    """
    if count == 1:
        return [await start(0)]
    at_once = asyncio.Semaphore(limits.CHOICES_AT_ONCE)

    async def one(number: int) -> Choice:
        async with at_once:
            return await start(number)

    choices = [PendingChoice(asyncio.create_task(one(number))) for number in range(count)]
    until = asyncio.FIRST_COMPLETED if streamed else asyncio.FIRST_EXCEPTION
    try:
        done, _ = await asyncio.wait([choice.task for choice in choices], return_when=until)
        for choice in choices:
            if choice.task in done:
                choice.task.result()
    except BaseException:
        await close_choices(choices)
        raise
    return choices


async def close_choices(choices: Sequence[Choice]) -> None:
    """End them all, also if ending one of them fails."""
    await asyncio.gather(*(choice.aclose() for choice in choices), return_exceptions=True)


class PendingChoice(Stream[Delta]):
    """A choice's stream, from the moment at which it is asked for."""

    def __init__(self, task: asyncio.Task[Choice]) -> None:
        self.task = task

    async def __anext__(self) -> Delta:
        stream = self.task.result() if self.task.done() else await self.task
        return await stream.__anext__()

    async def aclose(self) -> None:
        """End it, whether or not it has begun."""
        self.task.cancel()
        await asyncio.wait([self.task])
        if not self.task.cancelled() and self.task.exception() is None:
            await self.task.result().aclose()
