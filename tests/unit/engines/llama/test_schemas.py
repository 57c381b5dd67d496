"""What schemas are taken, how far they are enforced, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.engines.llama.grammar import only_json, only_words
from antiphon.engines.llama.schemas import CompiledSchema, SchemaCompiler
from grammars import accepts


def compiled(schema: dict[str, Any], *, strict: bool = False) -> CompiledSchema:
    async def main() -> CompiledSchema:
        compiler = SchemaCompiler()
        try:
            return await compiler.schema(schema, strict=strict, what="'x'", code="invalid_schema")
        finally:
            compiler.close()

    return asyncio.run(main())


ENFORCED: list[dict[str, Any]] = [
    {"type": "object"},
    {"type": "array", "items": {"type": "array", "items": {"enum": [1, "a", None]}}, "maxItems": 3},
    {"type": "number", "minimum": -1.5, "maximum": 2},
    {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
    {"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}}}},
    {"type": "string", "format": "date-time"},
    {"const": 'a\u2028"b'},
]


@pytest.mark.parametrize("schema", ENFORCED)
def test_enforced(schema: dict[str, Any]) -> None:
    assert compiled(schema, strict=True).enforced


UNENFORCEABLE: list[dict[str, Any]] = [
    {"type": "object", "not": {"required": ["a"]}},
    {"type": "array", "uniqueItems": True},
    {"type": "string", "pattern": "^(?!foo)[a-z]+$"},
    {"type": "string", "format": "of-our-own"},
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}, "required": ["a"]},
]


@pytest.mark.parametrize("schema", UNENFORCEABLE)
def test_what_cannot_be_enforced_is_refused_only_if_strict(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="Invalid schema for 'x'") as refused:
        compiled(schema, strict=True)
    assert refused.value.code == "invalid_schema"
    loose = compiled(schema)
    assert not loose.enforced
    assert accepts(only_json(loose.rule), '"abc"') is (schema["type"] == "string")


def test_bounds_that_the_library_lets_through_are_checked() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "number", "exclusiveMinimum": 0}}}
    assert not compiled(schema, strict=True).enforced
    assert compiled(schema).misfit('{"x": 0}') is not None
    assert compiled({"type": "integer", "exclusiveMinimum": 0}).enforced


def test_a_loosened_rule_keeps_what_it_can() -> None:
    rule = compiled(UNENFORCEABLE[4]).rule
    assert accepts(only_json(rule), '{"a": "b"}')
    assert not accepts(only_json(rule), '{"b": "a"}')


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "#/nowhere"},
        {"minLength": -1},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"properties": []},
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_is_no_schema_is_refused(schema: dict[str, Any], *, strict: bool) -> None:
    with pytest.raises(InvalidRequest):
        compiled(schema, strict=strict)


def test_a_huge_schema_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=str(limits.MAX_SCHEMA_CHARS)):
        compiled({"enum": ["x" * limits.MAX_SCHEMA_CHARS]})


def test_misfits_are_told() -> None:
    misfit = compiled({"type": "array", "uniqueItems": True}).misfit
    assert misfit("[1, 2]") is None
    assert "non-unique" in str(misfit("[1, 1]"))
    assert misfit("[1") is not None
    assert misfit("[" * 100_000) is not None


def test_a_hostile_pattern_ends() -> None:
    misfit = compiled({"type": "string", "pattern": "^(?!x)(a+)+$"}).misfit
    assert misfit('"' + "a" * 60 + '!"') is not None


def test_grammars_are_checked_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        compiler = SchemaCompiler()
        assert await compiler.grammar(only_words()) == only_words()
        with pytest.raises(InvalidRequest):
            await compiler.grammar("%llguidance {}\nstart: nonsense (((")
        monkeypatch.setattr("antiphon.engines.llama.schemas._problem", None)  # would raise if it were asked again
        assert await compiler.grammar(only_words()) == only_words()
        compiler.close()

    asyncio.run(main())


def test_compiling_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr(limits, "GRAMMAR_TIMEOUT", 0.05)
    monkeypatch.setattr("antiphon.engines.llama.schemas._compile", lambda *_, **__: release.wait(10))
    try:
        with pytest.raises(InvalidRequest, match="too complex"):
            compiled({"type": "object"})
    finally:
        release.set()
