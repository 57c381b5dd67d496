"""Keywords that say "one of these": each becomes alternatives, every one a schema that is added to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from antiphon.engines.schemas.enforce.facts import (
    KINDS,
    KINDS_KEY,
    NOT_PATTERN_KEY,
    SILENT,
    Facts,
    Spot,
    kinds_of_type,
    same,
)

_Find = Callable[[Spot], Facts]

#: In the order in which they are taken apart.
KEYWORDS = ("not", "if", "dependentRequired", "dependentSchemas", "dependencies", "oneOf", "anyOf")


def alternatives(spot: Spot, keyword: str, facts: _Find) -> list[tuple[Any, ...]] | None:
    """Schemas to add, for each alternative; None if the keyword cannot be taken apart."""
    value = spot.get(keyword)
    match keyword:
        case "anyOf":
            return [(option,) for option in value]
        case "oneOf":
            return _one_of(value, spot, facts)
        case "not":
            found = list(negated(value, facts, spot))
            return [(each,) for each in found] or (None if value not in ({}, True) else [])
        case "if":
            return _if(spot, facts)
    return _dependent(value)


def _one_of(options: list[Any], spot: Spot, facts: _Find) -> list[tuple[Any, ...]]:
    made = []
    for i, option in enumerate(options):
        mine = facts(Spot(option, spot.base))
        others = [
            {"not": other}
            for j, other in enumerate(options)
            if i != j and not disjoint(mine, facts(Spot(other, spot.base)), facts)
        ]
        made.append((option, *others))
    return made


def _if(spot: Spot, facts: _Find) -> list[tuple[Any, ...]] | None:
    condition, then, other = spot.get("if"), spot.get("then"), spot.get("else")
    if then is None and other is None:
        return [()]
    wrong = [(each, True if other is None else other) for each in negated(condition, facts, spot)]
    return [(condition, True if then is None else then), *wrong]


def _dependent(value: dict[str, Any]) -> list[tuple[Any, ...]] | None:
    """Every name is there with what it needs, or is not there. Many of them together are too many ways."""
    if len(value) > 4:
        return None
    ways: list[tuple[Any, ...]] = [()]
    for name, needed in value.items():
        there = (
            {"required": [name, *needed], KINDS_KEY: ["object"]}
            if isinstance(needed, list)
            else {"allOf": [{"required": [name], KINDS_KEY: ["object"]}, needed]}
        )
        absent = {"properties": {name: False}}
        ways = [(*way, each) for way in ways for each in (absent, there)]
    return ways


def negated(schema: Any, facts: _Find, spot: Spot) -> Iterator[Any]:
    """Schemas each of which says that a value does not fit `schema`; not all that there could be."""
    if schema is False:
        yield True
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        match keyword:
            case "not":
                yield value
            case "$ref":
                found = facts(Spot(schema, spot.base))
                if len(found.spots) == 2 and found.spots[1].base == spot.base:
                    yield from negated(found.spots[1].schema, facts, spot)
            case "anyOf":
                yield {"allOf": [{"not": each} for each in value]}
            case "allOf":
                yield from ({"not": each} for each in value)
            case _:
                yield from _negated_keyword(keyword, value)


def negatable(schema: Any) -> bool:
    """Whether `negated` gives all ways of not fitting a schema."""
    return not isinstance(schema, dict) or not schema.keys() - _NEGATABLE - SILENT


_NEGATABLE = frozenset(
    {
        *("not", "type", "anyOf", "allOf", "required", "properties", "enum", "const", "pattern", "minLength"),
        *("maxLength", "minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    }
)


def _negated_keyword(keyword: str, value: Any) -> Iterator[Any]:
    match keyword:
        case "type":
            yield {KINDS_KEY: [kind for kind in KINDS if kind not in kinds_of_type(value)]}
        case "required":
            yield from ({KINDS_KEY: ["object"], "properties": {name: False}} for name in value)
        case "properties":
            for name, inner in value.items():
                yield {KINDS_KEY: ["object"], "required": [name], "properties": {name: {"not": inner}}}
        case "enum" | "const":
            yield {"not": {keyword: value}}
        case _:
            yield from _negated_bound(keyword, value)


def _negated_bound(keyword: str, value: Any) -> Iterator[Any]:
    number, text, array = ["integer", "broken"], ["string"], ["array"]
    match keyword:
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" if not isinstance(value, bool):
            opposite = {"minimum": "exclusiveMaximum", "maximum": "exclusiveMinimum"}
            opposite |= {"exclusiveMinimum": "maximum", "exclusiveMaximum": "minimum"}
            yield {KINDS_KEY: number, opposite[keyword]: value}
        case "pattern":
            yield {KINDS_KEY: text, NOT_PATTERN_KEY: value}
        case "minLength" if value > 0:
            yield {KINDS_KEY: text, "maxLength": int(value) - 1}
        case "maxLength":
            yield {KINDS_KEY: text, "minLength": int(value) + 1}
        case "minItems" if value > 0:
            yield {KINDS_KEY: array, "maxItems": int(value) - 1}
        case "maxItems":
            yield {KINDS_KEY: array, "minItems": int(value) + 1}


def disjoint(one: Facts, other: Facts, facts: _Find, depth: int = 0) -> bool:
    """Whether it is plain that no value fits both."""
    if one.never or other.never or not (kinds := one.kinds & other.kinds):
        return True
    if one.values is not None and other.values is not None:
        return not {same(value) for value in one.values} & {same(value) for value in other.values}
    if kinds <= {"integer", "broken"}:
        return one.range.meet(other.range).empty
    if kinds != {"object"} or depth > 2:
        return False
    for name in {*one.required, *other.required}:
        mine, theirs = _member(one, name), _member(other, name)
        if mine is None or theirs is None:
            continue
        if (name in one.required and theirs is False) or (name in other.required and mine is False):
            return True
        if name in one.required and name in other.required:
            left, right = facts(Spot(mine, one.spots[0].base)), facts(Spot(theirs, other.spots[0].base))
            if disjoint(left, right, facts, depth + 1):
                return True
    return False


def _member(found: Facts, name: str) -> Any:
    """The schema of a property; False if it cannot be there, None if it is not plain."""
    declared = [
        spot.schema["properties"][name] for spot in found.spots if name in (spot.schema.get("properties") or {})
    ]
    if declared:
        return declared[0] if len(declared) == 1 else None
    closed = any(
        spot.schema.get("additionalProperties") is False and not spot.schema.get("patternProperties")
        for spot in found.spots
    )
    return False if closed else None
