"""The grammars compile, hold what they promise, and agree with the scanner. No model is needed."""

from __future__ import annotations

import json

import pytest

from antiphon.engines.llama import grammar
from antiphon.engines.llama.calls import CallScanner
from antiphon.engines.schemas.child import check_json
from antiphon.protocol.generation import CallArguments, CallStart, TextDelta, Tool
from grammars import accepts, json_rule, wander

WEATHER = Tool(
    "get_weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 8}, "unit": {"enum": ["c", "f"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
)
ADD = Tool(
    "add",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": -5, "maximum": 7}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
)
SQL = Tool("sql", kind="custom")
NOW = Tool("now")
TOOLS = (WEATHER, ADD, SQL, NOW)
RULES = {tool.name: json_rule(grammar.arguments_schema(tool)) for tool in TOOLS}
ANSWER = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
CALL = '{"name": "add", "arguments": {"a": 1, "b": 22}}'
PARIS = '{"name": "get_weather", "arguments": {"city": "Paris", "unit": "c"}}'
WRONG = '{"name": "add", "arguments": {"a": 99, "b": 22}}'


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("Hello.", True),
        ("", True),
        ("Hello.\n\n{ braces }\n```python\nprint({})\n```", True),
        ('{"name": "unknown", "arguments": 7}', True),
        ('The call {"name": "add", "arguments": 7} in a sentence', True),
        (CALL, True),
        (f"```json\n{CALL}\n```", True),
        (f"<tool_call>\n{CALL}\n</tool_call>", True),
        (f"I will add.\n\n{CALL}", True),
        (f"I will add.\n```json\n{CALL}\n```", True),
        (f"{CALL}\n{PARIS}", True),
        (f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{PARIS}\n</tool_call>", True),
        ('{"name": "sql", "arguments": {"input": "select \\"1\\""}}', True),
        ('{"name": "now", "arguments": {}}', True),
        ('{"name": "x",\n{"name": "add", "arguments": {"a": 1, "b": 2}}', True),
        (WRONG, False),
        (f"Well:\n{WRONG}", False),
        (f"```json\n{WRONG}", False),
        (f"{CALL}\n{WRONG}", False),
        (f"{CALL} and so on", False),
        ('{"name": "add"}', False),
        ('{"name": "now", "arguments": {"a": 1}}', False),
        ('{"name": "x",\n{"name": "add", "arguments": 1}', False),
    ],
)
def test_text_or_calls(text: str, *, allowed: bool) -> None:
    assert accepts(grammar.text_or_calls(RULES, parallel=True), text) is allowed


def test_one_call_at_the_most_unless_parallel() -> None:
    two = f"{CALL}\n{CALL}"
    assert not accepts(grammar.text_or_calls(RULES, parallel=False), two)
    assert not accepts(grammar.only_calls(RULES, parallel=False), two)
    assert accepts(grammar.only_calls(RULES, parallel=True), two)
    assert not accepts(grammar.only_calls(RULES, parallel=True), "\n".join([CALL] * 9))


@pytest.mark.parametrize(
    ("text", "allowed"), [(CALL, True), (PARIS, True), ("Hello", False), ("", False), (WRONG, False)]
)
def test_only_calls(text: str, *, allowed: bool) -> None:
    assert accepts(grammar.only_calls(RULES, parallel=False), text) is allowed


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ('{"name": "add"}', True),
        (f"<tool_call>\n{CALL}\n</tool_call>", True),
        (CALL, False),
        (f"<tool_call>\n{WRONG}\n</tool_call>", False),
        ("text", False),
    ],
)
def test_json_or_calls(text: str, *, allowed: bool) -> None:
    assert accepts(grammar.json_or_calls(json_rule(ANSWER), RULES, parallel=True), text) is allowed


@pytest.mark.parametrize(
    ("text", "allowed"), [("It is 18 degrees.", True), ("{", False), ("```json", False), ("\n{", False)]
)
def test_only_words(text: str, *, allowed: bool) -> None:
    assert accepts(grammar.only_words(), text) is allowed


def test_names_are_never_patterns() -> None:
    for name in ("a.b", "a-b", "a/b", 'q"uote', "back\\slash", "(", "ä", "a b", "{1}", "$"):
        rules = {name: json_rule(grammar.NO_ARGUMENTS)}
        call = json.dumps({"name": name, "arguments": {}})
        assert accepts(grammar.text_or_calls(rules, parallel=False), call), name
        assert accepts(grammar.only_calls(rules, parallel=False), call), name
    assert not accepts(
        grammar.text_or_calls({"a.b": json_rule(grammar.NO_ARGUMENTS)}, parallel=False), '{"name": "a.b"'
    )
    assert accepts(grammar.text_or_calls({"a.b": json_rule(grammar.NO_ARGUMENTS)}, parallel=False), '{"name": "aXb"')


def test_many_tools_stay_within_the_lexers_budget() -> None:
    rules = {f"tool_number_{i}": RULES["add"] for i in range(128)}
    text = grammar.text_or_calls(rules, parallel=True)
    assert accepts(text, 'So:\n{"name": "tool_number_127", "arguments": {"a": 1, "b": 22}}')


NUDGES = [
    "",
    "Hello\n",
    '{"name": "',
    "```json\n",
    "<tool_call>\n",
    'Hi\n{"name": "add"',
    f"{CALL}\n",
    '\n{\n "name":"sql"',
    '{"name": "now"',
]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("nudge", NUDGES)
def test_whatever_the_grammar_allows_the_scanner_reads(nudge: str, seed: int) -> None:
    text, ended = wander(grammar.text_or_calls(RULES, parallel=True), seed, nudge=nudge)
    scanner = CallScanner({tool.name: tool.kind for tool in TOOLS})
    deltas = [*scanner.feed(text), *scanner.finish()]
    calls: list[list[str]] = []
    for delta in deltas:
        match delta:
            case CallStart(name=name):
                calls.append([name, ""])
            case CallArguments(text=piece):
                calls[-1][1] += piece
            case TextDelta():
                assert not calls, "text after a call"
    if ended:
        assert not scanner.in_call
        for name, arguments in calls:
            schema = json.dumps(grammar.arguments_schema(next(tool for tool in TOOLS if tool.name == name)))
            assert name == "sql" or check_json(schema, arguments) == {"error": ""}


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_allowed_as_a_forced_call_is_one(seed: int) -> None:
    text, ended = wander(grammar.only_calls(RULES, parallel=True), seed)
    scanner = CallScanner({tool.name: tool.kind for tool in TOOLS})
    first = scanner.feed(text)
    assert isinstance(first[0], CallStart)
    assert scanner.in_call is not ended
