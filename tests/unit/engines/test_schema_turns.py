"""Schemas that are made to be slow delay nobody but whoever sends them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from antiphon.domain.errors import InvalidRequest, Overloaded
from antiphon.domain.fairness import WHOSE, FairLock
from antiphon.engines.schemas.worker import SchemaWorker

Json = dict[str, Any]


def bomb(number: int) -> Json:
    """It costs all the time that a schema may."""
    return {"enum": [{"a": [i, {"b": f"{number} {i}"}]} for i in range(8_000)]}


async def admit(worker: SchemaWorker, schema: Json, whose: str) -> None:
    """Have a schema taken, or refused because it is too complex."""
    WHOSE.set(whose)
    with suppress(InvalidRequest):
        await worker.admit(schema, strict=False, what="'x'", code="invalid_json_schema", param=None)


def test_hostile_schemas_delay_others_by_one_turn_and_what_is_in_use_not_at_all() -> None:
    async def main() -> None:
        worker = SchemaWorker()
        order: list[str] = []

        async def one(name: str, schema: Json, whose: str) -> None:
            await admit(worker, schema, whose)
            order.append(name)

        try:
            known: Json = {"type": "object", "properties": {"known": {}}}
            await admit(worker, known, "good")
            bad = [asyncio.create_task(one(f"bad {i}", bomb(i), "bad")) for i in range(4)]
            await asyncio.sleep(0)
            good = asyncio.create_task(one("good", {"type": "integer", "minimum": 7}, "good"))
            quick = asyncio.create_task(one("known", known, "good"))
            await asyncio.gather(*bad, good, quick)
        finally:
            await worker.close()
        assert order[0] == "known"
        assert order.index("good") <= 2, order

    asyncio.run(main())


def test_what_was_too_complex_is_not_tried_again() -> None:
    async def main() -> None:
        worker = SchemaWorker()
        try:
            await admit(worker, bomb(0), "bad")
            assert worker.pids == []
            await admit(worker, bomb(0), "bad")
            assert worker.pids == [], "no process was started for it"
            with pytest.raises(InvalidRequest, match="too complex"):
                await worker.admit(bomb(0), strict=False, what="'x'", code="invalid_json_schema", param=None)
        finally:
            await worker.close()

    asyncio.run(main())


def test_turns_go_around_and_whoever_leaves_is_passed_over() -> None:
    async def main() -> list[str]:
        lock, order = FairLock(3), []
        running = asyncio.Event()

        async def work(name: str, whose: str) -> None:
            WHOSE.set(whose)
            async with lock:
                order.append(name)
                await running.wait()

        tasks = {name: asyncio.create_task(work(name, name[0])) for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1")}
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await work("a5", "a")
        tasks["b1"].cancel()
        running.set()
        await asyncio.wait(tasks.values())
        return order

    assert asyncio.run(main()) == ["a1", "b2", "c1", "a2", "a3", "a4"]


def test_a_turn_that_comes_to_nobody_is_handed_on() -> None:
    async def main() -> None:
        lock = FairLock(5)
        await lock.__aenter__()

        async def wait() -> None:
            async with lock:
                pass

        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
        await lock.__aexit__()
        first.cancel()  # its turn has come, and it does not know yet
        await asyncio.wait({first})
        await asyncio.wait_for(second, 5)
        await asyncio.wait_for(wait(), 5)

    asyncio.run(main())
