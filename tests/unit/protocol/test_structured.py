"""OpenAI's rules for strict schemas, in its words."""

from __future__ import annotations

import enum
from typing import Any, Literal, Optional, Union

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib._pydantic import to_strict_json_schema

from antiphon.domain.errors import InvalidRequest
from antiphon.protocol import structured
from antiphon.protocol.chat import request as chat
from antiphon.protocol.responses import request as responses

Json = dict[str, Any]


def obj(required: list[str] | None = None, **properties: Any) -> Json:
    """A strict object."""
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def check(schema: Json) -> None:
    structured.check_strict(schema, what="response_format 'x'", code="invalid_json_schema", param="text.format.schema")


def nested(levels: int) -> Json:
    schema: Json = {"type": "string"}
    for _ in range(levels):
        schema = obj(a=schema)
    return schema


TEXT: Json = {"type": "string"}
WANTED = "'required' is required to be supplied and to be an array including every key in properties."
CLOSED = "'additionalProperties' is required to be supplied and to be false."

A = "In context=('properties', 'a')"
DEEP = ", ".join(["'properties', 'a'"] * 10)
MANY = {"enum": [f"{i:060}" for i in range(251)]}

BROKEN: list[tuple[Json, str]] = [
    ({"type": "array", "items": TEXT}, "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'."),
    ({}, "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."),
    ({"anyOf": [obj()]}, "schema must be a JSON Schema of 'type: \"object\"', got 'anyOf' at its root."),
    ({"type": "object"}, f"In context=(), {CLOSED}"),
    ({**obj(), "additionalProperties": True}, f"In context=(), {CLOSED}"),
    (obj(a={"type": "object", "properties": {}}), f"{A}, {CLOSED}"),
    (obj(a={"type": ["object", "null"]}), f"{A}, {CLOSED}"),
    (obj(["a"], a=TEXT, b=TEXT), f"In context=(), {WANTED} Missing 'b'."),
    ({"type": "object", "properties": {"a": TEXT}, "additionalProperties": False},
     f"In context=(), {WANTED} Missing 'a'."),
    (obj(["a", "b"], a=TEXT), f"In context=(), {WANTED} Extra required key 'b' supplied."),
    (obj(a={}), f"{A}, schema must have a 'type' key."),
    (obj(a={"type": "array"}), f"{A}, array schema missing items."),
    (obj(a={"oneOf": [TEXT]}), f"{A}, 'oneOf' is not permitted."),
    (obj(a={"type": "array", "items": {"allOf": [TEXT]}}),
     "In context=('properties', 'a', 'items'), 'allOf' is not permitted."),
    (obj(a={"anyOf": [TEXT, {"not": TEXT}]}), "In context=('properties', 'a', 'anyOf', '1'), 'not' is not permitted."),
    (obj(a={"$ref": "#/$defs/b", "description": "x"}), f"{A}, $ref cannot have keywords {{'description'}}."),
    (obj(a={"$ref": "http://x/y"}), f"{A}, $ref must refer to a part of the same schema ('#/…')."),
    ({**obj(a={"$ref": "#/$defs/b"}), "$defs": {"b": {"type": "object"}}}, f"In context=('$defs', 'b'), {CLOSED}"),
    ({**obj(), "minProperties": 1}, "In context=(), 'minProperties' is not permitted."),
    (obj(a=True), f"{A}, True is not of type 'object'."),
    (nested(11), f"In context=({DEEP}), it nests more than 10 levels of objects."),
    (obj(**{f"p{i}": TEXT for i in range(5_001)}), "it has 5001 object properties in all, the limit is 5000."),
    (obj(a={"enum": list(range(1_001))}), "it has 1001 enum values in all, the limit is 1000."),
    (obj(a=MANY), f"{A}, its 251 enum values have 15060 characters; with more than 250 values the limit is 15000."),
    (obj(a={"enum": ["x" * 120_000]}),
     ("it has 120001 characters in names of properties and definitions, enum and const values in all, "
      "the limit is 120000.")),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "problem"), BROKEN, ids=range(len(BROKEN)))
def test_broken_rules_are_told_with_their_place(schema: Json, problem: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(schema)
    assert refused.value.message == f"Invalid schema for response_format 'x': {problem}"
    assert (refused.value.code, refused.value.param) == ("invalid_json_schema", "text.format.schema")


GOOD: list[Json] = [
    obj(),
    {"type": "object", "additionalProperties": False},
    nested(10),
    obj(a={"type": ["string", "null"]}, b={"enum": [1, None]}, c={"const": "x"}, d={"anyOf": [TEXT, obj(e=TEXT)]}),
    {**obj(a={"$ref": "#"}), "$defs": {}},
    {**obj(a={"$ref": "#/$defs/n"}), "$defs": {"n": obj(next={"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]})}},
    obj(a={"type": "string", "pattern": "^a$", "format": "date"}, b={"type": "array", "items": TEXT, "maxItems": 3}),
]


@pytest.mark.parametrize("schema", GOOD, ids=range(len(GOOD)))
def test_what_keeps_to_them_passes(schema: Json) -> None:
    check(schema)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def kinds() -> st.SearchStrategy[Any]:
    """Types of members of a model, as applications write them; dictionaries and tuples are not strict."""
    plain = st.sampled_from([int, str, float, bool, Colour, Literal["a", "b"], Literal[1]])
    bounded = st.sampled_from([pydantic.conint(ge=1, le=5), pydantic.constr(min_length=1, pattern="^a")])

    def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        models = st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3).map(model)
        return st.one_of(
            inner.map(lambda kind: list[kind]),  # type: ignore[valid-type]  # made at run time
            inner.map(lambda kind: Optional[kind]),  # noqa: UP045  (of a type made at run time)
            st.tuples(inner, inner).map(lambda two: Union[two[0], two[1]]),  # noqa: UP007
            models,
        )

    return st.recursive(plain | bounded, wider, max_leaves=6)


def model(members: dict[str, Any]) -> type[pydantic.BaseModel]:
    fields: dict[str, Any] = {name: (kind, pydantic.Field(description="A member.")) for name, kind in members.items()}
    return pydantic.create_model("Answer", **fields)


@given(st.dictionaries(st.sampled_from("abcdef"), kinds(), min_size=1, max_size=4))
def test_what_the_official_package_makes_passes(members: dict[str, Any]) -> None:
    check(to_strict_json_schema(model(members)))


def test_both_surfaces_name_their_own_parameters() -> None:
    bad = {"type": "object"}
    function = {"name": "f", "parameters": bad, "strict": True}
    form = {"name": "x", "schema": bad, "strict": True}
    ask = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    cases: list[tuple[Any, Json, str, str]] = [
        (responses, {"tools": [{"type": "function", **function}]}, "tools[0].parameters", "function 'f'"),
        (responses, {"text": {"format": {"type": "json_schema", **form}}}, "text.format.schema", "response_format 'x'"),
        (chat, {"tools": [{"type": "function", "function": function}]}, "tools[0].function.parameters", "function 'f'"),
        (
            chat,
            {"response_format": {"type": "json_schema", "json_schema": form}},
            "response_format",
            "response_format 'x'",
        ),
    ]
    for surface, body, param, what in cases:
        with pytest.raises(InvalidRequest, match=what) as refused:
            surface.parse({**ask, "input": "hi", **body}, {})
        assert refused.value.param == param
        code = "invalid_function_parameters" if "function" in what else "invalid_json_schema"
        assert refused.value.code == code
