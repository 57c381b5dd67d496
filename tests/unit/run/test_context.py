"""What is shown to the model of a conversation that is too long, or that does not exist."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.scripted import ScriptedEngine
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Generation, Message, Sampling, TextPart, ToolCall, ToolResult, Turn
from antiphon.run.context import fit


def message(words: int, role: str = "user") -> Message:
    return Message(role, (TextPart(" ".join(["word"] * words)),))  # type: ignore[arg-type]  # a role in a test's hand


def build(turns: Sequence[Turn]) -> Generation:
    system = message(2, "system")
    return Generation("m", (system, *turns), sampling=Sampling(max_tokens=10))


def fitted(turns: list[Turn], context: int = 40) -> list[Turn]:
    engine = ScriptedEngine(capabilities=Capabilities(context_tokens=context))
    return list(asyncio.run(fit(engine, build, turns)).turns[1:])


def test_what_fits_is_left_alone() -> None:
    turns: list[Turn] = [message(5), message(5, "assistant"), message(5)]
    assert fitted(turns) == turns


def test_turns_are_dropped_from_the_start_up_to_a_users_message() -> None:
    turns: list[Turn] = [message(15), message(15, "assistant"), message(6), message(6, "assistant"), message(6)]
    assert fitted(turns) == turns[2:]


def test_a_tool_result_is_never_left_without_its_call() -> None:
    turns: list[Turn] = [message(30), ToolCall("c", "f", "{}"), ToolResult("c", "3"), message(5)]
    assert fitted(turns) == turns[3:]


def test_the_last_exchange_is_kept_even_if_it_is_too_long() -> None:
    turns: list[Turn] = [message(5), message(500)]
    assert fitted(turns) == turns[1:]


@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from(["user", "assistant"])), min_size=1, max_size=20))
def test_what_is_kept_is_an_end_of_the_conversation_and_the_longest_that_fits(script: list[tuple[int, str]]) -> None:
    turns: list[Turn] = [message(words, role) for words, role in script]
    kept = fitted(turns)
    assert kept == turns[len(turns) - len(kept) :]
    if len(kept) == len(turns):
        return
    assert isinstance(kept[0], Message)
    starts = [index for index, (_, role) in enumerate(script) if role == "user"]
    if not starts:
        return
    assert kept[0].role == "user"
    room = 30
    earlier = [index for index in starts if index < len(turns) - len(kept)]
    if earlier:
        longer = sum(words for words, _ in script[earlier[-1] :]) + 2
        assert longer > room


def calls(*names: str) -> list[Turn]:
    return [
        turn for name in names for turn in (ToolCall(name, "f", "{}"), message(8, "assistant"), ToolResult(name, "1"))
    ]


def test_orders_stay_wherever_they_stand() -> None:
    order, other = message(2, "developer"), message(3, "system")
    turns: list[Turn] = [order, message(30), other, message(10, "assistant"), message(5)]
    assert fitted(turns) == [order, other, message(5)]


def test_within_the_last_exchange_the_oldest_calls_are_dropped() -> None:
    turns: list[Turn] = [message(20), message(4), *calls("a", "b", "c", "d")]
    assert fitted(turns) == [message(4), *calls("b", "c", "d")]


def test_parallel_calls_are_dropped_together() -> None:
    pair: list[Turn] = [ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"), ToolResult("a", "1"), ToolResult("b", "1")]
    turns: list[Turn] = [message(4), *pair, message(20, "assistant"), *calls("c")]
    assert fitted(turns) == [message(4), *calls("c")]


class Counting(ScriptedEngine):
    """Keeps how much it was asked to count."""

    def __init__(self, context: int) -> None:
        super().__init__(capabilities=Capabilities(context_tokens=context))
        self.counted: list[int] = []

    async def count_tokens(self, generation: Generation) -> int:
        tokens = await super().count_tokens(generation)
        self.counted.append(tokens)
        return tokens


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60))
def test_a_very_long_conversation_is_cut_as_any_other_and_never_counted_whole(sizes: list[int]) -> None:
    # Words of 200 characters make even what fits look long, so that the end is looked at first.
    long = [Message("user", (TextPart(" ".join(["w" * 200] * size)),)) for size in sizes]
    short = [message(size) for size in sizes]
    engine = Counting(40)
    kept = asyncio.run(fit(engine, build, long)).turns[1:]
    assert len(kept) == len(fitted(list(short)))
    if sum(sizes) > 200:
        assert max(engine.counted) < sum(sizes)
