"""What schemas are taken, how far they are enforced, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.engines.llama.grammar import only_calls, only_json, only_words
from antiphon.engines.llama.schemas import CompiledSchema, SchemaCompiler
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.protocol.generation import Grammar
from grammars import accepts


def compiled(schema: dict[str, Any], *, strict: bool = False) -> CompiledSchema:
    async def main() -> CompiledSchema:
        compiler = SchemaCompiler()
        try:
            return await compiler.schema(schema, strict=strict, what="'x'", code="invalid_json_schema")
        finally:
            await compiler.close()

    return asyncio.run(main())


ENFORCED: list[dict[str, Any]] = [
    {"type": "object"},
    {"type": "array", "items": {"type": "array", "items": {"enum": [1, "a", None]}}, "maxItems": 3},
    {"type": "number", "minimum": -1.5, "maximum": 2},
    {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
    {"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}}}},
    {"type": "string", "format": "date-time"},
    {"const": 'a\u2028"b'},
    {"type": "string", "pattern": "^(?!foo)[a-z]+$"},
    {"type": "object", "not": {"required": ["a"]}},
    {"type": "number", "exclusiveMinimum": 0},
    {"type": "string", "format": "uri"},
]


@pytest.mark.parametrize("schema", ENFORCED)
def test_enforced(schema: dict[str, Any]) -> None:
    assert compiled(schema, strict=True).enforced


UNENFORCEABLE: list[dict[str, Any]] = [
    {"type": "array", "uniqueItems": True},
    {"type": "string", "pattern": "^(a|b)\\1$"},
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "(x(?=y).)*z"}}, "required": ["a"]},
    {"type": "integer", "multipleOf": 10_000_019},
    {"type": "object", "dependentRequired": {name: ["x"] for name in "abcdef"}},
]


@pytest.mark.parametrize("schema", UNENFORCEABLE)
def test_what_cannot_be_enforced_is_refused_only_if_strict(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="Invalid schema for 'x'") as refused:
        compiled(schema, strict=True)
    assert refused.value.code == "invalid_json_schema"
    loose = compiled(schema)
    assert not loose.enforced
    assert accepts(only_json(loose.rule), '"abc"') is (schema["type"] == "string")


def test_a_format_that_nobody_knows_is_refused_only_if_strict() -> None:
    schema = {"type": "string", "format": "of-our-own"}
    with pytest.raises(InvalidRequest, match="'of-our-own' is not a valid format"):
        compiled(schema, strict=True)
    assert compiled(schema).enforced, "it says nothing"


IMPOSSIBLE: list[dict[str, Any]] = [
    {"enum": []},
    {"type": "string", "minLength": 3, "maxLength": 2},
    {"type": "integer", "minimum": 3, "exclusiveMaximum": 3},
    {"type": "integer", "minimum": 0.1, "maximum": 0.9},
    {"type": "number", "multipleOf": 5, "minimum": 1, "maximum": 4},
    {"type": "object", "properties": {"a": False}, "required": ["a"]},
    {"type": "object", "required": ["a"], "additionalProperties": False},
    {"type": "object", "additionalProperties": False, "minProperties": 1},
    {"type": "array", "items": {"enum": []}, "minItems": 1},
    {"type": "array", "minItems": 2, "maxItems": 1},
    {"type": "array", "prefixItems": [True], "items": False, "minItems": 2},
    {"allOf": [{"type": "string"}, {"type": "integer"}]},
    {"anyOf": [False, {"enum": ["a"], "type": "integer"}]},
    {"oneOf": [{"type": "string"}, {"type": "string"}]},
    {"not": {}},
    {"type": "string", "pattern": "^a$", "maxLength": 0},
    {"type": "string", "pattern": "^(?=b)a"},
    {"const": 1, "enum": [2]},
    {"$ref": "#"},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
    {"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}}, "$ref": "#/$defs/a"},
]


@pytest.mark.parametrize("strict", [True, False])
def test_what_nothing_can_fit_is_refused(*, strict: bool) -> None:
    async def main() -> None:
        compiler = SchemaCompiler()
        try:
            for schema in IMPOSSIBLE:
                with pytest.raises(InvalidRequest, match="no value can fit it"):
                    await compiler.schema(schema, strict=strict, what="'x'", code="invalid_json_schema")
        finally:
            await compiler.close()

    asyncio.run(main())


@pytest.mark.parametrize("schema", [{"type": "array"}, {"type": "string"}, {"type": ["array", "null"]}])
def test_a_functions_arguments_are_an_object(schema: dict[str, Any]) -> None:
    async def main() -> None:
        await SchemaWorker().admit(
            schema, strict=False, what="function 'x'", code="invalid_function_parameters", param="tools[0].parameters"
        )

    with pytest.raises(InvalidRequest, match="schema must be a JSON Schema of 'type: \"object\"'") as refused:
        asyncio.run(main())
    assert (refused.value.code, refused.value.param) == ("invalid_function_parameters", "tools[0].parameters")


def test_a_loosened_rule_keeps_what_it_can() -> None:
    rule = compiled(UNENFORCEABLE[2]).rule
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


def misfits(schema: dict[str, Any], *texts: str) -> list[str | None]:
    async def main() -> list[str | None]:
        compiler = SchemaCompiler()
        try:
            made = await compiler.schema(schema, strict=False, what="'x'", code="invalid_json_schema")
            return [await made.misfit(text) for text in texts]
        finally:
            await compiler.close()

    return asyncio.run(main())


def test_misfits_are_told() -> None:
    told = misfits({"type": "array", "uniqueItems": True}, "[1, 2]", "[1, 1]", "[1", "[" * 100_000, "[NaN]")
    assert told[0] is None
    assert "non-unique" in str(told[1])
    assert None not in told[1:]


def test_a_hostile_pattern_ends() -> None:
    assert misfits({"type": "string", "pattern": "^(?!x)(a+)+$"}, '"' + "a" * 60 + '!"') != [None]


def test_grammars_are_checked_and_remembered() -> None:
    async def main() -> None:
        compiler = SchemaCompiler()
        assert await compiler.grammar(only_words()) == only_words()
        with pytest.raises(InvalidRequest):
            await compiler.grammar("%llguidance {}\nstart: nonsense (((")
        await compiler.close()
        assert await compiler.grammar(only_words()) == only_words()
        assert compiler.worker.pids == [], "it was asked again"

    asyncio.run(main())


def chain(length: int) -> dict[str, Any]:
    defs: dict[str, Any] = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(length)}
    return {"$defs": {**defs, f"d{length}": {"type": "string"}}, "$ref": "#/$defs/d0"}


BOMBS: list[dict[str, Any]] = [
    chain(6_000),  # overflows the library's stack, which ends the process
    {"enum": [{"a": [i, {"b": str(i)}]} for i in range(8_000)]},  # takes a second
    {"properties": {f"p{i}": {"type": "string", "pattern": f"^[a-z]{{3,{50 + i}}}x$"} for i in range(3_500)}},
]


@pytest.mark.parametrize("schema", BOMBS, ids=["stack", "time", "patterns"])
def test_a_bomb_is_refused_and_the_next_schema_compiles(schema: dict[str, Any]) -> None:
    async def main() -> None:
        compiler = SchemaCompiler()
        try:
            with pytest.raises(InvalidRequest, match=r"too complex|too deeply") as refused:
                await compiler.schema(
                    schema, strict=False, what="'x'", code="invalid_json_schema", param="output.schema"
                )
            assert (refused.value.code, refused.value.param) == ("invalid_json_schema", "output.schema")
            assert (
                await compiler.schema({"type": "object"}, strict=True, what="'x'", code="invalid_json_schema")
            ).enforced
        finally:
            await compiler.close()

    asyncio.run(main())


def test_checking_an_answer_has_a_time_limit() -> None:
    # Each level is looked at twice: two to the power of forty times.
    defs: dict[str, Any] = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    schema = {"$defs": {**defs, "d40": {"type": "object"}}, "$ref": "#/$defs/d0"}
    assert misfits(schema, "{}") == ["it takes too long to check"]


def test_whoever_stops_waiting_does_not_leave_the_answer_to_the_next() -> None:
    async def main() -> None:
        worker = SchemaWorker()
        try:
            assert await worker.grammar(only_words()) == ""
            asking = asyncio.create_task(worker.misfit('{"type": "object"}', "[]"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert await worker.misfit('{"type": "object"}', "{}") is None
        finally:
            await worker.close()

    asyncio.run(main())


LARK = Grammar("lark", 'start: expr\nexpr: NUM (OP NUM)*\nOP: "+" | "-"\nNUM: /[0-9]+/\n%ignore " "')
REGEX = Grammar("regex", r"^\d{4}/\d\d$")


@pytest.mark.parametrize(("grammar", "good", "bad"), [(LARK, "1 + 2", "1 +"), (REGEX, "2024/12", "2024/1")])
def test_text_of_a_grammar_is_held_to_it_and_checked(grammar: Grammar, good: str, bad: str) -> None:
    async def main() -> None:
        compiler = SchemaCompiler()
        try:
            made = await compiler.text(grammar, what="custom tool 'x'", param="tools[0].grammar")
            assert made.raw
            assert await made.misfit(good) is None
            assert await made.misfit(bad) is not None
            call = only_calls({"x": made.rule}, parallel=True, raw={"x"})
            assert accepts(call, f'{{"name": "x", "arguments": {good}')
            assert not accepts(call, f'{{"name": "x", "arguments": {bad}')
        finally:
            await compiler.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "definition", ["start: nonsense", "start: /(/", "", "start: start2", 'start: "a"\n} more: "b"']
)
def test_a_grammar_that_does_not_compile_is_refused(definition: str) -> None:
    async def main() -> None:
        compiler = SchemaCompiler()
        try:
            await compiler.text(Grammar("lark", definition), what="custom tool 'x'", param="tools[3].grammar")
        finally:
            await compiler.close()

    with pytest.raises(InvalidRequest, match="custom tool 'x'") as refused:
        asyncio.run(main())
    assert (refused.value.code, refused.value.param) == ("invalid_grammar", "tools[3].grammar")
