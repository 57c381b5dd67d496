"""An engine that cannot constrain, held to what it is asked: the engine's contract, and every way to a right answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from antiphon.domain.errors import EngineFailed, InvalidRequest, OutputInvalid
from antiphon.engines.constrained.engine import ConstrainedEngine
from antiphon.engines.scripted import ScriptedEngine
from antiphon.ports import Capabilities
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    Generation,
    Grammar,
    Message,
    OutputFormat,
    Progress,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    Tool,
    ToolChoice,
    Usage,
)
from contract.engine_contract import EngineContract, Run, asking, calls_of, collect, finish_of, text_of

LOOSE = Capabilities(context_tokens=1_000_000, constrains=False, continues=True)
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
JSON = OutputFormat("json_schema", "x", SCHEMA)
ADD = Tool("add", "Adds.", SCHEMA)
NOTE = Tool("note", "Notes.", kind="custom")
TOOLS = (ADD, NOTE)
USAGE = Usage(input_tokens=10, output_tokens=2)
Answer = str | list[Delta]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield runner.run


class Stopping(ScriptedEngine):
    """As a real engine, not ready while it is stopped."""

    async def ready(self) -> bool:
        return self.started


@pytest.fixture(scope="module")
def engine(run: Run) -> Iterator[ConstrainedEngine]:
    def script(generation: Generation) -> list[Delta]:
        words = sum(len(turn.text.split()) for turn in generation.turns if isinstance(turn, Message))
        return [TextDelta("hello "), TextDelta("there"), Finish("stop", Usage(input_tokens=words, output_tokens=2))]

    engine = ConstrainedEngine(Stopping(script, capabilities=LOOSE))
    run(engine.start())
    yield engine
    run(engine.stop())


class TestConstrained(EngineContract):
    pass


# --- ways to a right answer -------------------------------------------------------------------------------------------
def call(name: str, *pieces: str, kind: Any = "function") -> list[Delta]:
    return [CallStart(name, f"call_{name}", kind), *map(CallArguments, pieces)]


def steps(answer: Answer) -> list[Delta]:
    if isinstance(answer, str):
        return [*(TextDelta(piece) for piece in (answer[:3], answer[3:]) if piece), Finish("stop", USAGE)]
    return answer if any(isinstance(delta, Finish) for delta in answer) else [*answer, Finish("tool_calls", USAGE)]


def ask(*answers: Answer, **more: Any) -> tuple[list[Delta], list[Generation]]:
    """What comes of an engine that gives these answers, one each time it is asked; and what it was asked."""
    left = list(answers)
    inner = ScriptedEngine(lambda _: steps(left.pop(0)), capabilities=LOOSE)
    engine = ConstrainedEngine(inner)

    async def main() -> list[Delta]:
        try:
            return await collect(engine, asking("Hi", **more))
        finally:
            await engine.stop()

    deltas = asyncio.run(main())
    assert not left, "it was not asked as often as expected"
    return deltas, inner.asked


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('```json\n{"a": 1,}\n```', '{"a": 1}'),
        ('Sure: {"a": 1', '{"a": 1}'),
        ("{'a': 1}", '{"a": 1}'),
    ],
)
def test_json_is_passed_on_or_repaired_without_asking_again(said: str, shown: str) -> None:
    deltas, asked = ask(said, output=JSON)
    assert (text_of(deltas), finish_of(deltas).reason) == (shown, "stop")
    assert len(asked) == 1


@pytest.mark.parametrize("fixed", ['{"a": 2}', '```\n{"a": 2}\n```'])
def test_what_cannot_be_repaired_is_asked_for_once_more(fixed: str) -> None:
    deltas, asked = ask('{"a": "two"}', fixed, output=JSON)
    assert text_of(deltas) == '{"a": 2}'
    assert finish_of(deltas).usage == Usage(input_tokens=20, output_tokens=4)
    again = asked[1]
    system, user = again.turns
    assert isinstance(system, Message)
    assert system.text.startswith("Fix this JSON.")
    assert json.dumps(SCHEMA) in system.text
    assert '"two" is not of type "integer"' in system.text
    assert isinstance(user, Message)
    assert user.text == '{"a": "two"}'
    assert again.sampling.temperature == 0


@pytest.mark.parametrize("output", [msgspec.structs.replace(JSON, strict=True), OutputFormat("json_object")])
def test_then_it_fails_clearly(output: OutputFormat) -> None:
    with pytest.raises(OutputInvalid, match="The answer does not fit its schema, also after asking again"):
        ask("I will not.", "Still not.", output=output)


def test_then_what_is_not_strict_is_handed_out_as_it_is_and_marked() -> None:
    deltas, asked = ask('{"a": "two"}', "Still not.", output=JSON)
    assert text_of(deltas) == '{"a": "two"}'
    assert finish_of(deltas).unmet
    assert finish_of(deltas).usage == Usage(input_tokens=20, output_tokens=4)
    assert len(asked) == 2
    assert not finish_of(ask('{"a": 2}', output=JSON)[0]).unmet


def test_any_object_must_be_an_object() -> None:
    deltas, _ = ask("[1]", '{"b": []}', output=OutputFormat("json_object"))
    assert text_of(deltas) == '{"b": []}'


def test_what_is_cut_off_or_refused_is_told_as_what_it_is() -> None:
    cut: list[Delta] = [TextDelta('{"a'), Finish("length", USAGE)]
    assert ask(cut, output=JSON)[0] == cut
    refused: list[Delta] = [RefusalDelta("No."), Finish("stop", USAGE)]
    assert ask(refused, output=JSON)[0] == refused


def test_thoughts_and_free_text_are_not_held_back() -> None:
    wait = asyncio.Event()
    answer: list[Any] = [Progress(b"x"), ReasoningDelta("Hm"), TextDelta("Yes"), wait, *steps(call("add", '{"a": 1}'))]
    engine = ConstrainedEngine(ScriptedEngine(lambda _: answer, capabilities=LOOSE))

    async def main() -> list[Delta]:
        stream = await engine.generate(asking("Hi", tools=TOOLS))
        first = [await anext(stream), await anext(stream)]
        wait.set()
        try:
            return [*first, *[delta async for delta in stream]]
        finally:
            await engine.stop()

    deltas = asyncio.run(main())
    assert deltas[:2] == [ReasoningDelta("Hm"), TextDelta("Yes")]
    assert calls_of(deltas) == [("add", '{"a": 1}')]
    assert len(deltas) == 5


@pytest.mark.parametrize(
    ("answers", "shown"),
    [
        ([call("add", '{"a": ', "1}")], [("add", '{"a": 1}')]),
        ([call("add", "{a: 1")], [("add", '{"a": 1}')]),
        ([call("add", '{"a": "x"}'), '{"a": 3}'], [("add", '{"a": 3}')]),
        ([call("note", "free: text", kind="custom")], [("note", "free: text")]),
        ([[*call("add", '{"a": 1}'), *call("add", '{"a": 2}')]], [("add", '{"a": 1}'), ("add", '{"a": 2}')]),
    ],
)
def test_calls_get_arguments_that_fit(answers: list[Answer], shown: list[tuple[str, str]]) -> None:
    deltas, _ = ask(*answers, tools=TOOLS)
    assert calls_of(deltas) == shown
    assert finish_of(deltas).reason == "tool_calls"


def test_arguments_that_never_fit_fail_clearly() -> None:
    strict = tuple(msgspec.structs.replace(tool, strict=True) for tool in TOOLS)
    with pytest.raises(OutputInvalid, match="'add'"):
        ask(call("add", '{"a": "x"}'), "no", tools=strict)


def test_unless_they_need_not() -> None:
    deltas, _ = ask(call("add", '{"a": "x"}'), "no", tools=TOOLS)
    assert calls_of(deltas) == [("add", '{"a": "x"}')]
    assert (finish_of(deltas).reason, finish_of(deltas).unmet) == ("tool_calls", True)


def test_a_forced_call_need_not_fit_either() -> None:
    bad = '{"name": "add", "arguments": {"a": "x"}}'
    deltas, _ = ask("Well.", bad, tools=TOOLS, tool_choice=FORCED)
    assert calls_of(deltas) == [("add", '{"a": "x"}')]
    assert finish_of(deltas).unmet
    strict = tuple(msgspec.structs.replace(tool, strict=True) for tool in TOOLS)
    with pytest.raises(OutputInvalid, match="did not call a tool"):
        ask("Well.", bad, tools=strict, tool_choice=FORCED)


def test_a_tool_that_may_not_be_called_is_not() -> None:
    with pytest.raises(OutputInvalid, match="'note'"):
        ask(call("note", "x", kind="custom"), tools=TOOLS, tool_choice=ToolChoice("auto", frozenset({"add"})))


def test_one_call_where_one_was_asked_for() -> None:
    two = [*call("add", '{"a": 1}'), *call("add", '{"a": 2}')]
    deltas, _ = ask(two, tools=TOOLS, tool_choice=ToolChoice(parallel=False))
    assert calls_of(deltas) == [("add", '{"a": 1}')]


FORCED = ToolChoice("required")


@pytest.mark.parametrize(
    ("answers", "shown"),
    [
        ([[TextDelta("Well: "), *call("add", '{"a": 1}')]], ("add", '{"a": 1}')),
        (['{"name": "add", "arguments": {"a": 1}}'], ("add", '{"a": 1}')),
        (['```json\n{"name": "add", "arguments": {"a": 1}}\n```'], ("add", '{"a": 1}')),
        (["I would add.", '{"name": "add", "arguments": {"a": 1}}'], ("add", '{"a": 1}')),
        (["I would note.", '{"name": "note", "arguments": {"input": "x"}}'], ("note", "x")),
    ],
)
def test_a_call_that_must_be_is(answers: list[Answer], shown: tuple[str, str]) -> None:
    deltas, asked = ask(*answers, tools=TOOLS, tool_choice=FORCED)
    assert calls_of(deltas) == [shown]
    assert text_of(deltas) == ""
    assert finish_of(deltas).reason == "tool_calls"
    assert finish_of(deltas).usage.input_tokens == 10 * len(asked)


def test_a_call_that_never_comes_fails_clearly() -> None:
    with pytest.raises(OutputInvalid, match="did not call a tool"):
        ask("No.", "No!", tools=TOOLS, tool_choice=FORCED)


def test_without_a_tool_to_call_none_is_shown() -> None:
    deltas, [asked] = ask("Yes", tools=TOOLS, tool_choice=ToolChoice("none"))
    assert text_of(deltas) == "Yes"
    assert asked.tools == ()


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"output": OutputFormat("json_schema", "x", {"type": "nonsense"})}, "output.schema", "invalid_json_schema"),
        (
            {"tools": (NOTE, Tool("f", "", {"$ref": "#/x"}))},
            "tools[1].parameters",
            "invalid_function_parameters",
        ),
        (
            {"tools": (Tool("g", kind="custom", grammar=Grammar("lark", "start: /a/")),)},
            "tools[0].grammar",
            "unsupported_value",
        ),
        ({"tool_choice": FORCED}, None, "no_callable_tool"),
    ],
)
def test_what_cannot_be_checked_is_refused_before_the_engine_is_asked(
    more: dict[str, Any], param: str | None, code: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ask(**more)
    assert (refused.value.param, refused.value.code) == (param, code)


def test_an_answer_that_nobody_reads_is_closed_behind_it() -> None:
    inner = ScriptedEngine(lambda _: steps('{"a": 1}'), capabilities=LOOSE)
    engine = ConstrainedEngine(inner)

    async def main() -> None:
        stream = await engine.generate(asking("Hi", output=JSON))
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await engine.stop()

    asyncio.run(main())


def test_faults_of_the_engine_are_its_own() -> None:
    broken: list[Any] = [TextDelta('{"a'), EngineFailed("gone")]
    with pytest.raises(EngineFailed, match="gone"):
        ask(broken, output=JSON)


def test_it_says_what_it_can_do() -> None:
    capabilities = ConstrainedEngine(ScriptedEngine(capabilities=LOOSE)).capabilities
    assert capabilities.constrains
    assert not capabilities.continues
