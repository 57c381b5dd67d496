"""From chunks to deltas: log probabilities, stops, reasons, and the last check."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from antiphon.domain.errors import OutputInvalid
from antiphon.engines.llama.answer import AnswerRules, CompletionParser
from antiphon.engines.llama.client import Alternative, Chunk, Probability, Timings
from antiphon.protocol.generation import CallArguments, CallStart, Delta, Finish, ReasoningDelta, TextDelta

END = Chunk(stop=True, stop_type="eos", tokens_predicted=9, timings=Timings(cache_n=3))


def token(text: str) -> Chunk:
    data = tuple(text.encode())
    other = Alternative("?", -2.0, (63,))
    return Chunk(content=text, tokens_predicted=1, completion_probabilities=(Probability(text, -0.5, data, (other,)),))


async def bad_arguments(text: str) -> str | None:
    return None if text == "{}" else "bad"


async def bad(_: str) -> str | None:
    return "bad"


def answer(rules: AnswerRules, *chunks: Chunk) -> list[Delta]:
    machine = CompletionParser(rules, input_tokens=5)
    deltas: list[Delta] = []
    for chunk in chunks:
        deltas += machine.feed(chunk)
        if machine.done:
            break
    deltas += machine.finish()
    for claim in machine.claims():
        problem = asyncio.run(claim.misfit(claim.text))  # type: ignore[arg-type]  # it is a coroutine here
        if problem is not None:
            raise OutputInvalid(f"{claim.what}: {problem}")
    return deltas


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def finish_of(deltas: list[Delta]) -> Finish:
    assert isinstance(deltas[-1], Finish)
    return deltas[-1]


PLAIN = AnswerRules(tools={})
ADD = AnswerRules(tools={"add": "function"}, argument_misfits={"add": bad_arguments})
CALL = '{"name": "add", "arguments": {}}'


def test_usage_and_reasons() -> None:
    end = finish_of(answer(PLAIN, token("a"), END))
    assert (end.reason, end.usage.input_tokens, end.usage.cached_tokens, end.usage.output_tokens) == ("stop", 5, 3, 9)
    assert finish_of(answer(PLAIN, token("a"), Chunk(stop=True, stop_type="limit"))).reason == "length"
    assert finish_of(answer(ADD, token(CALL), END)).reason == "tool_calls"


def test_log_probabilities_come_with_the_text_they_made() -> None:
    rules = AnswerRules(tools={"add": "function"}, argument_misfits=ADD.argument_misfits, top_logprobs=1)
    deltas = answer(rules, token("Hé"), token(" there\n"), token("```"), token("js"), token("\n"), token(CALL), END)
    shown = [delta for delta in deltas if isinstance(delta, TextDelta)]
    assert [(delta.text, [p.token for p in delta.logprobs]) for delta in shown] == [
        ("Hé", ["Hé"]),
        (" there", [" there\n"]),
        ("\n```js", ["```", "js"]),
    ]
    assert [other.token for other in shown[0].logprobs[0].top_logprobs] == ["?"]
    [only] = [d for d in answer(AnswerRules(tools={}, top_logprobs=0), token("a"), END) if isinstance(d, TextDelta)]
    assert len(only.logprobs) == 1
    assert only.logprobs[0].top_logprobs == ()
    assert answer(PLAIN, token("a"), END)[0] == TextDelta("a")


def test_stops_beside_tools_cut_text_and_not_calls() -> None:
    rules = AnswerRules(tools={"add": "function"}, argument_misfits=ADD.argument_misfits, stops=("name", "."))
    deltas = answer(rules, token("One"), token(". Two"), token(CALL), END)
    assert text_of(deltas) == "One"
    assert finish_of(deltas).reason == "stop"
    assert finish_of(answer(rules, token(CALL), END)).reason == "tool_calls"
    kept = AnswerRules(tools={"add": "function"}, argument_misfits=ADD.argument_misfits, stops=("END",))
    deltas = answer(kept, token("the E\n"), token(CALL), END)
    assert text_of(deltas) == "the E"
    assert isinstance(deltas[2], CallStart)


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        (ADD, '{"name": "add", "arguments": {"a": 1}}'),
        (ADD, '{"name": "add", "arguments": {'),
        (AnswerRules(tools={"add": "function"}, text_allowed=False), "prose"),
        (AnswerRules(tools={"add": "function"}, parallel=False), f"{CALL}\n{CALL}"),
        (AnswerRules(tools={}, text_misfit=bad), "{}"),
    ],
)
def test_an_answer_that_breaks_the_rules_is_never_passed_off_as_good(rules: AnswerRules, text: str) -> None:
    with pytest.raises(OutputInvalid):
        answer(rules, token(text), END)
    cut = Chunk(stop=True, stop_type="limit")
    assert finish_of(answer(rules, token(text), cut)).reason == "length"


def test_json_that_a_stop_sequence_cut_is_what_was_asked_for() -> None:
    rules = AnswerRules(tools={}, text_misfit=bad)
    assert finish_of(answer(rules, token('{"a'), Chunk(stop=True, stop_type="word"))).reason == "stop"


def test_thoughts_are_told_apart_and_counted() -> None:
    rules = AnswerRules(tools={}, thinking="may", top_logprobs=0)
    chunks = [token("<think>"), token("Hm"), token("."), token("</think>"), token("\n\n"), token("Yes")]
    numbered = [msgspec.structs.replace(chunk, tokens_predicted=n + 1) for n, chunk in enumerate(chunks)]
    deltas = answer(rules, *numbered, END)
    assert [delta.text for delta in deltas if isinstance(delta, ReasoningDelta)] == ["Hm", "."]
    [text] = [delta for delta in deltas if isinstance(delta, TextDelta)]
    assert (text.text, [p.token for p in text.logprobs]) == ("Yes", ["Yes"])
    assert finish_of(deltas).usage.reasoning_tokens == 5
    assert finish_of(deltas).usage.output_tokens == 9


def test_stops_do_not_look_into_thoughts() -> None:
    rules = AnswerRules(tools={}, thinking="begun", stops=("X",))
    deltas = answer(rules, token("aXb</think>"), token("cXd"), END)
    assert (text_of(deltas), finish_of(deltas).reason) == ("c", "stop")
    assert [delta.text for delta in deltas if isinstance(delta, ReasoningDelta)] == ["aXb"]


def test_a_raw_call_is_its_text_to_the_end() -> None:
    rules = AnswerRules(tools={"sql": "custom"}, raw={"sql"}, argument_misfits={"sql": bad_arguments})
    deltas = answer(rules, token('{"name": "sql", "argu'), token('ments": {'), token("}"), END)
    assert "".join(delta.text for delta in deltas if isinstance(delta, CallArguments)) == "{}"
    assert finish_of(deltas).reason == "tool_calls"
    with pytest.raises(OutputInvalid, match="grammar"):
        answer(rules, token('{"name": "sql", "arguments": SELECT'), END)
    with pytest.raises(OutputInvalid):
        answer(rules, token('{"name": "sql", "arguments":SELECT'), END)
