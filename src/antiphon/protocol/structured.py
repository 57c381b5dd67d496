"""OpenAI's rules for schemas with `strict: true` (its guide to Structured Outputs), and its words for breaking them.

A strict schema is one whose every answer is known in shape: no key may be left out or added, and there is nothing in it
that cannot be enforced while an answer is made. Annotations (`title`, `default`, …) are let pass, and so are bounds of
strings, since both can be kept here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from antiphon.domain.errors import InvalidRequest
from antiphon.protocol.generation import JsonSchema

#: Documented limits: levels of nested objects, properties of all objects, values of all enumerations, characters of all
#: names and values; and, for an enumeration of many strings, the characters of its own.
MAX_DEPTH = 10
MAX_PROPERTIES = 5_000
MAX_ENUM_VALUES = 1_000
MAX_NAMES = 120_000
MANY_VALUES = 250
MAX_MANY_VALUES = 15_000

_NOT_PERMITTED = (
    *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies"),
    *("patternProperties", "propertyNames", "minProperties", "maxProperties", "unevaluatedProperties"),
    *("prefixItems", "contains", "minContains", "maxContains", "uniqueItems", "unevaluatedItems", "additionalItems"),
)
_DEFINITIONS = ("$defs", "definitions")

Path = tuple[str, ...]
Code = Literal["invalid_json_schema", "invalid_function_parameters"]


def check_strict(schema: JsonSchema, *, what: str, code: Code, param: str) -> None:
    """Raise `InvalidRequest` with `code` and `param` if `schema` breaks a rule of strict mode.

    `what` says whose schema it is: "response_format 'answer'", "function 'add'". Whether it is a valid JSON Schema at
    all, and whether an engine can enforce it, is not asked here.
    """
    problem = next(_problems(schema), None)
    if problem is not None:
        raise InvalidRequest(f"Invalid schema for {what}: {problem}", code=code, param=param)


def _problems(schema: JsonSchema) -> Iterator[str]:
    kind = schema.get("type")
    if "anyOf" in schema and kind is None:
        yield "schema must be a JSON Schema of 'type: \"object\"', got 'anyOf' at its root."
    elif kind != "object":
        yield f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    else:
        walk = _Walk()
        yield from walk.schema(schema, (), 1)
        yield from walk.totals()


class _Walk:
    """Goes through a schema once, and counts."""

    def __init__(self) -> None:
        self._properties = 0
        self._values = 0
        self._characters = 0

    def schema(self, schema: Any, path: Path, depth: int) -> Iterator[str]:
        """What is wrong with a schema and those inside it. `depth`: the level that it has if it is an object."""
        if not isinstance(schema, dict):
            yield _at(path, f"{schema!r} is not of type 'object'.")
            return
        for name in _NOT_PERMITTED:
            if name in schema:
                yield _at(path, f"'{name}' is not permitted.")
        if "$ref" in schema:
            yield from _reference(schema, path)
        elif not {"type", "anyOf", "enum", "const"} & schema.keys():
            yield _at(path, "schema must have a 'type' key.")
        kind = schema.get("type")
        kinds = kind if isinstance(kind, list) else [kind]
        is_object = "object" in kinds or "properties" in schema
        if is_object:
            yield from self._object(schema, path, depth)
        if "array" in kinds and "items" not in schema:
            yield _at(path, "array schema missing items.")
        yield from self._enumeration(schema, path)
        for inner_path, inner in _inside(schema, path):
            yield from self.schema(inner, inner_path, depth + is_object)

    def _object(self, schema: JsonSchema, path: Path, depth: int) -> Iterator[str]:
        if schema.get("additionalProperties") is not False:
            yield _at(path, "'additionalProperties' is required to be supplied and to be false.")
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            yield _at(path, "'properties' must be an object.")
            return
        required = schema.get("required", [])
        known = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
        wanted = "'required' is required to be supplied and to be an array including every key in properties."
        if properties and "required" not in schema:
            yield _at(path, f"{wanted} Missing '{next(iter(properties))}'.")
        for name in properties:
            if name not in known:
                yield _at(path, f"{wanted} Missing '{name}'.")
        for name in known - properties.keys():
            yield _at(path, f"{wanted} Extra required key '{name}' supplied.")
        if depth > MAX_DEPTH:
            yield _at(path, f"it nests more than {MAX_DEPTH} levels of objects.")
        self._properties += len(properties)
        self._characters += sum(map(len, properties))

    def _enumeration(self, schema: JsonSchema, path: Path) -> Iterator[str]:
        values = schema.get("enum")
        texts = [value for value in (values if isinstance(values, list) else []) if isinstance(value, str)]
        size = sum(map(len, texts))
        if len(texts) > MANY_VALUES and size > MAX_MANY_VALUES:
            yield _at(
                path,
                f"its {len(texts)} enum values have {size} characters; with more than {MANY_VALUES} values the limit "
                f"is {MAX_MANY_VALUES}.",
            )
        constant = schema.get("const")
        self._values += len(values) if isinstance(values, list) else 0
        self._characters += size + (len(constant) if isinstance(constant, str) else 0)
        self._characters += sum(len(name) for key in _DEFINITIONS for name in _members(schema.get(key)))

    def totals(self) -> Iterator[str]:
        """What there is too much of."""
        for count, most, what in (
            (self._properties, MAX_PROPERTIES, "object properties"),
            (self._values, MAX_ENUM_VALUES, "enum values"),
            (self._characters, MAX_NAMES, "characters in names of properties and definitions, enum and const values"),
        ):
            if count > most:
                yield f"it has {count} {what} in all, the limit is {most}."


def _reference(schema: JsonSchema, path: Path) -> Iterator[str]:
    more = sorted(schema.keys() - {"$ref", *_DEFINITIONS})
    # At the root it may stand beside what a root must have.
    if path and more:
        yield _at(path, f"$ref cannot have keywords {{{', '.join(map(repr, more))}}}.")
    if not isinstance(schema["$ref"], str) or not schema["$ref"].startswith("#"):
        yield _at(path, "$ref must refer to a part of the same schema ('#/…').")


def _inside(schema: JsonSchema, path: Path) -> Iterator[tuple[Path, Any]]:
    """The schemas directly inside a schema, each with its path."""
    for key in ("properties", *_DEFINITIONS):
        for name, inner in _members(schema.get(key)).items():
            yield (*path, key, name), inner
    if isinstance(schema.get("anyOf"), list):
        for index, inner in enumerate(schema["anyOf"]):
            yield (*path, "anyOf", str(index)), inner
    if "items" in schema:
        yield (*path, "items"), schema["items"]


def _members(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _at(path: Path, problem: str) -> str:
    return f"In context={path!r}, {problem}"
