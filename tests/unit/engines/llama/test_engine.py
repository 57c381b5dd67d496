"""How the engine tries again: schemas that cannot be enforced, repeated calls, a child that ends meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed, EngineUnavailable
from antiphon.engines.llama.child_connection import ChildConnection
from antiphon.engines.llama.client import Chunk, NotBegun
from antiphon.engines.llama.config import LlamaConfig
from antiphon.engines.llama.engine import LlamaEngine
from antiphon.engines.llama.heartbeat import Heartbeat
from antiphon.engines.llama.thinking import Thinking
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    Generation,
    Message,
    OutputFormat,
    Sampling,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)


async def healthy(_: float) -> bool:
    return True


class Child:
    """Stands for the child: it gives these answers, one after the other. An exception is raised instead."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.shown_tools: list[int] = []
        self.vocabulary_size = 100
        self.client = self.reader = self.prefill = self
        self.gone = False
        self.heartbeat = Heartbeat(healthy, lambda: False, lambda: 0)
        self.admission_fails = 0

    async def prompt(self, generation: Generation) -> tuple[list[int], Thinking]:
        if self.admission_fails:
            self.admission_fails -= 1
            raise EngineFailed("no answer")
        self.shown_tools.append(len(generation.callable_tools()))
        return [1, 2, 3], "none"

    async def complete(self, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        self.bodies.append(body)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        for piece in answer.split("|"):
            yield Chunk(content=piece, tokens_predicted=1)
        yield Chunk(stop=True, stop_type="eos", tokens_predicted=2)

    # the supervisor's part
    async def connection(self) -> ChildConnection:
        return cast("ChildConnection", self)

    async def replaced(self, connection: object) -> bool:
        assert connection is self
        return self.gone


def engine(child: Child, tmp_path: Path) -> LlamaEngine:
    model = tmp_path / "m.gguf"
    model.touch()
    made = LlamaEngine(LlamaConfig(model=model, name="m", slots=1, context=100))
    made._child.supervisor = cast("Any", child)
    return made


def ask(child: Child, tmp_path: Path, *turns: Turn, **more: Any) -> list[Delta]:
    async def main() -> list[Delta]:
        made = engine(child, tmp_path)
        stream = await made.generate(Generation("m", turns or (ASKED,), **more))
        try:
            return [delta async for delta in stream]
        finally:
            assert made._queue.inside == 0
            await made._compiler.close()

    return asyncio.run(main())


ASKED = Message("user", (TextPart("Hi"),))
CALLED = ToolCall("c1", "add", '{"a": 1}')
RESULT = ToolResult("c1", "2")
ADD = Tool("add", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
CALL, OTHER = '{"name": "add", "arguments": {"a": 1}}', '{"name": "add", "arguments": {"a": 2}}'
UNIQUE = OutputFormat("json_schema", "u", {"type": "array", "uniqueItems": True})


def test_a_schema_that_cannot_be_enforced_shows_nothing_until_it_fits(tmp_path: Path) -> None:
    child = Child("[1, |1]", "[1, |2]")
    deltas = ask(child, tmp_path, output=UNIQUE, sampling=Sampling(seed=7))
    assert deltas[:-1] == [TextDelta("[1, "), TextDelta("2]")]
    assert [body["seed"] for body in child.bodies] == [7, 8]


def test_after_the_last_attempt_it_is_handed_out_and_marked(tmp_path: Path) -> None:
    child = Child(*["[1, 1]"] * 9)
    deltas = ask(child, tmp_path, output=UNIQUE)
    assert deltas[:-1] == [TextDelta("[1, 1]")]
    assert isinstance(deltas[-1], Finish)
    assert deltas[-1].unmet
    assert len(child.bodies) == 1 + limits.MAX_SCHEMA_RETRIES


FIRST, LATER = "{", '{"a": |' + "|".join(["1"] * 2 * limits.WATCHED_FIRST)


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("Sure, here it is", ""),
        (f"{FIRST}| no", FIRST),
        (f"{FIRST}", FIRST),
        (LATER, LATER.replace("|", "")),
        (f"{LATER}| or| so|", LATER.replace("|", "")),
    ],
    ids=["from its beginning", "soon", "it ends too early", "it ends too early, later", "later"],
)
def test_an_answer_that_breaks_its_grammar_ends_at_once(tmp_path: Path, answer: str, shown: str) -> None:
    """The fake child keeps to no grammar, as llama.cpp does when it has lost it."""

    async def main() -> str:
        made = engine(child, tmp_path)
        stream = await made.generate(Generation("m", (ASKED,), output=SMALL))
        text = ""

        async def read() -> None:
            nonlocal text
            async for delta in stream:
                text += delta.text if isinstance(delta, TextDelta) else ""

        with pytest.raises(EngineFailed) as lost:
            await read()
        assert lost.value.code == "grammar_lost"
        assert made.grammars_lost == 1
        assert made._queue.inside == 0
        await made._compiler.close()
        return text

    child = Child(answer)
    assert asyncio.run(main()).startswith(shown)
    assert len(child.bodies) == 1


SMALL = OutputFormat(
    "json_schema", "s", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, strict=True
)


def test_an_answer_is_watched_on_when_the_process_that_watches_has_ended(tmp_path: Path) -> None:
    async def main() -> list[Delta]:
        made = engine(Child('{"a"|: |5|}'), tmp_path)
        stream = await made.generate(Generation("m", (ASKED,), output=SMALL))
        deltas = [await anext(stream)]
        await made._compiler.close()
        deltas += [delta async for delta in stream]
        await made._compiler.close()
        assert made.grammars_lost == 0
        return deltas

    deltas = asyncio.run(main())
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == '{"a": 5}'


def test_what_is_cut_off_breaks_no_grammar(tmp_path: Path) -> None:
    class BrokenOff(Child):
        async def complete(self, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
            yield Chunk(content='{"a', tokens_predicted=1)
            yield Chunk(content="\ufffd", stop=True, stop_type="limit", tokens_predicted=2)

    deltas = ask(BrokenOff(), tmp_path, output=SMALL)
    assert isinstance(deltas[-1], Finish)
    assert deltas[-1].reason == "length"


def test_a_repeated_call_is_answered_in_words_instead(tmp_path: Path) -> None:
    child = Child(CALL, "It is 2.")
    deltas = ask(child, tmp_path, ASKED, CALLED, RESULT, tools=(ADD,))
    assert deltas[0] == TextDelta("It is 2.")
    assert isinstance(deltas[-1], Finish)
    assert deltas[-1].reason == "stop"
    assert child.shown_tools == [1, 0]
    assert "grammar" in child.bodies[1]


def test_a_new_call_after_a_result_goes_through_whole(tmp_path: Path) -> None:
    deltas = ask(Child(f"Next:\n|{OTHER}"), tmp_path, ASKED, CALLED, RESULT, tools=(ADD,))
    assert [type(delta) for delta in deltas] == [TextDelta, CallStart, CallArguments, Finish]


def test_only_the_repetition_is_dropped(tmp_path: Path) -> None:
    deltas = ask(Child(f"{OTHER}\n{CALL}"), tmp_path, ASKED, CALLED, RESULT, tools=(ADD,))
    assert "".join(delta.text for delta in deltas if isinstance(delta, CallArguments)) == '{"a": 2}'
    assert sum(isinstance(delta, CallStart) for delta in deltas) == 1


def test_text_that_was_shown_before_a_repetition_stands_alone(tmp_path: Path) -> None:
    deltas = ask(Child(f"I look again.\n|{CALL}"), tmp_path, ASKED, CALLED, RESULT, tools=(ADD,))
    assert deltas[0] == TextDelta("I look again.")
    assert [type(delta) for delta in deltas] == [TextDelta, Finish]
    assert isinstance(deltas[-1], Finish)
    assert deltas[-1].reason == "stop"


@pytest.mark.parametrize("gone", [True, False])
def test_a_child_that_ended_in_the_queue_is_followed_by_the_next(tmp_path: Path, *, gone: bool) -> None:
    child = Child(NotBegun("no answer"), "Hello")
    child.gone = gone
    if gone:
        assert ask(child, tmp_path)[0] == TextDelta("Hello")
    else:
        with pytest.raises(EngineFailed):
            ask(child, tmp_path)


def test_a_child_that_ends_in_the_answer_fails_it(tmp_path: Path) -> None:
    child = Child(EngineFailed("ended"), "Hello")
    child.gone = True
    with pytest.raises(EngineFailed):
        ask(child, tmp_path)


def test_admission_is_tried_with_the_next_child_and_then_refused(tmp_path: Path) -> None:
    child = Child("Hello")
    child.gone, child.admission_fails = True, 1
    assert ask(child, tmp_path)[0] == TextDelta("Hello")
    child = Child("Hello")
    child.gone, child.admission_fails = True, 2
    with pytest.raises(EngineUnavailable):
        ask(child, tmp_path)
