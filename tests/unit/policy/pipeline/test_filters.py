"""Transforms and filters in the pipeline: what the engine sees, what is let through, and what is billed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain.errors import AntiphonError, EngineFailed, InvalidRequest, PermissionDenied
from antiphon.domain.route_trace import RouteTrace
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.engines.single import SingleRoute
from antiphon.policy.cache.answerer import Cache
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.pipeline.engine import PipelineEngine
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.policy.pipeline.stages import AdmissionCheck, Stage, StreamFilter
from antiphon.ports import Capabilities, Route
from antiphon.protocol.generation import (
    Batch,
    CallArguments,
    CallStart,
    Delta,
    Finish,
    Generation,
    Message,
    Passthrough,
    PassthroughDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TextPart,
    Usage,
)
from support.caching import MemoryCache, ScriptedRoute, SetClock, a_call, asking
from support.calls import call_of
from support.rewriting import STAND_IN, WORD, Guarding, Rewriting

END = Finish("stop", Usage(5, 0, 9), tier="flex")
ABLE = Capabilities(context_tokens=1_000, continues=True, passthrough=frozenset({"chat", "responses"}))


class Noting(AdmissionCheck):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.usage: Usage | None = None

    def finish(self, context: GenerationContext) -> None:
        self.told.append("finish")
        self.usage = context.usage

    def leave(self, context: GenerationContext) -> None:
        self.told.append("leave")


class World:
    """A pipeline with these stages over a script."""

    def __init__(self, script: Sequence[Step], *stages: Stage) -> None:
        self.engine = ScriptedEngine(lambda _: script, capabilities=ABLE)
        self.check = Noting()
        self.call = call_of("proj_1")
        self.bound = Pipeline([self.check, *stages]).bound(self.call, SingleRoute("m", self.engine, 1))

    async def deltas(self, generation: Generation | None = None) -> list[Delta]:
        return await everything(self.bound, generation or asking(f"Go to {WORD}!"))

    @property
    def context(self) -> GenerationContext:
        return self.call.generations[-1]


async def everything(engine: PipelineEngine, generation: Generation) -> list[Delta]:
    stream = await engine.generate(generation)
    try:
        return [delta async for delta in stream]
    finally:
        await stream.aclose()


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def test_the_engine_sees_what_a_transform_asks_and_nothing_in_other_words() -> None:
    world = World([TextDelta("ok"), END], Rewriting())
    asked = asking(f"Go to {WORD}!", lambda each: Generation(
        each.model, each.turns, batches=True, track=True, passthrough=Passthrough("chat", {"messages": [WORD]})
    ))  # fmt: skip
    asyncio.run(world.deltas(asked))
    [seen] = world.engine.asked
    assert seen == Generation("gpt-4o", (Message("user", (TextPart(f"Go to {STAND_IN}!"),)),))
    assert world.context.generation is seen
    capabilities = world.bound.capabilities
    assert (capabilities.passthrough, capabilities.continues) == (frozenset(), False)


def test_without_stages_that_read_everything_is_passed_through() -> None:
    class Counting(StreamFilter):
        needs_neutral = False

        def wrap(self, context: GenerationContext, stream: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
            return stream

    for stages in ([], [Counting()]):
        world = World([PassthroughDelta(b"{}"), END], *stages)
        asked = asking(change=lambda each: Generation(
            each.model, each.turns, batches=True, track=True, passthrough=Passthrough("chat", {})
        ))  # fmt: skip
        asyncio.run(world.deltas(asked))
        assert world.engine.asked == [asked]
        assert world.bound.capabilities == ABLE


def test_what_can_only_be_passed_through_is_refused() -> None:
    world = World([END], Rewriting())
    only = asking(
        change=lambda each: Generation(each.model, each.turns, passthrough=Passthrough("chat", {}, only=True))
    )
    with pytest.raises(InvalidRequest):
        asyncio.run(world.deltas(only))
    with pytest.raises(EngineFailed):
        asyncio.run(world.deltas(asking(change=lambda each: Generation(each.model, each.turns, progress=(b"1",)))))
    assert not world.engine.asked


def test_trials_and_counts_are_of_what_the_engine_would_see() -> None:
    class Refusing(SingleRoute):
        async def check(self, generation: Generation) -> None:
            assert STAND_IN in str(generation)
            raise PermissionDenied("seen")

        async def count_tokens(self, generation: Generation) -> int:
            return str(generation).count(STAND_IN)

    async def main() -> None:
        bound = Pipeline([Rewriting()]).bound(call_of("proj_1"), Refusing("m", ScriptedEngine(), 1))
        with pytest.raises(PermissionDenied):
            await bound.check(asking(WORD))
        assert await bound.count_tokens(asking(f"{WORD} {WORD}")) == 2

    asyncio.run(main())


_KINDS = (TextDelta, RefusalDelta, ReasoningDelta, CallArguments)
_PIECES = st.sampled_from(["PLACE", "_7", "PLACE_7", "P", "PLACE_", " or ", '{"to": "', '"}', "7", "é\U0001f600"])


@given(
    st.lists(st.tuples(st.sampled_from(_KINDS), st.lists(_PIECES, max_size=8)), max_size=5),
    st.lists(st.integers(1, 6), min_size=1),
)
def test_any_chunking_gives_the_same_text(runs: list[tuple[type[TextDelta], list[str]]], sizes: list[int]) -> None:
    deltas: list[Delta] = []
    expected = ""
    for kind, pieces in runs:
        # Neighbours of one kind are one text, so a call begins each.
        deltas.append(CallStart("go", "call_1"))
        text, at = "".join(pieces), 0
        expected += f"|{kind.__name__}:{text.replace(STAND_IN, WORD)}" if text else ""
        while at < len(text):
            size = sizes[at % len(sizes)]
            deltas.append(kind(text[at : at + size]))
            at += size
    made = asyncio.run(World([*deltas, END], Rewriting()).deltas())
    said, last = "", None
    for delta in made:
        if isinstance(delta, _KINDS):
            said += f"|{type(delta).__name__}:" * (last is not type(delta)) + delta.text
            last = type(delta)
        else:
            last = None
    assert said == expected
    assert made[-1] == END


def test_the_first_filter_is_the_outermost() -> None:
    class Marking(StreamFilter):
        def __init__(self, mark: str) -> None:
            self.mark = mark

        async def wrap(
            self, context: GenerationContext, stream: AsyncGenerator[Delta, None]
        ) -> AsyncGenerator[Delta, None]:
            async for delta in stream:
                yield TextDelta(delta.text + self.mark) if isinstance(delta, TextDelta) else delta

    made = asyncio.run(World([TextDelta("x"), END], Marking("1"), Marking("2")).deltas())
    assert made == [TextDelta("x21"), END]


def test_a_filter_applies_where_it_says() -> None:
    class Elsewhere(Guarding):
        def applies(self, call: Call, route: Route) -> bool:
            return route.name != "m"

    world = World([TextDelta("STOP"), END], Elsewhere())
    assert asyncio.run(world.deltas()) == [TextDelta("STOP"), END]
    assert world.bound.capabilities == ABLE


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("STOP", [TextDelta("Fine. "), Finish("content_filter")]),
        ("BAD", [TextDelta("Fine. "), TextDelta("Removed."), Finish("stop")]),
    ],
)
def test_what_the_engine_made_is_billed_whatever_is_let_through(word: str, shown: list[Delta]) -> None:
    waiting = asyncio.Event()
    world = World([TextDelta("Fine. "), TextDelta("held "), TextDelta(word), waiting, END], Guarding())
    made = asyncio.run(world.deltas())
    *texts, end = made
    assert isinstance(end, Finish)
    assert [*texts, Finish(end.reason)] == shown
    context = world.context
    assert context.usage is not None
    assert context.usage.estimated
    assert context.usage.output_tokens >= 3, "what was held back and dropped has been made, too"
    assert (end.usage, world.check.usage) == (context.usage, context.usage)
    assert world.check.told == ["finish", "leave"]
    assert (context.finished, context.error, world.engine.closed) == (True, None, 1)


def test_a_whole_answer_that_is_replaced_shows_and_bills_what_its_engine_reports() -> None:
    class Whole(SingleRoute):
        async def generate(self, generation: Generation, trace: RouteTrace) -> AsyncGenerator[Delta, None]:
            async def deltas() -> AsyncGenerator[Delta, None]:
                yield TextDelta("BAD")
                yield END

            return deltas()

    async def main() -> tuple[list[Delta], Call]:
        call = call_of("proj_1")
        bound = Pipeline([Guarding()]).bound(call, Whole("m", ScriptedEngine(), 1))
        whole = asking(change=lambda each: Generation(each.model, each.turns, streamed=False))
        return await everything(bound, whole), call

    made, call = asyncio.run(main())
    assert made == [TextDelta("Removed."), Finish("stop", END.usage, tier="flex")]
    assert call.generations[0].usage == END.usage


@pytest.mark.parametrize(
    ("word", "error", "code"), [("DENY", PermissionDenied, "denied_by_rule"), ("BUG", ValueError, "server_error")]
)
def test_an_error_of_a_filter_ends_the_answer(word: str, error: type[Exception], code: str) -> None:
    world = World([TextDelta("held "), TextDelta(word), asyncio.Event(), END], Guarding())
    with pytest.raises(error):
        asyncio.run(world.deltas())
    context = world.context
    assert (context.error, context.finished, world.check.told) == (code, False, ["leave"])
    assert context.usage is not None
    assert world.engine.closed == 1


def test_an_error_at_the_end_is_the_calls() -> None:
    class Late(StreamFilter):
        async def wrap(
            self, context: GenerationContext, stream: AsyncGenerator[Delta, None]
        ) -> AsyncGenerator[Delta, None]:
            async for delta in stream:
                if isinstance(delta, Finish):
                    raise PermissionDenied("no", code="too_late")
                yield delta

    world = World([TextDelta("x"), END], Late())
    with pytest.raises(PermissionDenied):
        asyncio.run(world.deltas())
    assert (world.context.usage, world.call.error) == (END.usage, "too_late")


def test_a_filter_that_cannot_begin_leaves_nothing_behind() -> None:
    class Unable(StreamFilter):
        def wrap(self, context: GenerationContext, stream: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
            raise PermissionDenied("no")

    async def main() -> World:
        world = World([TextDelta("x"), END], Guarding(), Unable())
        with pytest.raises(PermissionDenied):
            await world.bound.generate(asking())
        return world

    world = asyncio.run(main())
    assert world.check.told == ["leave"]
    assert world.context.error


def test_the_engines_error_is_its_own_and_what_is_held_is_not_sent() -> None:
    world = World([TextDelta("a"), TextDelta("b"), EngineFailed("broken", code="gone")], Guarding())

    async def main() -> list[Delta]:
        stream = await world.bound.generate(asking())
        made = [await anext(stream)]
        with pytest.raises(AntiphonError):
            await anext(stream)
        await stream.aclose()
        return made

    assert asyncio.run(main()) == [TextDelta("a")]
    assert world.context.error == "gone"


@pytest.mark.parametrize("taken", [0, 1])
def test_hanging_up_ends_the_engine(taken: int) -> None:
    async def main() -> World:
        world = World([TextDelta("a"), TextDelta("b"), asyncio.Event(), END], Guarding(), Rewriting())
        stream = await world.bound.generate(asking())
        for _ in range(taken):
            await anext(stream)
        await stream.aclose()
        await stream.aclose()
        return world

    world = asyncio.run(main())
    assert (world.context.error, world.check.told) == ("cancelled", ["leave"])
    assert world.engine.closed == taken


def test_a_filter_that_drops_the_end_leaves_an_answer_without_one() -> None:
    class Dropping(StreamFilter):
        async def wrap(
            self, context: GenerationContext, stream: AsyncGenerator[Delta, None]
        ) -> AsyncGenerator[Delta, None]:
            async for delta in stream:
                if not isinstance(delta, Finish):
                    yield delta

    world = World([TextDelta("a"), END], Dropping())
    assert asyncio.run(world.deltas()) == [TextDelta("a")]
    assert (world.context.error, world.check.told) == ("server_error", ["finish", "leave"])


def test_nothing_follows_the_end() -> None:
    class Chatty(StreamFilter):
        async def wrap(
            self, context: GenerationContext, stream: AsyncGenerator[Delta, None]
        ) -> AsyncGenerator[Delta, None]:
            async for delta in stream:
                yield delta
            yield TextDelta("PS")

    world = World([TextDelta("a"), END], Chatty())
    assert asyncio.run(world.deltas()) == [TextDelta("a"), END]


def test_kept_and_shared_answers_lie_before_the_filters_and_after_the_transforms() -> None:
    async def main() -> None:
        engine = ScriptedEngine(lambda _: [TextDelta("To PLA"), TextDelta("CE_7."), END])
        store = MemoryCache()
        cache = Cache(store, SetClock(), b"s" * 32)
        route = ScriptedRoute(engine)
        pipeline = Pipeline([Rewriting()], answerer=cache)

        def bound() -> PipelineEngine:
            return pipeline.bound(a_call(), route)

        batches = asking(WORD, lambda each: Generation(each.model, each.turns, batches=True))
        first, joined = await asyncio.gather(everything(bound(), batches), everything(bound(), batches))
        assert text_of(first) == text_of(joined) == f"To {WORD}."
        kept = await everything(bound(), batches)
        assert (text_of(kept), kept[-1]) == (f"To {WORD}.", END)
        assert not any(isinstance(delta, Batch) for delta in kept)
        # Who says the stand-in himself asks the same.
        assert text_of(await everything(bound(), asking(STAND_IN))) == f"To {WORD}."
        assert len(engine.asked) == 1
        [answer] = store.answers.values()
        assert WORD.encode() not in answer.body
        assert b"To PLA" in answer.body

    asyncio.run(main())


def test_checks_that_answer_at_once_are_not_waited_for() -> None:
    """A generation that meets nothing to wait for runs to its stream in one step of its coroutine."""
    world = World([END])
    generating = world.bound.generate(asking())
    with pytest.raises(StopIteration):
        generating.send(None)
