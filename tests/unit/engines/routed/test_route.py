"""A route over several targets, with scripted engines and virtual time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import (
    AntiphonError,
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineUnavailable,
    InvalidRequest,
    NotFound,
    OutputInvalid,
    Overloaded,
    RateLimited,
    ShuttingDown,
    UpstreamBroken,
    UpstreamFailed,
)
from antiphon.domain.route_trace import RouteTrace
from antiphon.domain.routing import Deadlines
from antiphon.engines.upstream import errors
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Finish, ImagePart, Message, TextDelta, TextPart

from .conftest import PLAIN, Fickle, Play, World, ask, asking

BROKEN = UpstreamBroken("broken")


def refused() -> UpstreamFailed:
    return UpstreamFailed("refused", code="upstream_refused")


async def error_of(world: World, *engines: Fickle, **spec: object) -> AntiphonError:
    with pytest.raises(AntiphonError) as caught:
        await ask(world.route(*engines, **spec))
    return caught.value


def test_the_first_delta_is_there_and_the_trail_says_from_where(world: Play) -> None:
    async def main(world: World) -> None:
        trace = RouteTrace()
        assert await ask(world.route(Fickle("a")), trace=trace) == "a"
        assert str(trace.target) == "a/m"
        assert not trace.fallback
        assert [(str(attempt.target), attempt.error) for attempt in trace.attempts] == [("a/m", None)]

    world(main)


def test_a_failure_before_the_first_delta_is_tried_again(world: Play) -> None:
    async def main(world: World) -> None:
        engine = Fickle("a", BROKEN, [BROKEN])
        trace = RouteTrace()
        began = world.loop.time()
        assert await ask(world.route(engine), trace=trace) == "a"
        assert [attempt.error for attempt in trace.attempts] == ["upstream_error", "upstream_error", None]
        assert 0 < world.loop.time() - began <= 0.3, "backoff with jitter"

    world(main)


def test_other_targets_come_before_the_same_again_and_without_a_wait(world: Play) -> None:
    async def main(world: World) -> None:
        for failing in ("a", "b"):
            engines = {name: Fickle(name, *([BROKEN] * 9 if name == failing else [])) for name in ("a", "b")}
            route = world.route(*engines.values())
            other = "b" if failing == "a" else "a"
            for number in range(8):
                began = world.loop.time()
                assert await ask(route, asking(f"{number}")) == other
                assert world.loop.time() == began

    world(main)


def test_retries_are_bounded(world: Play) -> None:
    async def main(world: World) -> None:
        for retries in (0, 1, 3):
            engine = Fickle("a", *[BROKEN] * 9)
            assert (await error_of(world, engine, retries=retries)).code == "upstream_error"
            assert engine.calls == retries + 1

    world(main)


def test_a_request_that_was_not_taken_is_asked_again_at_once_as_one_more_attempt(world: Play) -> None:
    async def main(world: World) -> None:
        began = world.loop.time()
        for retries in (0, 1, 3):
            engine = Fickle("a", *[errors.not_taken()] * 9)
            assert (await error_of(world, engine, retries=retries)).code == "upstream_error"
            assert engine.calls == retries + 1
        engine, trace = Fickle("a", errors.not_taken()), RouteTrace()
        route = world.route(engine, Fickle("b"))
        assert await ask(route, trace=trace) in ("a", "b")
        assert len(trace.attempts) == engine.calls
        # It says nothing of how the target is, and is no load on it: neither breaker nor budget knows of it.
        for _ in range(40):
            engine = Fickle("a", errors.not_taken())
            route = world.route(engine)
            assert await ask(route) == "a"
            assert all(state.breaker == "closed" for state in route.snapshot())
        assert world.loop.time() == began

    world(main)


def test_nothing_is_tried_again_after_the_first_delta(world: Play) -> None:
    async def main(world: World) -> None:
        engine = Fickle("a", [TextDelta("half"), BROKEN])
        route = world.route(engine, Fickle("b", BROKEN), fallbacks=[Fickle("c")])
        stream = await world.route(engine).generate(asking(), RouteTrace())
        assert await anext(stream) == TextDelta("half")
        with pytest.raises(UpstreamFailed):
            await anext(stream)
        assert engine.calls == 1
        assert all(state.outstanding == 0 for state in route.snapshot())

    world(main)


@pytest.mark.parametrize("error", [InvalidRequest("no"), ShuttingDown("bye"), ContextLengthExceeded("long")])
def test_what_the_client_did_wrong_is_not_tried_again(world: Play, error: AntiphonError) -> None:
    async def main(world: World) -> None:
        a, b = Fickle("a", error), Fickle("b", error)
        assert await error_of(world, a, b, fallbacks=[Fickle("c")]) is error
        assert a.calls + b.calls == 1

    world(main)


def test_a_bad_secret_is_not_tried_again_there_but_elsewhere(world: Play) -> None:
    async def main(world: World) -> None:
        a = Fickle("a", *[refused()] * 9)
        trace = RouteTrace()
        assert await ask(world.route(a, fallbacks=[Fickle("b")]), trace=trace) == "b"
        assert a.calls == 1
        assert trace.fallback
        assert (await error_of(world, Fickle("a", *[refused()] * 9))).status == 502

    world(main)


def test_a_model_that_one_target_does_not_have_is_asked_of_the_next(world: Play) -> None:
    async def main(world: World) -> None:
        missing = NotFound("no", code="model_not_found")
        assert await ask(world.route(Fickle("a", missing), fallbacks=[Fickle("b")])) == "b"
        assert (await error_of(world, Fickle("a", missing))).status == 404

    world(main)


def test_fallbacks_are_tried_in_order_once_each(world: Play) -> None:
    async def main(world: World) -> None:
        a, b, c = Fickle("a", *[BROKEN] * 9), Fickle("b", *[BROKEN] * 9), Fickle("c")
        trace = RouteTrace()
        assert await ask(world.route(a, fallbacks=[b, c], retries=1), trace=trace) == "c"
        assert [attempt.target.upstream for attempt in trace.attempts] == ["a", "a", "b", "c"]
        assert trace.fallback

    world(main)


def test_a_short_retry_after_is_waited_for(world: Play) -> None:
    async def main(world: World) -> None:
        engine = Fickle("a", Overloaded("later", retry_after=2))
        began = world.loop.time()
        assert await ask(world.route(engine)) == "a"
        assert world.loop.time() - began >= 2

    world(main)


def test_a_target_with_a_long_retry_after_is_left_alone_until_then(world: Play) -> None:
    async def main(world: World) -> None:
        engine = Fickle("a", RateLimited("later", retry_after=30))
        route = world.route(engine)
        began = world.loop.time()
        with pytest.raises(RateLimited) as caught:
            await ask(route)
        assert caught.value.retry_after == 30
        assert world.loop.time() == began
        await asyncio.sleep(10)
        with pytest.raises(RateLimited) as caught:
            await ask(route)
        assert caught.value.retry_after == 20
        assert engine.calls == 1
        await asyncio.sleep(20)
        assert await ask(route) == "a"

    world(main)


def test_the_budget_bounds_retries_of_a_broken_target(world: Play) -> None:
    async def main(world: World) -> None:
        # It fails every third time, so that no breaker opens.
        engine = Fickle("a")
        route = world.route(engine, retries=1)
        calls = 600
        failures = 0
        for _ in range(calls):
            if engine.calls % 3 == 0:
                engine.plan.append(BROKEN)
            try:
                await ask(route)
            except UpstreamFailed:
                failures += 1
        most = limits.RETRY_SAVINGS + calls * limits.RETRY_SHARE + 60 * limits.RETRY_TRICKLE
        assert calls < engine.calls <= calls + most
        assert failures > 0

    world(main)


def test_an_open_breaker_answers_at_once_and_lets_one_probe_through(world: Play) -> None:
    async def main(world: World) -> None:
        engine = Fickle("a", *[BROKEN] * limits.BREAKER_FAILURES)
        route = world.route(engine, retries=0)
        for _ in range(limits.BREAKER_FAILURES):
            with pytest.raises(UpstreamFailed):
                await ask(route)
        with pytest.raises(EngineUnavailable) as caught:
            await ask(route)
        assert caught.value.retry_after == limits.BREAKER_OPEN
        assert engine.calls == limits.BREAKER_FAILURES
        assert route.snapshot()[0].breaker == "open"
        await asyncio.sleep(limits.BREAKER_OPEN)
        gate = asyncio.Event()
        engine.plan.append([gate, TextDelta("back"), Finish("stop")])
        probe = asyncio.create_task(ask(route))
        await asyncio.sleep(1)
        with pytest.raises(EngineUnavailable):
            await ask(route)
        gate.set()
        assert await probe == "back"
        assert route.snapshot()[0].breaker == "closed"
        assert await ask(route) == "a"

    world(main)


def test_the_breaker_sees_what_breaks_in_the_middle(world: Play) -> None:
    async def main(world: World) -> None:
        engine = Fickle("a", *[[TextDelta("x"), BROKEN]] * limits.BREAKER_FAILURES)
        route = world.route(engine)
        for _ in range(limits.BREAKER_FAILURES):
            with pytest.raises(UpstreamFailed):
                await ask(route)
        assert route.snapshot()[0].breaker == "open"

    world(main)


@pytest.mark.parametrize(
    "plan",
    [
        [UpstreamFailed("nonsense", code="upstream_invalid")],
        [TextDelta("x"), UpstreamFailed("nonsense", code="upstream_invalid")],
        [TextDelta("x"), UpstreamFailed("no end", code="upstream_truncated")],
        [TextDelta("x"), UpstreamFailed("it says that it failed")],
        [TextDelta("x"), Overloaded("it says that it is overloaded")],
        [OutputInvalid("does not fit")],
    ],
)
def test_answers_that_make_no_sense_open_no_breaker(world: Play, plan: list[Any]) -> None:
    async def main(world: World) -> None:
        engine = Fickle("a", *[list(plan)] * 3 * limits.BREAKER_SAMPLES)
        route = world.route(engine, retries=0)
        for _ in range(3 * limits.BREAKER_SAMPLES):
            with pytest.raises(AntiphonError):
                await ask(route)
        assert route.snapshot()[0].breaker == "closed"

    world(main)


# --- deadlines --------------------------------------------------------------------------------------------------------
DEADLINES = Deadlines(first=3, between=2, whole=10)


def test_a_target_that_does_not_begin_is_given_up_and_another_asked(world: Play) -> None:
    async def main(world: World) -> None:
        stuck = Fickle("a", [asyncio.Event()])
        trace = RouteTrace()
        began = world.loop.time()
        assert await ask(world.route(stuck, fallbacks=[Fickle("b")], deadlines=DEADLINES), trace=trace) == "b"
        assert world.loop.time() - began == pytest.approx(3, abs=0.1)
        assert trace.attempts[0].error == "upstream_timeout"
        assert trace.attempts[0].ms == pytest.approx(3000, abs=100)
        assert stuck.closed == 1

    world(main)


def test_a_stream_that_stalls_ends_as_a_deadline(world: Play) -> None:
    async def main(world: World) -> None:
        stuck = Fickle("a", [TextDelta("x"), asyncio.Event()])
        stream = await world.route(stuck, deadlines=DEADLINES).generate(asking(), RouteTrace())
        assert await anext(stream) == TextDelta("x")
        began = world.loop.time()
        with pytest.raises(DeadlineExceeded):
            await anext(stream)
        assert world.loop.time() - began == pytest.approx(2, abs=0.1)
        assert stuck.closed == 1

    world(main)


def test_a_slow_reader_does_not_use_up_the_time_between_deltas(world: Play) -> None:
    async def main(world: World) -> None:
        script = [TextDelta("x"), TextDelta("y"), Finish("stop")]
        stream = await world.route(Fickle("a", script), deadlines=DEADLINES).generate(asking(), RouteTrace())
        for expected in script:
            assert await anext(stream) == expected
            await asyncio.sleep(2.5)

    world(main)


def test_the_whole_has_a_deadline_whatever_comes_of_it(world: Play) -> None:
    async def main(world: World) -> None:
        engine = Fickle("a", [TextDelta("x")] * 1000)
        engine._pace = 1.0
        began = world.loop.time()
        with pytest.raises(DeadlineExceeded):
            await ask(world.route(engine, deadlines=DEADLINES))
        assert world.loop.time() - began == pytest.approx(10, abs=0.1)

    world(main)


def test_several_tries_together_stay_within_the_deadline_for_the_whole(world: Play) -> None:
    async def main(world: World) -> None:
        engines = [Fickle(name, *[[asyncio.Event()]] * 9) for name in "abcdefgh"]
        began = world.loop.time()
        error = await error_of(world, *engines[:4], fallbacks=engines[4:], deadlines=DEADLINES, retries=9)
        assert isinstance(error, DeadlineExceeded)
        assert world.loop.time() - began == pytest.approx(10, abs=0.1)

    world(main)


def test_a_cancel_from_outside_is_no_deadline(world: Play) -> None:
    async def main(world: World) -> None:
        for script in ([asyncio.Event()], [TextDelta("x"), asyncio.Event()]):
            engine = Fickle("a", script)
            route = world.route(engine, deadlines=DEADLINES)
            task = asyncio.create_task(ask(route))
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert route.snapshot()[0].outstanding == 0
            assert route.snapshot()[0].failures == 0
            assert engine.closed == 1

    world(main)


def test_a_stream_that_is_left_gives_its_place_back(world: Play) -> None:
    async def main(world: World) -> None:
        route = world.route(Fickle("a"))
        async with aclosing(await route.generate(asking(), RouteTrace())):
            assert route.snapshot()[0].outstanding == 1
        assert route.snapshot()[0].outstanding == 0
        await route.generate(asking(), RouteTrace())  # forgotten at once
        assert route.snapshot()[0].outstanding == 0

    world(main)


# --- what targets can do ----------------------------------------------------------------------------------------------
SEEING = Capabilities(context_tokens=5000, images=True, passes_extra=True)
IMAGE = asking()
IMAGE = type(IMAGE)("r", (Message("user", (TextPart("look"), ImagePart("data:,", path="p"))),))


def test_targets_that_cannot_are_skipped(world: Play) -> None:
    async def main(world: World) -> None:
        route = world.route(Fickle("blind"), Fickle("seeing", capabilities=SEEING))
        assert {await ask(route, IMAGE) for _ in range(9)} == {"seeing"}
        assert await ask(route, asking(extra={"top_k": 3})) == "seeing"
        assert route.capabilities.images
        assert route.capabilities.context_tokens == 5000
        trace = RouteTrace()
        assert (
            await ask(world.route(Fickle("blind"), fallbacks=[Fickle("b", capabilities=SEEING)]), IMAGE, trace) == "b"
        )
        assert trace.fallback

    world(main)


def test_if_no_target_can_the_request_is_refused(world: Play) -> None:
    async def main(world: World) -> None:
        engine = Fickle("blind")
        with pytest.raises(InvalidRequest):
            await ask(world.route(engine), IMAGE)
        with pytest.raises(InvalidRequest):
            await world.route(engine).check(IMAGE)
        assert engine.calls == 0

    world(main)


def test_a_prompt_that_is_too_long_for_one_goes_where_there_is_more_room(world: Play) -> None:
    async def main(world: World) -> None:
        long = ContextLengthExceeded("too long")
        for small_first in (True, False):
            small, large = Fickle("small", *[long] * 9), Fickle("large", capabilities=SEEING)
            engines = (small, large) if small_first else (large, small)
            assert await ask(world.route(*engines, retries=0)) == "large"

    world(main)


def test_the_union_never_promises_to_continue(world: Play) -> None:
    async def main(world: World) -> None:
        goes_on = Capabilities(context_tokens=1, continues=True)
        assert world.route(Fickle("a", capabilities=goes_on)).capabilities.continues
        assert not world.route(*[Fickle(name, capabilities=goes_on) for name in "ab"]).capabilities.continues
        assert PLAIN.constrains

    world(main)


def test_a_server_that_stops_tries_nothing_again(world: Play) -> None:
    async def main(world: World) -> None:
        engine = Fickle("a", *[BROKEN] * 9)
        world.env.stopped = True
        assert (await error_of(world, engine)).code == "server_is_shutting_down"
        assert engine.calls == 1

    world(main)
