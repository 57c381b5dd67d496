"""Uses of keys are written now and then, all at once, and not lost when they cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from antiphon.domain.errors import StoreFailed
from antiphon.policy.keys.last_used import LastUsed


class Store:
    def __init__(self) -> None:
        self.written: list[Mapping[str, int]] = []
        self.first = asyncio.Event()
        self.broken = False

    async def note_uses(self, uses: Mapping[str, int]) -> None:
        if self.broken:
            raise StoreFailed("the disk is full")
        self.written.append(uses)
        self.first.set()


def test_many_uses_are_one_write() -> None:
    async def test() -> None:
        store: Any = Store()
        last_used = LastUsed(store, tick=0.001)
        await last_used.start()
        for at in range(1000):
            last_used.uses[f"key_{at % 3}"] = float(at)
        await asyncio.wait_for(store.first.wait(), 10)
        await last_used.stop()
        assert store.written[0] == {"key_0": 999, "key_1": 997, "key_2": 998}
        assert not any(store.written[1:])

    asyncio.run(test())


def test_what_is_left_is_written_at_the_end_and_a_newer_use_is_not_undone() -> None:
    async def test() -> None:
        store: Any = Store()
        last_used = LastUsed(store)
        await last_used.start()
        last_used.uses.update(a=1.0, b=2.0)
        store.broken = True
        await last_used.write()
        last_used.uses["a"] = 5.0
        store.broken = False
        await last_used.stop()
        assert store.written == [{"a": 5, "b": 2}]

    asyncio.run(test())
