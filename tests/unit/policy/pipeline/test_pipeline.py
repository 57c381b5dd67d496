"""A call that is refused again and again, as in the background: it costs no more the longer it takes."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from antiphon.domain.errors import Overloaded
from antiphon.domain.ledger import Entry
from antiphon.domain.route_trace import Attempt, RouteTrace, TargetName
from antiphon.domain.tenancy import Caller, Key, Project
from antiphon.engines.scripted import ScriptedEngine
from antiphon.engines.single import SingleRoute
from antiphon.policy.call import Call
from antiphon.policy.ledger import Ledger
from antiphon.policy.money.pricing import Pricing
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.protocol.generation import Generation, TextDelta
from antiphon.run.clock import SystemClock

CALLER = Caller(Key("key_1", "proj_1", "k", b"", "", 1), Project("proj_1", "p", 1))
TARGET = TargetName("up", "m")


class Busy(SingleRoute):
    """Each time, its target is tried twice, and is busy."""

    async def generate(self, generation: Generation, trace: RouteTrace) -> NoReturn:
        trace.attempts += [Attempt(TARGET, "server_is_overloaded", 1)] * 2
        raise Overloaded("busy")


def test_what_is_refused_for_days_is_summed_up() -> None:
    async def main() -> Entry:
        gate = Pipeline()
        call = Call(CALLER, "/v1/responses", "req", 1.0, model="m")
        route = Busy("m", ScriptedEngine(), 1)
        for _ in range(10_000):
            with pytest.raises(Overloaded):
                await gate.bound(call, route).generate(Generation("m", ()))
        assert len(call.generations) == 1
        assert len(call.headers) == 1
        assert call.headers[0] == (b"x-antiphon-attempts", b"20000")
        route = SingleRoute("m", ScriptedEngine(lambda _: [TextDelta("x")]), 1)
        stream = await gate.bound(call, route).generate(Generation("m", ()))
        await stream.aclose()
        call.status = 200
        return Ledger(None, Pricing(), SystemClock())._entry(call)  # type: ignore[arg-type]  # nothing is written

    entry = asyncio.run(main())
    assert (entry.attempts, entry.targets) == (20_001, "up/m,local/scripted")
