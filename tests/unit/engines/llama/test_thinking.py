"""Thoughts and answers, however the text is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.llama import grammar
from antiphon.engines.llama.thinking import Thinking, ThoughtSplitter, thinking_after
from grammars import accepts, json_rule


def split(thinking: Thinking, *pieces: str) -> tuple[str, str, str]:
    """All that was no answer, the thought, the answer."""
    splitter = ThoughtSplitter(thinking)
    consumed = thought = answer = ""
    for piece in pieces:
        first, second, third = splitter.feed(piece)
        assert not answer or not (first or second), "thoughts after the answer"
        consumed, thought, answer = consumed + first, thought + second, answer + third
    first, second, third = splitter.finish()
    return consumed + first, thought + second, answer + third


CASES: list[tuple[Thinking, str, str, str]] = [
    ("none", "<think>a</think>b", "", "<think>a</think>b"),
    ("may", "b", "", "b"),
    ("may", "", "", ""),
    ("may", " \n", "", " \n"),
    ("may", "<thin", "", "<thin"),
    ("may", "<thing>b", "", "<thing>b"),
    ("may", "\n<think>\na  b\n</think>\n\nc d", "a  b", "c d"),
    ("may", "<think>\n\n</think>\n\nc", "", "c"),
    ("may", "<think>a </thin b</think>c</think>", "a </thin b", "c</think>"),
    ("begun", "a\n</think>\nb", "a", "b"),
    ("begun", "</think>b", "", "b"),
    ("begun", "a b ", "a b", ""),
    ("begun", "a</thi", "a</thi", ""),
    ("begun", "a</think> \n", "a", ""),
]


@pytest.mark.parametrize(("thinking", "text", "thought", "answer"), CASES)
def test_however_it_is_cut(thinking: Thinking, text: str, thought: str, answer: str) -> None:
    for pieces in ([text], list(text), [text[:3], text[3:]], [text[:-2], text[-2:]]):
        consumed, said, rest = split(thinking, *pieces)
        assert (said, rest) == (thought, answer)
        assert consumed + rest == text, "something is lost"


@given(st.data())
def test_nothing_is_lost_and_the_cut_does_not_matter(data: st.DataObject) -> None:
    text = "".join(
        data.draw(st.lists(st.sampled_from(["<think>", "</think>", "<", "think>", " ", "\n", "a"]), max_size=9))
    )
    thinking: Thinking = data.draw(st.sampled_from(["none", "may", "begun"]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole, cut = split(thinking, text), split(thinking, *pieces)
    assert cut[0] + cut[2] == text
    assert (cut[0], cut[1].rstrip(), cut[2]) == (whole[0], whole[1].rstrip(), whole[2])


def test_how_an_answer_begins_is_seen_from_its_prompt() -> None:
    assert thinking_after("<|im_start|>assistant\n", thinks=True) == "may"
    assert thinking_after("<|im_start|>assistant\n<think>\n", thinks=True) == "begun"
    assert thinking_after("<|im_start|>assistant\n<think>\n\n</think>\n\n", thinks=True) == "none"
    assert thinking_after("<think>\n", thinks=False) == "none"


RULE = json_rule({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
THOUGHT = 'First\n{"name": "f", "arguments": {"a": 0}}\n'


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        (grammar.only_json(RULE), '{"a": 1}', "no"),
        (grammar.only_calls({"f": RULE}, parallel=True), '{"name": "f", "arguments": {"a": 1}}', "no"),
        (grammar.text_or_calls({"f": RULE}, parallel=True), "Yes", '{"name": "f", "arguments": 1}'),
        (grammar.only_words(), "Yes", '{"a": 1}'),
    ],
)
def test_a_grammar_begins_after_the_thoughts(text: str, good: str, bad: str) -> None:
    begun, may = grammar.after_thoughts(text, "begun"), grammar.after_thoughts(text, "may")
    assert accepts(begun, f"{THOUGHT}</think>\n\n{good}")
    assert accepts(may, f"<think>{THOUGHT}</think>{good}")
    assert accepts(may, good)
    assert not accepts(begun, f"{THOUGHT}</think>\n\n{bad}")
    assert not accepts(may, f"<think>{THOUGHT}</think>\n{bad}")
    assert not accepts(may, f"<think>{good}")
