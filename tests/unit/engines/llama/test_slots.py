"""The bounded queue in front of the slots."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.domain.errors import Overloaded
from antiphon.engines.llama.slots import SlotQueue


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_slots_are_given_in_order_and_no_more_than_there_are() -> None:
    async def main() -> list[int]:
        queue, served = SlotQueue(2, 10, 100, Clock()), []

        async def one(number: int) -> None:
            ticket = queue.enter()
            await ticket.acquire(1)
            served.append(number)
            await gates[number].wait()
            ticket.release()

        gates = [asyncio.Event() for _ in range(5)]
        tasks = [asyncio.create_task(one(number)) for number in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert served == [0, 1]
        gates[1].set()
        await tasks[1]
        await asyncio.sleep(0)
        assert served == [0, 1, 2]
        for gate in gates:
            gate.set()
        await asyncio.gather(*tasks)
        assert queue.inside == 0
        return served

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


def test_the_queue_is_bounded_and_says_when_to_come_back() -> None:
    clock = Clock()
    queue = SlotQueue(1, 1, 100, clock)
    first, _second = queue.enter(), queue.enter()
    with pytest.raises(Overloaded) as refused:
        queue.enter()
    assert refused.value.retry_after == 2
    asyncio.run(first.acquire(1))
    clock.now = 1000.0
    first.release()
    queue.enter()
    with pytest.raises(Overloaded) as refused:
        queue.enter()
    assert refused.value.retry_after == 30


def test_a_cancelled_waiter_loses_no_slot() -> None:
    async def main() -> None:
        queue = SlotQueue(1, 5, 100, Clock())
        holder, leaver, stayer = queue.enter(), queue.enter(), queue.enter()
        await holder.acquire(1)
        leaving = asyncio.create_task(leaver.acquire(1))
        staying = asyncio.create_task(stayer.acquire(1))
        await asyncio.sleep(0)
        holder.release()  # the slot is on its way to the leaver ...
        leaving.cancel()  # ... who goes in the same moment
        with pytest.raises(asyncio.CancelledError):
            await leaving
        leaver.release()
        await asyncio.wait_for(staying, 1)
        stayer.release()
        stayer.release()
        assert queue.inside == 0
        last = queue.enter()
        await asyncio.wait_for(last.acquire(1), 1)

    asyncio.run(main())


def test_shared_tokens_are_waited_for_in_order() -> None:
    async def main() -> None:
        queue = SlotQueue(3, 5, 100, Clock())
        first, big, small = queue.enter(), queue.enter(), queue.enter()
        await first.acquire(60)
        waiting = [asyncio.create_task(big.acquire(90)), asyncio.create_task(small.acquire(10))]
        await asyncio.sleep(0)
        assert queue.waiting == 2  # the small one would fit, but then the big one might never begin
        assert first.grow(100)
        assert not first.grow(101)
        first.release()
        await asyncio.wait_for(asyncio.gather(*waiting), 1)
        assert queue.free_tokens == 0
        big.release()
        small.release()
        assert (queue.free_tokens, queue.inside) == (100, 0)

    asyncio.run(main())


def test_who_leaves_the_front_makes_way_for_those_behind() -> None:
    async def main() -> None:
        queue = SlotQueue(3, 5, 100, Clock())
        first, big, small = queue.enter(), queue.enter(), queue.enter()
        await first.acquire(60)
        leaving, staying = asyncio.create_task(big.acquire(90)), asyncio.create_task(small.acquire(10))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait_for(staying, 1)
        big.release()
        assert queue.free_tokens == 30

    asyncio.run(main())


def test_who_gives_a_slot_back_is_the_next_to_get_one() -> None:
    async def main() -> None:
        queue = SlotQueue(1, 5, 100, Clock())
        first, second = queue.enter(), queue.enter()
        await first.acquire(50)
        waiting = asyncio.create_task(second.acquire(10))
        await asyncio.sleep(0)
        first.yield_slot()
        await waiting
        again = asyncio.create_task(first.acquire(100, first=True))
        third = queue.enter()
        late = asyncio.create_task(third.acquire(1))
        await asyncio.sleep(0)
        second.release()
        await asyncio.wait_for(again, 1)
        assert not late.done()
        first.release()
        await asyncio.wait_for(late, 1)

    asyncio.run(main())


def test_more_than_the_pool_is_the_whole_pool() -> None:
    async def main() -> None:
        queue = SlotQueue(1, 5, 100, Clock())
        ticket = queue.enter()
        await asyncio.wait_for(ticket.acquire(1000), 1)
        assert ticket.tokens == 100

    asyncio.run(main())
