"""Which target is asked first."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import UpstreamFailed
from antiphon.domain.route_trace import RouteTrace, TargetName
from antiphon.domain.routing import PriceSpec, RouteSpec, TargetSpec
from antiphon.engines.routed import affinity, choice
from antiphon.engines.routed.health import Health, Healths
from antiphon.engines.routed.target import Target
from antiphon.protocol.generation import Finish, Message, TextDelta, TextPart, ToolResult

from .conftest import Fickle, Play, World, ask, asking


def targets(world: World, **weights: int) -> list[Target]:
    return [world.target(Fickle(name), weight) for name, weight in weights.items()]


def firsts(world: World, spec: RouteSpec, among: list[Target], calls: int = 4000) -> Counter[str]:
    counted: Counter[str] = Counter()
    for number in range(calls):
        order = choice.order(
            spec, among, asking(f"question {number}"), 0.0, chance=world.env.chance, price=world.env.price
        )
        assert sorted(order, key=id) == sorted(among, key=id)
        counted[order[0].name.upstream] += 1
    return counted


def spec_of(among: list[Target], **more: object) -> RouteSpec:
    return RouteSpec("r", tuple(target.spec for target in among), **more)  # type: ignore[arg-type]  # by the test


@pytest.mark.parametrize("by_affinity", [True, False])
def test_weights_are_shares(world: Play, by_affinity: bool) -> None:
    async def main(world: World) -> None:
        among = targets(world, a=3, b=1)
        counted = firsts(world, spec_of(among, affinity=by_affinity), among)
        assert counted["a"] / 4000 == pytest.approx(0.75, abs=0.04)

    world(main)


def test_what_begins_alike_goes_to_the_same_target(world: Play) -> None:
    async def main(world: World) -> None:
        route = world.route(*[Fickle(name) for name in "abcd"])
        system = Message("system", (TextPart("You are terse."),))
        said: Counter[str] = Counter()
        for number in range(40):
            first = Message("user", (TextPart(f"chat {number}"),))
            later = (first, ToolResult("c", "out"), Message("user", (TextPart("and then?"),)))
            begun = await ask(route, type(asking())("r", (system, first)))
            assert await ask(route, type(asking())("r", (system, *later))) == begun
            said[begun] += 1
        assert len(said) == 4

    world(main)


def test_a_key_of_the_clients_goes_before_every_rule(world: Play) -> None:
    async def main(world: World) -> None:
        for rule in ("weight", "outstanding", "latency", "price"):
            route = world.route(*[Fickle(name) for name in "abcd"], choose=rule)
            world.prices = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
            for key in ("k1", "k2", "k3"):
                answers = {await ask(route, asking(f"{n}", affinity=key)) for n in range(8)}
                assert len(answers) == 1

    world(main)


def test_only_the_keys_of_a_target_that_went_away_move(world: Play) -> None:
    async def main(world: World) -> None:
        among = targets(world, a=1, b=2, c=1, d=3)
        for number in range(300):
            whole = affinity.ranked(f"key {number}", among)
            less = affinity.ranked(f"key {number}", among[1:])
            assert less == [target for target in whole if target is not among[0]]

    world(main)


def test_an_overloaded_target_passes_its_keys_on(world: Play) -> None:
    async def main(world: World) -> None:
        among = targets(world, a=1, b=1)
        first, second = affinity.ranked("key", among)
        first.health.outstanding = limits.AFFINITY_SPARE + 1
        assert affinity.spared([first, second]) == [first, second]
        first.health.outstanding = 40
        assert affinity.spared([first, second]) == [second, first]

    world(main)


def test_a_target_that_is_not_well_loses_its_keys_until_it_is(world: Play) -> None:
    async def main(world: World) -> None:
        engines = {name: Fickle(name) for name in "ab"}
        route = world.route(*engines.values(), retries=0)
        mine = await ask(route, asking(affinity="k"))
        engines[mine].plan += [UpstreamFailed("x")] * limits.BREAKER_FAILURES
        for _ in range(limits.BREAKER_FAILURES):
            with pytest.raises(UpstreamFailed):
                await ask(route, asking(affinity="k"))
        assert await ask(route, asking(affinity="k")) != mine
        await asyncio.sleep(limits.BREAKER_OPEN)
        assert await ask(route, asking(affinity="k")) == mine

    world(main)


def test_least_outstanding(world: Play) -> None:
    async def main(world: World) -> None:
        among = targets(world, a=1, b=1, c=1)
        for target, load in zip(among, (5, 2, 3), strict=True):
            target.health.outstanding = load
        assert firsts(world, spec_of(among, choose="outstanding"), among, 20) == {"b": 20}

    world(main)


def test_lowest_latency_tries_what_it_does_not_know_then_keeps_to_the_quickest(world: Play) -> None:
    async def main(world: World) -> None:
        paces = {"slow": 0.9, "quick": 0.1, "middle": 0.4}
        engines = {name: Fickle(name) for name in paces}
        for name, pace in paces.items():
            engines[name]._pace = pace
        route = world.route(*engines.values(), choose="latency")
        said = [await ask(route, asking(f"{number}")) for number in range(20)]
        assert set(said[:3]) == set(paces)
        assert set(said[3:]) == {"quick"}
        # It gets slow: others are tried again before long.
        engines["quick"]._pace = 3.0
        later = [await ask(route, asking(f"{number}")) for number in range(20)]
        assert later.count("quick") < 5
        assert later[-1] != "quick"

    world(main)


def test_a_target_that_was_slow_long_ago_is_tried_again(world: Play) -> None:
    async def main(world: World) -> None:
        health = Health(TargetName("a", "m"))
        assert health.latency(0.0) is None
        health.measured(2.0, 0.0)
        assert health.latency(0.0) == 2.0
        assert health.latency(limits.LATENCY_HALF_LIFE) == pytest.approx(1.0)

    world(main)


def test_an_unknown_target_is_tried_by_one_call_at_a_time(world: Play) -> None:
    async def main(world: World) -> None:
        known, new = Fickle("known"), Fickle("new")
        route = world.route(known, new, choose="latency")
        route.targets[0].health.measured(0.5, world.loop.time())
        gate = asyncio.Event()
        new.plan.append([gate, TextDelta("new"), Finish("stop")])
        trying = asyncio.create_task(ask(route))
        await asyncio.sleep(0.1)
        assert [await ask(route, asking(str(n))) for n in range(5)] == ["known"] * 5
        gate.set()
        assert await trying == "new"

    world(main)


def test_lowest_price_with_unknown_ones_last(world: Play) -> None:
    async def main(world: World) -> None:
        among = targets(world, unknown=1, dear=1, cheap=1)
        world.prices = {"dear": 9.0, "cheap": 0.5}
        order = choice.order(
            spec_of(among, choose="price"), among, asking(), 0.0, chance=world.env.chance, price=world.env.price
        )
        assert [target.name.upstream for target in order] == ["cheap", "dear", "unknown"]

    world(main)


def test_a_targets_own_price() -> None:
    name = TargetName("u", "m")
    assert choice.listed_price(name, TargetSpec("u", price=PriceSpec("0.5", "2"))) == 2.5
    assert choice.listed_price(name, TargetSpec("u")) is None


def test_equal_targets_of_several_routes_share_their_health() -> None:
    healths = Healths()
    one = healths.of(TargetName("u", "m"))
    assert healths.of(TargetName("u", "m")) is one
    assert healths.of(TargetName("u", "n")) is not one
    del one
    assert [str(health.target) for health in healths.all()] == []


def test_trail_keeps_targets_apart(world: Play) -> None:
    async def main(world: World) -> None:
        a, b = Fickle("a", UpstreamFailed("x")), Fickle("b", UpstreamFailed("x"))
        trace = RouteTrace()
        await ask(world.route(a, b), trace=trace)
        assert {attempt.target.upstream for attempt in trace.attempts[:2]} == {"a", "b"}

    world(main)
