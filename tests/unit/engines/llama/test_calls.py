"""The scanner of calls: what it finds, that pieces do not matter, and that it agrees with the grammar."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain.errors import OutputInvalid
from antiphon.engines.llama.calls import CallScanner
from antiphon.protocol.generation import CallArguments, CallStart, Delta, TextDelta

TOOLS: dict[str, Any] = {"get_weather": "function", "add": "function", "add_more": "function", "sql": "custom"}


def scan(pieces: list[str], *, wrapped: bool = False) -> list[Any]:
    """What the scanner makes of text in these pieces: texts, and [name, arguments] for calls."""
    ids = map(str, itertools.count())
    scanner = CallScanner(TOOLS, wrapped=wrapped, make_id=lambda: next(ids))
    deltas: list[Delta] = [delta for piece in pieces for delta in scanner.feed(piece)]
    return merged([*deltas, *scanner.finish()])


def merged(deltas: list[Delta]) -> list[Any]:
    out: list[Any] = []
    for delta in deltas:
        match delta:
            case TextDelta(text=text) if out and isinstance(out[-1], str):
                out[-1] += text
            case TextDelta(text=text):
                out.append(text)
            case CallStart(name=name):
                out.append([name, ""])
            case CallArguments(text=text):
                out[-1][1] += text
    return out


CALL = '{"name": "add", "arguments": {"a": 1}}'
FOUND = ["add", '{"a": 1}']


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Hello, world.\n\nBye \n", ["Hello, world.\n\nBye \n"]),
        (CALL, [FOUND]),
        (f"```json\n{CALL}\n```", [FOUND]),
        (f"```\n{CALL}\n```\n", [FOUND]),
        (f"<tool_call>\n{CALL}\n</tool_call>", [FOUND]),
        (f"<tool_call>{CALL}</tool_call>", [FOUND]),
        (f"Let me see:\n\n```json\n{CALL}\n```", ["Let me see:", FOUND]),
        (f"{CALL}\n{CALL}", [FOUND, FOUND]),
        (f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{CALL}\n</tool_call>", [FOUND, FOUND]),
        ('{\n  "name" :\n "add",\n"arguments":{"a": 1}\n}', [FOUND]),
        ('{"name": "add_more", "arguments": {}}', [["add_more", "{}"]]),
        (
            '{"name": "add", "arguments": {"s": "}\\"{", "t": {"u": [{}]}}}',
            [["add", '{"s": "}\\"{", "t": {"u": [{}]}}']],
        ),
        ('{"name": "sql", "arguments": {"input": "a\\n\\"b\\" \\u00e4\\ud83d\\ude00"}}', [["sql", 'a\n"b" ä😀']]),
        (f"It is {CALL}", [f"It is {CALL}"]),
        ('{"name": "ad', ['{"name": "ad']),
        ('{"name": "other", "arguments": {}}', ['{"name": "other", "arguments": {}}']),
        ("```json\n[1]\n```", ["```json\n[1]\n```"]),
        ("```python\nx\n```", ["```python\nx\n```"]),
        ("   ", ["   "]),
        ('{"name": "add", "arguments": {"a": ', [["add", '{"a": ']]),
    ],
)
def test_what_is_a_call(text: str, expected: list[Any]) -> None:
    assert scan([text]) == expected
    assert scan(list(text)) == expected


def test_beside_json_a_call_must_be_wrapped() -> None:
    assert scan([CALL], wrapped=True) == [CALL]
    assert scan([f"<tool_call>\n{CALL}\n</tool_call>"], wrapped=True) == [FOUND]
    assert scan(["<tool"], wrapped=True) == ["<tool"]


@pytest.mark.parametrize("text", ['{"name": "add"}', '{"name": "add", "arguments": 3}', f'{CALL}\n{{"name": "x"}}'])
def test_a_broken_call_is_an_error_and_not_text(text: str) -> None:
    with pytest.raises(OutputInvalid):
        scan([text])


def test_nothing_is_held_back_that_cannot_become_a_call() -> None:
    scanner = CallScanner(TOOLS)
    assert merged(scanner.feed("Hello")) == ["Hello"]
    assert merged(scanner.feed(" there\n")) == [" there"]
    assert merged(scanner.feed("```")) == []
    assert merged(scanner.feed("py")) == ["\n```py"]


def test_arguments_come_as_they_are_made() -> None:
    scanner = CallScanner(TOOLS)
    scanner.feed('{"name": "add", "arguments": ')
    assert merged([CallStart("add", "x"), *scanner.feed('{"a"')]) == [["add", '{"a"']]
    assert scanner.in_call
    scanner.feed(": 1}")
    assert not scanner.in_call


pieces = st.sampled_from(
    [
        *("{", "}", '"', "\n", " ", "```", "json", "<tool_call>", "</tool_call>", '"name"', ":", ",", '"add"', '"sql"'),
        *('"arguments"', '{"input": "', '\\"', "\\", "\\ud83d", "\\ude00", "\\u00e4", "Hello", "ä", "😀", CALL, "add"),
        *('{"name": "add", "arguments": ', '{"name": "sql", "arguments": {"input": "', "<tool", '{"na', "\t"),
    ]
)


@given(st.lists(pieces, max_size=12).map("".join), st.data())
def test_pieces_do_not_matter(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    parts = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    for wrapped in (False, True):
        assert outcome(parts, wrapped=wrapped) == outcome([text], wrapped=wrapped)


def outcome(parts: list[str], *, wrapped: bool) -> Any:
    try:
        return scan(parts, wrapped=wrapped)
    except OutputInvalid:
        return "broken"
    except json.JSONDecodeError:  # a custom tool's string with a raw control character or a bad escape
        return "broken"


@given(st.lists(st.sampled_from(["a", " ", "\n", "`", "{", '"', "<", "ö", "\t"]), max_size=40).map("".join))
def test_text_without_a_call_comes_out_as_it_went_in(text: str) -> None:
    assert "".join(scan(list(text))) == text
