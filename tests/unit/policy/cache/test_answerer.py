"""The cache between the gate and a route, without any server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from antiphon.domain import limits
from antiphon.domain.caching import OFF, CacheControl
from antiphon.domain.errors import EngineFailed, InvalidRequest, StoreFailed
from antiphon.domain.route_trace import TargetName
from antiphon.domain.routing import TargetSpec
from antiphon.engines.scripted import Script, ScriptedEngine, Step, saying
from antiphon.models.tokens import count_text
from antiphon.policy.cache.answerer import Cache
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.protocol.generation import (
    Batch,
    Delta,
    Finish,
    Generation,
    ImagePart,
    Message,
    Passthrough,
    Progress,
    TextDelta,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from support.caching import MemoryCache, ScriptedRoute, SetClock, a_call, asking

HIT, MISS, BYPASS = b"hit", b"miss", b"bypass"


class World:
    """A gate with a cache, and a route behind it."""

    def __init__(self, script: Script | None = None, **route: Any) -> None:
        self.store = MemoryCache()
        self.clock = SetClock()
        self.engine = ScriptedEngine(script or saying("some words", pieces=2))
        self.route = ScriptedRoute(self.engine, **route)
        self.cache = Cache(self.store, self.clock, b"s" * 32)
        self.gate = Pipeline(answerer=self.cache)

    async def ask(self, generation: Generation | None = None, call: Call | None = None) -> tuple[list[Delta], bytes]:
        """The whole answer, and where it says that it came from."""
        call = call or a_call()
        stream = await self.gate.bound(call, self.route).generate(generation or asking())
        async with aclosing(stream):
            deltas = [delta async for delta in stream]
        await self.settled()
        return deltas, where(call)

    async def settled(self) -> None:
        """What is finished is kept."""
        for _ in range(100):
            await asyncio.sleep(0)

    @property
    def asked(self) -> int:
        """How often the engine was asked."""
        return len(self.engine.asked)


def where(call: Call) -> bytes:
    """What the call's header says."""
    (value,) = [value for name, value in call.headers if name == b"x-antiphon-cache"] or [b""]
    return value


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(test(), 10)

    asyncio.run(main())


def test_usage_of_a_cached_answer_is_saved_not_used() -> None:
    async def test() -> None:
        world = World()
        first, second = a_call(), a_call()
        made, _ = await world.ask(call=first)
        given, what = await world.ask(call=second)
        assert (made, what) == (given, HIT)
        usage = Usage(input_tokens=8, output_tokens=2)
        assert (first.generations[0].usage, first.generations[0].saved_usage) == (usage, None)
        cached = second.generations[0]
        assert (cached.cached, cached.usage, cached.saved_usage) == (True, Usage(), usage)
        assert cached.trace.target == TargetName("openai", "gpt-4o")

    run(test)


def test_an_answer_is_given_for_as_long_as_was_said_and_tells_its_age() -> None:
    async def test() -> None:
        world = World(cache=100)
        await world.ask()
        world.clock.time += 99
        call = a_call()
        assert (await world.ask(call=call))[1] == HIT
        assert (b"age", b"99") in call.headers
        assert (await world.ask(call=a_call(control=CacheControl(max_age=98))))[1] == MISS
        assert (await world.ask(call=a_call(control=CacheControl(max_age=98))))[1] == HIT
        world.clock.time += 100
        assert (await world.ask())[1] == MISS

    run(test)


def test_a_requests_own_seconds_go_before_the_routes() -> None:
    async def test() -> None:
        world = World(cache=100)
        await world.ask(call=a_call(control=CacheControl(wanted=True, max_age=500)))
        world.clock.time += 400
        assert (await world.ask())[1] == MISS, "older than the route allows"
        await world.ask(call=a_call(control=CacheControl(wanted=True, max_age=500)))
        world.clock.time += 400
        assert (await world.ask(call=a_call(control=CacheControl(wanted=True, max_age=500))))[1] == MISS, (
            "kept for 100 seconds"
        )

    run(test)


@pytest.mark.parametrize(
    ("route", "project", "wish", "store", "expected"),
    [
        (None, None, None, None, (b"", b"")),
        (None, None, CacheControl(max_age=5), None, (b"", b"")),
        (None, None, CacheControl(read=False), None, (b"", b"")),
        (600, None, None, None, (MISS, HIT)),
        (None, 600, None, None, (MISS, HIT)),
        (600, OFF, None, None, (b"", b"")),
        (600, OFF, CacheControl(wanted=True), None, (BYPASS, BYPASS)),
        (None, None, CacheControl(wanted=True), None, (MISS, HIT)),
        (600, None, CacheControl(read=False, keep=False), None, (BYPASS, BYPASS)),
        (600, None, CacheControl(read=False), None, (MISS, MISS)),
        (600, None, CacheControl(max_age=0), None, (MISS, MISS)),
        (600, None, None, False, (BYPASS, BYPASS)),
        (600, None, None, True, (MISS, HIT)),
        (600, None, CacheControl(wanted=True), False, (MISS, HIT)),
    ],
)
def test_who_turns_it_on_and_off(
    route: float | None,
    project: int | None,
    wish: CacheControl | None,
    store: bool | None,
    expected: tuple[bytes, bytes],
) -> None:
    async def test() -> None:
        world = World(cache=route)
        world.store.rules["proj_one"] = project
        said = []
        for _ in range(2):
            call = a_call(control=wish)
            call.store = store
            said.append((await world.ask(call=call))[1])
        assert tuple(said) == expected

    run(test)


def with_image(path: str) -> Generation:
    return asking(
        change=lambda each: msgspec.structs.replace(each, turns=(Message("user", (ImagePart("u", path=path),)),))
    )


def after_call(call_id: str, output: str = "42") -> Generation:
    turns = (*asking().turns, ToolCall(call_id, "f", "{}"), ToolResult(call_id, output))
    return asking(change=lambda each: msgspec.structs.replace(each, turns=turns))


def changed(**changes: Any) -> Generation:
    return asking(change=lambda each: msgspec.structs.replace(each, **changes))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (asking(), changed(streamed=False), True),
        (asking(), changed(batches=True), True),
        (asking(), changed(affinity="somewhere"), True),
        (asking(), changed(passthrough=Passthrough("chat", {"model": "x", "user": "me"})), True),
        (with_image("messages[0]"), with_image("input[7]"), True),
        (after_call("call_1"), after_call("call_2"), True),
        (after_call("call_1"), after_call("call_1", "43"), False),
        (changed(extra={"a": 1, "b": 2}), changed(extra={"b": 2, "a": 1}), True),
        (changed(extra={"a": 1}), changed(extra={"a": 2}), False),
        (asking(), changed(effort="low"), False),
        (asking(), changed(model="other"), False),
        (asking(), changed(tools=(Tool("f"),)), False),
    ],
)
def test_what_is_equal(one: Generation, other: Generation, equal: bool) -> None:
    async def test() -> None:
        world = World()
        await world.ask(one)
        assert (await world.ask(other))[1] == (HIT if equal else MISS)

    run(test)


def test_a_route_with_other_targets_gives_other_answers() -> None:
    async def test() -> None:
        world = World()
        await world.ask()
        world.route = ScriptedRoute(world.engine, targets=(TargetSpec("other"),))
        assert (await world.ask())[1] == MISS

    run(test)


@pytest.mark.parametrize(
    "generation",
    [
        changed(passthrough=Passthrough("responses", {"tools": [{"type": "web_search"}]})),
        changed(passthrough=Passthrough("responses", {"tools": [{"type": "function", "name": "f"}, {"type": "mcp"}]})),
        changed(passthrough=Passthrough("chat", {"web_search_options": {}, "modalities": ["text", "audio"]})),
        changed(passthrough=Passthrough("chat", {"audio": {"voice": "x"}})),
        changed(progress=(b"1",)),
    ],
)
def test_what_acts_or_goes_on_is_never_cached(generation: Generation) -> None:
    async def test() -> None:
        world = World()
        for count in (1, 2):
            assert (await world.ask(generation))[1] == BYPASS
            assert world.asked == count
        assert world.engine.asked[0].passthrough == generation.passthrough, "it must be asked for as it was"

    run(test)


def test_the_engine_is_asked_in_neutral_words() -> None:
    async def test() -> None:
        world = World()
        await world.ask(changed(passthrough=Passthrough("chat", {"tools": [{"type": "function"}, {"type": "custom"}]})))
        assert world.engine.asked[0].passthrough is None

    run(test)


def test_a_long_answer_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CACHED_ANSWER", 100)

    async def test() -> None:
        world = World(saying("x" * 200))
        assert [(await world.ask())[1] for _ in range(2)] == [MISS, MISS]
        assert not world.store.answers

    run(test)


def test_notes_of_progress_are_the_askers_own() -> None:
    async def test() -> None:
        world = World()
        tracked, _ = await world.ask(changed(track=True))
        assert sum(isinstance(delta, Progress) for delta in tracked) == 3
        plain, what = await world.ask()
        assert what == HIT
        assert plain == [delta for delta in tracked if not isinstance(delta, Progress)]

    run(test)


def test_who_can_take_several_deltas_at_once_gets_them_so() -> None:
    async def test() -> None:
        deltas = tuple(TextDelta(f"{number} ") for number in range(100))
        world = World(lambda _: [Batch(deltas[:60]), Batch(deltas[60:]), Finish("stop")])
        end = Finish("stop")
        assert (await world.ask(changed(batches=True)))[1] == MISS
        single, what = await world.ask()
        assert (single, what) == ([*deltas, end], HIT)
        several, what = await world.ask(changed(batches=True))
        assert what == HIT
        assert several == [Batch(deltas[:32]), Batch(deltas[32:64]), Batch(deltas[64:96]), Batch(deltas[96:]), end]

    run(test)


def test_who_joins_gets_what_is_there_at_once() -> None:
    async def test() -> None:
        script, event = gated(before=[Batch((TextDelta("a"), TextDelta("b"))), TextDelta("c")])
        world = World(script)
        leader = await world.gate.bound(a_call(), world.route).generate(asking())
        await world.settled()
        joined = await world.gate.bound(a_call(), world.route).generate(changed(batches=True))
        assert await anext(joined) == Batch((TextDelta("a"), TextDelta("b"), TextDelta("c")))
        assert [await anext(leader) for _ in range(3)] == [TextDelta("a"), TextDelta("b"), TextDelta("c")]
        event.set()
        for stream in (leader, joined):
            assert [delta async for delta in stream][-1] == Finish("stop", Usage(5, 0, 2))

    run(test)


def test_a_broken_cache_is_no_cache() -> None:
    async def test() -> None:
        world = World()
        world.store.error = StoreFailed("The disk is full.")
        assert [(await world.ask())[1] for _ in range(2)] == [b"", b""], "a project may have forbidden it"
        world.store.error = None
        await world.ask()
        world.store.error = StoreFailed("The disk is full.")
        assert [(await world.ask())[1] for _ in range(2)] == [MISS, MISS]
        assert world.asked == 5

    run(test)


def test_an_answer_of_another_version_is_made_anew() -> None:
    async def test() -> None:
        world = World()
        await world.ask()
        (name,) = world.store.answers
        world.store.answers[name] = replace(world.store.answers[name], body=b"\xc1 nothing that can be read")
        assert (await world.ask())[1] == MISS
        assert (await world.ask())[1] == HIT

    run(test)


def test_a_projects_rule_is_looked_up_now_and_then() -> None:
    async def test() -> None:
        world = World(cache=None)
        for _ in range(5):
            await world.ask()
        assert world.store.asked_for_rules == 1
        world.store.rules["proj_one"] = 60
        world.clock.time += limits.KEY_CACHE_TTL
        assert [(await world.ask())[1] for _ in range(2)] == [MISS, HIT]

    run(test)


# --- generations that are shared --------------------------------------------------------------------------------------
def gated(*, before: Sequence[Step] = (TextDelta("one "),), after: Sequence[Step] = ()) -> tuple[Script, asyncio.Event]:
    event = asyncio.Event()
    end = after or (TextDelta("two"), Finish("stop", Usage(5, 0, 2)))
    return (lambda _: [*before, event, *end]), event


def test_who_joins_late_gets_everything_and_who_leaves_pays_nothing() -> None:
    async def test() -> None:
        script, event = gated()
        world = World(script)
        calls = [a_call() for _ in range(3)]
        streams = [await world.gate.bound(call, world.route).generate(asking()) for call in calls]
        assert [await anext(stream) for stream in streams] == [TextDelta("one ")] * 3
        assert [where(call) for call in calls] == [MISS, HIT, HIT]
        await streams[0].aclose()
        event.set()
        for stream in streams[1:]:
            assert [delta async for delta in stream] == [TextDelta("two"), Finish("stop", Usage(5, 0, 2))]
        left, next_payer, other = [call.generations[0] for call in calls]
        assert (left.usage, left.error) == (Usage(), "cancelled")
        assert (next_payer.cached, next_payer.usage, next_payer.saved_usage) == (False, Usage(5, 0, 2), None)
        assert (other.cached, other.usage, other.saved_usage) == (True, Usage(), Usage(5, 0, 2))
        assert world.asked == 1

    run(test)


def test_a_refusal_reaches_who_asked_and_the_others_ask_on_their_own() -> None:
    async def test() -> None:
        world = World()
        refusals = iter([InvalidRequest("no")])

        def admit(generation: Generation) -> None:
            error = next(refusals, None)
            if error is not None:
                raise error

        world.engine._admit = admit
        calls = [a_call() for _ in range(3)]
        begun = await asyncio.gather(
            *(world.gate.bound(call, world.route).generate(asking()) for call in calls), return_exceptions=True
        )
        assert isinstance(begun[0], InvalidRequest)
        for call, stream in zip(calls[1:], begun[1:], strict=True):
            assert not isinstance(stream, BaseException)
            assert len([delta async for delta in stream]) == 3
            assert where(call) == MISS
            assert call.generations[0].usage == Usage(input_tokens=8, output_tokens=2)
        assert world.asked == 2

    run(test)


def test_a_fault_after_the_first_delta_is_everybodys_and_nothing_is_kept() -> None:
    async def test() -> None:
        script, event = gated(after=[EngineFailed("broke")])
        world = World(script)
        streams = [await world.gate.bound(a_call(), world.route).generate(asking()) for _ in range(3)]
        event.set()
        errors = []
        for stream in streams:
            assert await anext(stream) == TextDelta("one ")
            with pytest.raises(EngineFailed, match="broke") as caught:
                await anext(stream)
            errors.append(caught.value)
        assert len({id(error) for error in errors}) == 3, "one error raised in several tasks"
        await world.settled()
        assert not world.store.answers
        assert not world.cache._all
        assert not world.cache._under_way

    run(test)


def test_the_last_to_leave_ends_the_generation_and_pays_for_what_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ready:
        """Counts as the gate's does once its vocabulary is loaded."""

        count = staticmethod(count_text)

    monkeypatch.setattr("antiphon.policy.generated_text._counter", Ready())

    async def test() -> None:
        script, _ = gated(before=[TextDelta("x" * 40), TextDelta("y" * 40)])
        world = World(script)
        call = a_call()
        stream = await world.gate.bound(call, world.route).generate(asking())
        await anext(stream)
        await world.settled()
        await stream.aclose()
        assert world.engine.closed == 1
        usage = call.generations[0].usage
        assert usage is not None
        made = count_text("gpt-4o", "x" * 40 + "y" * 40)
        assert (usage.output_tokens, usage.estimated) == (made, True), "the second delta was made, if not taken"
        assert not world.cache._all

    run(test)


def test_an_answer_that_is_finished_is_billed_whole_to_who_leaves_before_its_end() -> None:
    async def test() -> None:
        world = World()
        call = a_call()
        stream = await world.gate.bound(call, world.route).generate(asking())
        await anext(stream)
        await world.settled()
        await stream.aclose()
        assert call.generations[0].usage == Usage(input_tokens=8, output_tokens=2)
        assert (await world.ask())[1] == HIT

    run(test)


def test_who_is_cancelled_while_the_engine_decides_leaves_nothing_behind() -> None:
    async def test() -> None:
        script, event = gated(before=[])
        world = World(script)
        leader = await world.gate.bound(a_call(), world.route).generate(asking())
        joining = asyncio.create_task(world.gate.bound(a_call(), world.route).generate(asking()))
        await world.settled()
        joining.cancel()
        await asyncio.wait({joining})
        (flight,) = world.cache._all
        assert len(flight._subscribers) == 1
        event.set()
        assert len([delta async for delta in leader]) == 2

    run(test)


def test_a_slow_reader_holds_the_engine_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CACHE_AHEAD", 4)

    async def test() -> None:
        world = World(saying("x" * 100, pieces=100))
        stream = await world.gate.bound(a_call(), world.route).generate(asking())
        await world.settled()
        (flight,) = world.cache._all
        assert len(flight.deltas) <= 5
        slow = await world.gate.bound(a_call(), world.route).generate(asking())
        for _ in range(50):
            await anext(stream)
        await stream.aclose()
        assert len([delta async for delta in slow]) == 101

    run(test)


def test_there_is_an_end_to_how_many_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CACHE_SUBSCRIBERS", 2)
    monkeypatch.setattr(limits, "CACHE_SHARED", 2)

    async def test() -> None:
        script, event = gated()
        world = World(script)
        calls = [a_call() for _ in range(6)]
        streams = [await world.gate.bound(call, world.route).generate(asking()) for call in calls]
        assert [where(call) for call in calls] == [MISS, HIT, MISS, HIT, BYPASS, BYPASS]
        assert world.asked == 4
        event.set()
        for stream in streams:
            assert len([delta async for delta in stream]) == 3

    run(test)


def test_closing_ends_what_is_under_way() -> None:
    async def test() -> None:
        script, _ = gated()
        world = World(script)
        stream = await world.gate.bound(a_call(), world.route).generate(asking())
        await anext(stream)
        await world.cache.close()
        with pytest.raises(EngineFailed):
            await anext(stream)
        assert world.engine.closed == 1

    run(test)


def test_keys_are_each_servers_and_each_projects_own() -> None:
    from antiphon.policy.cache.key import Keys

    async def key(secret: bytes, project: str) -> bytes:
        call = a_call(project)
        context = GenerationContext(call, World().route, asking())
        return await Keys(secret).key(context)

    async def test() -> None:
        keys = [await key(secret, project) for secret in (b"a" * 32, b"b" * 32) for project in ("one", "two")]
        assert len(set(keys)) == 4
        assert {len(each) for each in keys} == {32}
        assert await key(b"a" * 32, "one") == keys[0]

    run(test)
