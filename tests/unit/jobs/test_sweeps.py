"""Periodic work: at the start and then again and again, whatever goes wrong, and each by itself."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import StoreUnavailable
from antiphon.jobs.retries import Retries
from antiphon.jobs.sweeps import Sweep, Sweeps
from antiphon.run.clock import SystemClock


def test_each_comes_again_whatever_goes_wrong_and_waits_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SWEEP_TICK", 0.01)
    runs = {"fine": 0, "breaks": 0, "held up": 0}
    enough = asyncio.Event()

    async def fine() -> None:
        runs["fine"] += 1
        if min(runs.values()) > 2:
            enough.set()

    async def breaks() -> None:
        runs["breaks"] += 1
        raise LookupError("a bug")

    async def held_up() -> None:
        runs["held up"] += 1
        raise StoreUnavailable("it is away")

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        # One that has failed does not wait for its hour.
        sweeps = Sweeps(
            [
                Sweep("hangs", 0.01, hangs),
                Sweep("fine", 0.01, fine),
                Sweep("breaks", 3600, breaks),
                Sweep("held up", 3600, held_up),
            ],
            SystemClock(),
        )
        await sweeps.start()
        await asyncio.wait_for(enough.wait(), 10)
        last = dict(sweeps.last_runs())
        await sweeps.stop()
        await sweeps.stop()
        assert [name for (name,), at in last.items() if at] == ["fine"]
        assert list(last) == [("hangs",), ("fine",), ("breaks",), ("held up",)]

    asyncio.run(main())


def test_what_could_not_be_let_go_of_is_tried_until_it_is() -> None:
    tries: list[str] = []

    async def frees() -> None:
        tries.append("frees")
        if len(tries) < 3:
            raise StoreUnavailable("it is away")

    async def main() -> None:
        retries = Retries()
        retries.add(frees)
        for _ in range(5):
            await retries.sweep()

    asyncio.run(main())
    assert tries == ["frees"] * 3
