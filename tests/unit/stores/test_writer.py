"""How a group of writes is put in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from antiphon.stores.query import DatabaseSession
from antiphon.stores.threads import DatabaseCall
from antiphon.stores.writer import waves


def put(_session: DatabaseSession, batch: Sequence[str]) -> list[None]:
    """A kind of write."""
    return [None] * len(batch)


def delete(_session: DatabaseSession, batch: Sequence[str]) -> list[None]:
    """Another kind of write."""
    return [None] * len(batch)


def _waves(*writes: tuple[object, str, str]) -> list[list[tuple[object, list[str]]]]:
    """Waves as [(function, arguments)], from (function, key, argument)."""
    loop = asyncio.new_event_loop()
    try:
        calls = [
            DatabaseCall(function, argument, loop.create_future(), key=key)  # type: ignore[arg-type] # any callable
            for function, key, argument in writes
        ]
        return [
            [(function, [call.argument for call in group]) for function, group in wave.items()] for wave in waves(calls)
        ]
    finally:
        loop.close()


def test_writes_of_one_kind_run_together_across_others() -> None:
    found = _waves((put, "a", "1"), (delete, "b", "2"), (put, "c", "3"))
    assert found == [[(put, ["1", "3"]), (delete, ["2"])]]


def test_a_key_that_comes_again_begins_a_new_wave() -> None:
    found = _waves((put, "a", "1"), (put, "b", "2"), (put, "a", "3"), (put, "b", "4"), (delete, "a", "5"))
    assert found == [[(put, ["1", "2"])], [(put, ["3", "4"])], [(delete, ["5"])]]
