"""The stage of rate limits: what it counts, what it says, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest

from antiphon.domain import limits as bounds
from antiphon.domain.errors import EngineFailed, ModelNotFound, NeverFits, Overloaded, RateLimited
from antiphon.domain.rates import MINUTE, NANOSECONDS, Demand, Meter, RateLimit, RateLimits
from antiphon.domain.scopes import Permits
from antiphon.domain.tenancy import Caller, Key, Project
from antiphon.engines.scripted import ScriptedEngine, Step, saying
from antiphon.engines.single import SingleRoute
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.limits.check import RateLimitCheck, most_tokens
from antiphon.policy.limits.counters import Counters
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.protocol.generation import (
    Delta,
    Finish,
    Generation,
    Message,
    Passthrough,
    Sampling,
    TextDelta,
    TextPart,
    Usage,
)

KEY = Key("key_1", "proj_1", "", b"", "", 0)
PROJECT = Project("proj_1", "one", 0)
#: Seven tokens of input, by our estimate, and three that may be said.
ASKED = Generation("m", (Message("user", (TextPart("abcdefgh"),)),), sampling=Sampling(max_tokens=3))
TEN = RateLimit("project", "proj_1", tpm=10)


def most(generation: Generation) -> int:
    return most_tokens(GenerationContext(World().call(), World().route, generation))


class World:
    """A gate with limits over a scripted engine, and a clock that the test moves."""

    def __init__(self, *found: RateLimit, engine: ScriptedEngine | None = None, more: Any = ()) -> None:
        self.now = 0
        self.found = found
        self.counters = Counters(lambda: self.now)
        stage = RateLimitCheck(self.counters)
        self.gate = Pipeline([stage, *more], [stage])
        self.route = SingleRoute("scripted", engine or ScriptedEngine(saying("hi")), 0)

    def call(self, model: str = "scripted", permits: Permits | None = None) -> Call:
        caller = Caller(KEY, PROJECT, RateLimits(self.found), permits or Permits())
        return Call(caller, "/v1/responses", "req", 0, model=model)

    async def begin(self, call: Call, generation: Generation = ASKED) -> AsyncGenerator[Delta, None]:
        return await self.gate.bound(call, self.route).generate(generation)

    async def whole(self, generation: Generation = ASKED) -> Call:
        """A call from its beginning to its end."""
        call = self.call()
        try:
            async for _ in await self.begin(call, generation):
                pass
        finally:
            self.gate.close(call, 200)
        return call

    async def left(self, limit: RateLimit, kind: Any) -> list[int]:
        _, readings = await self.counters.take((), (), [Demand(meter, 0) for meter in limit.meters(kind)])
        return [reading.remaining for reading in readings]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def said(call: Call) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in call.rate_headers}


def test_without_limits_nothing_is_said_and_nothing_kept() -> None:
    async def test() -> None:
        world = World()
        call = await world.whole()
        assert call.rate_headers == []
        assert len(world.counters) == 0

    run(test)


def test_headers_say_what_is_left_and_when_it_is_whole_again() -> None:
    async def test() -> None:
        world = World(RateLimit("project", "proj_1", rpm=60, tpm=6000))
        call = world.call()
        stream = await world.begin(call)
        assert said(call) == {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-limit-tokens": "6000",
            "x-ratelimit-remaining-tokens": "5990",
            "x-ratelimit-reset-tokens": "100ms",
        }
        await stream.aclose()
        world.gate.close(call, 200)
        world.now += NANOSECONDS // 2
        call = await world.whole()
        assert said(call)["x-ratelimit-reset-requests"] == "1.5s"
        assert said(call)["x-ratelimit-remaining-requests"] == "58"

    run(test)


def test_the_tightest_limit_is_told() -> None:
    async def test() -> None:
        world = World(
            RateLimit("organization", "", rpm=100),
            RateLimit("project", "proj_1", rpm=5, rpd=50),
            RateLimit("project", "proj_1", "scripted", rpm=7),
            RateLimit("key", "key_1", rpd=3),
            RateLimit("project", "proj_1", "other", rpm=1),
        )
        assert said(await world.whole())["x-ratelimit-limit-requests"] == "3"
        await world.whole()
        assert said(await world.whole())["x-ratelimit-remaining-requests"] == "0"
        call = world.call()
        with pytest.raises(RateLimited) as caught:
            await world.begin(call)
        assert "in key key_1 on requests per day (RPD): Limit 3, Used 3, Requested 1." in caught.value.message
        assert said(call)["x-ratelimit-limit-requests"] == "3"
        assert caught.value.retry_after == 28_800

    run(test)


def test_a_refusal_says_when_to_come_again() -> None:
    async def test() -> None:
        world = World(RateLimit("project", "proj_1", rpm=2))
        await world.whole()
        await world.whole()
        world.now += 1_000_000
        call = world.call()
        with pytest.raises(RateLimited) as caught:
            await world.begin(call)
        error = caught.value
        assert not isinstance(error, NeverFits)
        assert (error.status, error.type, error.code, error.retry_after) == (429, "requests", "rate_limit_exceeded", 30)
        assert error.message == (
            "Rate limit reached for scripted in project proj_1 on requests per min (RPM): "
            "Limit 2, Used 2, Requested 1. Please try again in 29.999s."
        )
        assert said(call) == {
            "x-ratelimit-limit-requests": "2",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "59.999s",
            "retry-after-ms": "29999",
        }
        world.now += 29_999_000_000
        await world.whole()

    run(test)


def test_tokens_are_held_before_and_settled_after() -> None:
    async def test() -> None:
        world = World(TEN)
        assert most(ASKED) == 10
        call = world.call()
        stream = await world.begin(call)
        assert await world.left(TEN, "tokens") == [0]
        second = world.call()
        with pytest.raises(RateLimited) as caught:
            await world.begin(second)
        assert caught.value.type == "tokens"
        assert said(second)["x-ratelimit-remaining-tokens"] == "0"
        async for delta in stream:
            if isinstance(delta, Finish):
                assert await world.left(TEN, "tokens") == [1], "it is settled before the end is sent"
        world.now += MINUTE
        assert await world.left(TEN, "tokens") == [10]

    run(test)


def test_more_used_than_held_is_owed() -> None:
    async def test() -> None:
        script = [TextDelta("hi"), Finish("stop", Usage(input_tokens=20, output_tokens=10))]
        world = World(TEN, engine=ScriptedEngine(lambda _: script))
        await world.whole()
        with pytest.raises(RateLimited) as caught:
            await world.whole()
        assert caught.value.retry_after == 180

    run(test)


def test_a_request_that_is_larger_than_the_limit_is_told_so() -> None:
    async def test() -> None:
        world = World(RateLimit("project", "proj_1", tpm=9, rpm=5))
        call = world.call()
        with pytest.raises(NeverFits) as caught:
            await world.begin(call)
        assert caught.value.type == "tokens"
        assert caught.value.retry_after is None
        assert caught.value.message == (
            "Request too large for scripted in project proj_1 on tokens per min (TPM): Limit 9, Requested 10. "
            "The input or output tokens must be reduced in order to run successfully."
        )
        assert said(call)["x-should-retry"] == "false"
        assert said(call)["x-ratelimit-remaining-requests"] == "5", "a refused one is not counted"

    run(test)


def test_what_is_held_is_bounded() -> None:
    text = (Message("user", (TextPart("abcdefgh"),)),)
    assert most(Generation("m", text)) == 7 + bounds.RATE_OUTPUT_DEFAULT
    large = Generation("m", text, sampling=Sampling(max_tokens=10**9))
    assert most(large) == 7 + bounds.RATE_OUTPUT_CAP
    three = Generation("m", text, sampling=Sampling(max_tokens=3), passthrough=Passthrough("chat", {"n": 3}))
    assert most(three) == 30


def test_a_call_is_one_request_whatever_it_generates() -> None:
    async def test() -> None:
        limit = RateLimit("project", "proj_1", rpm=5, tpm=100, concurrent=1)
        world = World(limit)
        call = world.call()
        streams = [await world.begin(call) for _ in range(3)]
        assert await world.left(limit, "requests") == [4]
        assert await world.left(limit, "tokens") == [70]
        assert await world.left(limit, "concurrent") == [0]
        with pytest.raises(RateLimited, match="concurrent requests: Limit 1, Used 1, Requested 1"):
            await world.begin(world.call())
        for stream in streams:
            await stream.aclose()
        assert await world.left(limit, "concurrent") == [0], "between two generations it keeps its place"
        world.gate.close(call, 200)
        assert await world.left(limit, "concurrent") == [1]
        assert await world.left(limit, "tokens") == [100], "nothing was generated"

    run(test)


def test_a_trial_leaves_nothing_but_that_the_call_was_counted() -> None:
    async def test() -> None:
        limit = RateLimit("project", "proj_1", rpm=5, tpm=10, concurrent=1)
        world = World(limit)
        call = world.call()
        await world.gate.bound(call, world.route).check(ASKED)
        assert call.counted
        world.gate.close(call, 200)
        assert await world.left(limit, "requests") == [4]
        assert await world.left(limit, "tokens") == [10]
        assert await world.left(limit, "concurrent") == [1]
        # In the background, it was counted before.
        job = world.call()
        job.counted = True
        running = await world.begin(job)
        assert await world.left(limit, "requests") == [4]
        assert await world.left(limit, "concurrent") == [0]
        with pytest.raises(RateLimited):
            await world.gate.bound(world.call(), world.route).check(ASKED)
        assert await world.left(limit, "requests") == [4]
        await running.aclose()

    run(test)


def test_what_others_refuse_leaves_no_tokens_behind() -> None:
    class Refusing:
        async def enter(self, context: GenerationContext) -> None:
            raise Overloaded("no")

        def finish(self, context: GenerationContext) -> None: ...
        def leave(self, context: GenerationContext) -> None: ...

    async def test() -> None:
        limit = RateLimit("key", "key_1", tpm=10, concurrent=1)
        worlds = [World(limit, more=[Refusing()])]

        def full(_: Generation) -> None:
            raise Overloaded("full")

        worlds.append(World(limit, engine=ScriptedEngine(admit=full)))
        for world in worlds:
            for _ in range(3):
                with pytest.raises(Overloaded):
                    await world.whole()
            assert await world.left(limit, "tokens") == [10]
            assert await world.left(limit, "concurrent") == [1]

    run(test)


@pytest.mark.parametrize("end", ["hang up", "break", "silence"])
def test_what_is_broken_off_costs_what_was_said(end: str) -> None:
    async def test() -> None:
        steps: list[Step] = [TextDelta("12345678"), TextDelta("12345678"), EngineFailed("broken")]
        if end == "silence":
            steps = [EngineFailed("broken")]
        limit = RateLimit("key", "key_1", tpm=100)
        world = World(limit, engine=ScriptedEngine(lambda _: steps))
        stream = await world.begin(world.call())
        if end == "hang up":
            await anext(stream)
            await anext(stream)
            await stream.aclose()
        else:
            with pytest.raises(EngineFailed):
                async for _ in stream:
                    pass
        spent = 0 if end == "silence" else 7 + 4
        assert await world.left(limit, "tokens") == [100 - spent]

    run(test)


def test_what_the_cache_answers_costs_no_tokens() -> None:
    class Cache:
        async def answer(self, context: GenerationContext) -> AsyncGenerator[Delta, None]:
            context.cached = True
            return await ScriptedEngine(saying("hi", input_tokens=9)).generate(context.generation)

    async def test() -> None:
        limit = RateLimit("key", "key_1", tpm=10, rpm=5)
        world = World(limit)
        stage = RateLimitCheck(world.counters)
        world.gate = Pipeline([stage], [stage], Cache())
        await world.whole()
        assert await world.left(limit, "tokens") == [10]
        assert await world.left(limit, "requests") == [4]

    run(test)


def test_nothing_leaks_however_calls_end() -> None:
    """Hundreds of calls at once, ended by their end, by a cancel at any moment, or by an engine that breaks."""

    async def test() -> None:
        dice = random.Random(7)

        def script(_: Generation) -> list[Step]:
            steps: list[Step] = [TextDelta("some text")] * dice.randrange(5)
            broken = EngineFailed("broken") if dice.random() < 0.2 else Finish("stop", Usage(1, 0, 1))
            return [*steps, broken]

        limit = RateLimit("project", "proj_1", tpm=400, concurrent=20, rpm=10**6)
        world = World(limit, engine=ScriptedEngine(script))
        most = 0

        async def one() -> None:
            nonlocal most
            call = world.call()
            try:
                stream = await world.begin(call)
                most = max(most, 20 - (await world.left(limit, "concurrent"))[0])
                try:
                    async for _ in stream:
                        await asyncio.sleep(0)
                finally:
                    await stream.aclose()
            except (RateLimited, EngineFailed):
                pass
            finally:
                world.gate.close(call, 200)

        for _ in range(12):
            tasks = [asyncio.create_task(one()) for _ in range(40)]
            for task in dice.sample(tasks, 15):
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert await world.left(limit, "concurrent") == [20]
            world.now += MINUTE
            assert await world.left(limit, "tokens") == [400]
        assert 1 < most <= 20

    run(test)


def test_a_model_that_a_key_may_not_ask_for_is_not_there() -> None:
    world = World()
    world.gate.bound(world.call(permits=Permits(models=("scr*",))), world.route)
    with pytest.raises(ModelNotFound, match="does not exist or you do not have access"):
        world.gate.bound(world.call(permits=Permits(models=("other",))), world.route)


def test_the_same_meter_has_one_counter_for_all_keys_of_a_project() -> None:
    async def test() -> None:
        limit = RateLimit("project", "proj_1", rpm=2)
        world = World(limit)
        await world.whole()
        other = Call(
            Caller(Key("key_2", "proj_1", "", b"", "", 0), PROJECT, RateLimits([limit])),
            "/v1",
            "r",
            0,
            model="scripted",
        )
        async for _ in await world.begin(other):
            pass
        with pytest.raises(RateLimited):
            await world.whole()
        assert Meter(("project", "proj_1", "", "rpm"), 2, MINUTE).owner == "project proj_1"

    run(test)
