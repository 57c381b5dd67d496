"""Every schema of the collection: what its grammar lets through fits it, whatever is drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from antiphon.engines.schemas.enforce import compile_schema, normalised
from antiphon.engines.schemas.enforce.patterns import Unsupported
from antiphon.engines.schemas.enforce.values import checker
from grammars import accepts, wander
from schemas.variety import FORMATS, PATTERNS, Schema, schemas, strict
from support.examples import ALL as ALL_EXAMPLES

ALL = schemas()
#: What no grammar of a bearable size can be made for; strict, they are refused.
UNENFORCED = {"strings-36", "arrays-13", "arrays-16", "objects-8", "choices-4"}


def test_there_are_enough() -> None:
    assert len(ALL) >= 300


@pytest.mark.parametrize("part", sorted({name.rpartition("-")[0] for name in ALL}))
@pytest.mark.parametrize("mode", ["loose", "strict", "arguments"])
def test_whatever_is_drawn_fits(part: str, mode: str) -> None:
    ended = 0
    for name, schema in of(part):
        wanted = normalised(schema if mode == "loose" else strict(schema))
        check = checker(wanted)
        made = compile_schema(wanted, strict=mode == "strict", arguments=mode == "arguments")
        assert made.grammar, f"{name}: something fits it"
        assert bool(made.dropped) == (name in UNENFORCED), (name, made.dropped)
        for seed in range(2 if ALL_EXAMPLES and mode != "arguments" else 1):
            text, whole = wander(made.grammar, seed, most=800)
            ended += whole
            if whole and not made.dropped:
                check.validate(json.loads(text))
    assert ended


def of(part: str) -> Iterator[tuple[str, Schema]]:
    """The schemas of one part."""
    return ((name, schema) for name, schema in ALL.items() if name.rpartition("-")[0] == part)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string", "pattern": '^[a-z]{2}"[a-z]{2}$'}, r'"ab\"cd"', r'"ab\""'),
        ({"type": "string", "pattern": r"^a\nb$"}, r'"a\nb"', r'"a\n"'),
        ({"type": "string", "format": "uri"}, '"https://example.com/a?b=c#d"', '"not a uri"'),
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, "9223372036854775807", "9223372036854775808"),
        ({"type": "integer", "minimum": -(2**63)}, "-9223372036854775808", "-9223372036854775809"),
        ({"type": "number", "exclusiveMinimum": 0}, "0.5", "0"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "1.5", "1"),
        ({"type": "array", "items": {}, "minItems": 2.0}, "[1, 2]", "[1]"),
        ({"type": "string", "pattern": r"^\bab\b$"}, '"ab"', '"abc"'),
        ({"type": "object", "properties": {"a": {}}}, '{"a": 1}', '{"b": 1}'),
        ({"type": "string", "maxLength": 2}, '"😀é"', '"abc"'),
    ],
)
def test_what_is_let_through(schema: dict[str, Any], good: str, bad: str) -> None:
    grammar = compile_schema(normalised(schema), strict=False, arguments=False).grammar
    assert accepts(grammar, good)
    assert not accepts(grammar, bad)


@pytest.mark.parametrize(
    ("schema", "only"),
    [
        ({"type": "object"}, "{}"),
        ({"type": "object", "properties": {}}, "{}"),
        ({"type": "object", "additionalProperties": True}, '{"a": 1}'),
        ({"type": "object", "properties": {"a": {"type": "object"}}}, '{"a": {"free": 1}}'),
    ],
)
def test_a_function_takes_what_it_declares(schema: dict[str, Any], only: str) -> None:
    grammar = compile_schema(normalised(schema), strict=False, arguments=True).grammar
    assert accepts(grammar, only)
    assert accepts(grammar, '{"made_up": 1}') is ("additionalProperties" in schema)


@pytest.mark.parametrize(
    "pattern", [r"^(a)\1$", r"(?:a(?=b).)*", r"\p{Script=Greek}", r"(?i)a", r"a++", "(" * 60 + ")" * 60]
)
def test_what_is_no_regular_language_is_said_to_be_none(pattern: str) -> None:
    from antiphon.engines.schemas.enforce import expressions

    with pytest.raises(Unsupported):
        expressions.pattern(pattern)


def test_every_format_and_pattern_of_the_collection_lets_something_through() -> None:
    wanted = [{"type": "string", "format": name} for name in FORMATS]
    wanted += [{"type": "string", "pattern": text} for text in PATTERNS]
    for schema in wanted:
        assert any(wander(compile_schema(normalised(schema), strict=True, arguments=False).grammar, 1)[0] for _ in "x")


@pytest.mark.parametrize("needed", [0, 7, 500], ids=["none", "some", "all"])
def test_objects_of_very_many_members(needed: int) -> None:
    names = [f"p{i}" for i in range(500)]
    schema = {"type": "object", "properties": {name: {"type": "null"} for name in names}, "additionalProperties": False}
    schema["required"] = names[-500 :: 500 // needed] if needed else []
    made = compile_schema(normalised(schema), strict=False, arguments=False)
    check = checker(schema)
    for seed in range(4):
        text, whole = wander(made.grammar, seed, most=20_000)
        assert whole
        check.validate(json.loads(text))
    for chosen in ([], names, names[::61], names[:1], names[-1:], names[59:62]):
        value = dict.fromkeys(chosen, None)
        assert accepts(made.grammar, json.dumps(value)) is check.is_valid(value)
    assert not accepts(made.grammar, '{, "p1": null}')
    assert not accepts(made.grammar, '{"p1": null"p2": null}')
