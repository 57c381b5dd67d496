"""The members of objects and arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import jsonschema_rs

from antiphon.engines.schemas.enforce import expressions
from antiphon.engines.schemas.enforce.document import Document
from antiphon.engines.schemas.enforce.facts import Conjunction, Facts, Spot
from antiphon.engines.schemas.enforce.patterns import Unsupported
from antiphon.engines.schemas.enforce.rows import Entry, Open, Rows
from antiphon.engines.schemas.enforce.rules import Alternative, Call, Many, Rules, Text
from antiphon.engines.schemas.enforce.values import checker, fitting

_COMMA = Text(", ")
#: Members that are asked for, or counted, at the most.
_MAX_COUNT = 5_000
#: Values of a list without repetitions.
_MAX_UNIQUE = 40


class ValueCompiler(Protocol):
    """What the rules of objects and arrays need of the compiler that makes them: rules for the values inside.

    `strict`, `arguments`: see `compiler.compile_schema`.
    """

    document: Document
    rules: Rules
    strict: bool
    arguments: bool

    def drop(self, keyword: str, why: str | Unsupported) -> None:
        """Note that a keyword is not enforced, and why."""

    def spot(self, schema: Any, base: str) -> Spot:
        """A place in the schema, or a schema that was made while compiling."""

    def facts_of(self, conjunction: Conjunction) -> Facts:
        """What several schemas say together, their alternatives apart."""

    def value(self, conjunction: Conjunction) -> str:
        """The name of the rule for a value that fits all of these."""

    def string(self, facts: Facts, *, besides: Sequence[str] = ()) -> list[Alternative]:
        """The alternatives for a string. `besides`: expressions that it must match too."""


class Members:
    """Makes the rules of objects and arrays for a compiler."""

    def __init__(self, compiler: ValueCompiler) -> None:
        self._compiler = compiler
        self._rules = compiler.rules
        self._rows = Rows(compiler.rules, compiler.drop)

    # --- objects ------------------------------------------------------------------------------------------------------
    def object(self, facts: Facts) -> list[Alternative]:
        """An object: its declared members in their order, then others."""
        names = list(dict.fromkeys(name for spot in facts.spots for name in spot.get("properties") or ()))
        names += [name for name in dict.fromkeys(facts.required) if name not in names]
        allowed = self._names(facts)
        entries = []
        for name in names:
            if not allowed(name):
                if name in facts.required:
                    return []
                continue
            value = self._compiler.value(self._declared(facts, name))
            key = json.dumps(name, ensure_ascii=False)
            entries.append(Entry((Text(f"{key}: "), Call(value)), name in facts.required))
        least, most = facts.properties
        more = self._more(facts, names, short=len(entries) < least)
        if least > len(entries) + 1 and more is not None:
            # Names that are drawn twice count once.
            self._compiler.drop("minProperties", "names that are not declared may be equal")
        chain = self._rows.row(entries, more, least, most, keyword="minProperties")
        return [(Text("{"), Call(chain), Text("}"))]

    def _declared(self, facts: Facts, name: str) -> Conjunction:
        """What all schemas say of a member of this name."""
        parts: list[Spot] = []
        for spot in facts.spots:
            properties, patterns = spot.get("properties") or {}, spot.get("patternProperties") or {}
            found = [properties[name]] if name in properties else []
            found += [schema for pattern, schema in patterns.items() if _matches(pattern, name)]
            if not found and spot.get("additionalProperties") is not None:
                found = [spot.get("additionalProperties")]
            parts += [Spot(schema, spot.base) for schema in found]
        return tuple(parts) or self._anything()

    def _anything(self) -> Conjunction:
        return (self._compiler.spot(True, self._compiler.document.base),)

    def _names(self, facts: Facts) -> Callable[[str], bool]:
        """Whether a name is one that `propertyNames` allows."""
        checks = []
        for spot in facts.spots:
            if (wanted := spot.get("propertyNames")) is not None:
                root = self._compiler.document.root
                more = {key: root[key] for key in ("$defs", "definitions", "$schema") if key in root}
                try:
                    checks.append(checker({**more, "allOf": [wanted]}))
                except (ValueError, jsonschema_rs.ReferencingError):
                    self._compiler.drop("propertyNames", "it cannot be checked")
        return lambda name: all(check.is_valid(name) for check in checks)

    def _more(self, facts: Facts, declared: Sequence[str], *, short: bool) -> Open | None:
        """Members that are not declared; None: there are none. `short`: without them there are too few."""
        patterns = list(dict.fromkeys(text for spot in facts.spots for text in spot.get("patternProperties") or ()))
        kinds = []
        for pattern in patterns:
            others = [other for other in patterns if other != pattern]
            value = [
                Spot(found[pattern] if pattern in found else spot.get("additionalProperties"), spot.base)
                for spot in facts.spots
                if pattern in (found := spot.get("patternProperties") or {})
                or spot.get("additionalProperties") is not None
            ]
            kinds.append(self._named(facts, tuple(value), declared, matching=pattern, others=others))
        if not self._closed(facts, declared, short=short):
            value = [
                Spot(schema, spot.base)
                for spot in facts.spots
                for keyword in ("additionalProperties", "unevaluatedProperties")
                if (schema := spot.get(keyword)) is not None
            ]
            kinds.append(self._named(facts, tuple(value) or self._anything(), declared, others=patterns))
        made = [each for each in kinds if each is not None]
        if not made:
            return None
        rule = self._rules.new()
        self._rules.rules[rule] = made
        return Open((Call(rule),))

    def _closed(self, facts: Facts, declared: Sequence[str], *, short: bool) -> bool:
        """Whether names that are not declared, and match no pattern, are not drawn."""
        said = [
            spot.get(keyword)
            for spot in facts.spots
            for keyword in ("additionalProperties", "unevaluatedProperties")
            if spot.get(keyword) is not None
        ]
        if False in said:
            return True
        if said or short or self._compiler.strict:
            return False
        at_root = self._compiler.arguments and any(spot.schema is self._compiler.document.root for spot in facts.spots)
        return at_root or bool(declared) or any(spot.get("patternProperties") for spot in facts.spots)

    def _named(
        self, facts: Facts, value: Conjunction, declared: Sequence[str], *, matching: str = "", others: Sequence[str]
    ) -> Alternative | None:
        """A member whose name is not declared, matches one pattern (if any), and none of the `others`."""
        try:
            conditions = [expressions.pattern(matching)] if matching else []
            conditions += [f"~({expressions.pattern(other, wide=True)})" for other in others]
        except Unsupported as problem:
            self._compiler.drop("patternProperties", problem)
            return None
        conditions += [f"~({expressions.literal(name)})" for name in declared]
        spots = tuple(
            Spot(wanted, spot.base) for spot in facts.spots if (wanted := spot.get("propertyNames")) is not None
        )
        key = self._key(spots, conditions)
        return (Call(key), Text(": "), Call(self._compiler.value(value)))

    def _key(self, names: Conjunction, conditions: Sequence[str]) -> str:
        rule = self._rules.new()
        facts = self._compiler.facts_of(names)
        if any(spot.get(keyword) is not None for spot in facts.spots for keyword in _CHOICES):
            self._compiler.drop("propertyNames", "alternatives in it are not supported")
        if facts.values is not None:
            wanted = [
                value
                for value in fitting(facts, self._compiler.document.root, self._compiler.drop)
                if isinstance(value, str)
            ]
            listed = [expressions.literal(value) for value in wanted]
            conditions = [*conditions, expressions.either(listed) if listed else "(/x/ & /y/)"]
        self._rules.rules[rule] = self._compiler.string(facts, besides=conditions) if "string" in facts.kinds else []
        return rule

    # --- arrays -------------------------------------------------------------------------------------------------------
    def array(self, facts: Facts) -> list[Alternative]:
        """An array: the items in their places, then others."""
        least, most = facts.items
        places, rest = self._places(facts)
        if least > _MAX_COUNT:
            self._compiler.drop("minItems", f"{least} items are too many")
            least = _MAX_COUNT
        if facts.unique and (most is None or most > 1):
            entries = self._unique(facts, places, rest)
            if entries is not None:
                return [(Text("["), Call(self._rows.row(entries, None, least, most, keyword="minItems")), Text("]"))]
            self._compiler.drop("uniqueItems", "only items of a short list of values can be held apart")
        contained = [(spot, spot.get("contains")) for spot in facts.spots if spot.get("contains") is not None]
        more = [Spot(schema, spot.base) for spot, schema in contained]
        if contained and (len(places) or any(spot.get("maxContains") is not None for spot, _ in contained)):
            self._compiler.drop("contains", "this form of it is not supported")
            more = []
        wanted = max(
            (1 if spot.get("minContains") is None else int(spot.get("minContains")) for spot, _ in contained), default=0
        )
        if more and wanted:
            # Items that fit come first: one schema of several is enough for none of them, so each fits all.
            places = [(*(rest or self._anything()), *more)] * min(wanted, 20)
            least = max(least, len(places))
        items = [Call(self._compiler.value(place)) for place in places]
        chain = self._sequence(items, rest, least, most)
        return [(Text("["), Call(chain), Text("]"))]

    def _places(self, facts: Facts) -> tuple[list[Conjunction], Conjunction | None]:
        """What stands in the first places, and what in all others; None: nothing."""
        lists: list[tuple[list[Any], Any, str]] = []
        for spot in facts.spots:
            items, prefix = spot.get("items"), spot.get("prefixItems") or []
            if isinstance(items, list):
                prefix, items = items, spot.get("additionalItems")
            if items is None:
                items = spot.get("unevaluatedItems")
            lists.append((prefix, items, spot.base))
        count = max((len(prefix) for prefix, _, _ in lists), default=0)
        places = []
        for i in range(count):
            found = [(prefix[i] if i < len(prefix) else items, base) for prefix, items, base in lists]
            places.append(tuple(Spot(schema, base) for schema, base in found if schema is not None) or self._anything())
        rest = tuple(Spot(items, base) for _, items, base in lists if items is not None)
        if any(spot.schema is False for spot in rest):
            return places, None
        return places, rest or self._anything()

    def _sequence(self, items: Sequence[Call], rest: Conjunction | None, least: int, most: int | None) -> str:
        """The rule for the inside of an array."""
        other = Call(self._compiler.value(rest)) if rest is not None else None
        count = len(items)
        tail = self._tail(other, first=count == 0, least=least - count, most=None if most is None else most - count)
        for i in range(count - 1, -1, -1):
            rule = self._rules.new()
            made: list[Alternative] = [()] if i >= least else []
            if most is None or i < most:
                made.append((*((_COMMA,) if i else ()), items[i], Call(tail)))
            self._rules.rules[rule] = made
            tail = rule
        return tail

    def _tail(self, other: Call | None, *, first: bool, least: int, most: int | None) -> str:
        rule = self._rules.new()
        made: list[Alternative] = [()] if least <= 0 else []
        if most is not None:
            most = min(most, max(_MAX_COUNT, least))
        if other is not None and (most is None or most > 0) and not (most is not None and most < least):
            if first:
                rest = Many((_COMMA, other), max(least - 1, 0), None if most is None else most - 1)
                made.append((other, rest))
            else:
                made.append((Many((_COMMA, other), max(least, 1), most),))
        self._rules.rules[rule] = made
        return rule

    def _unique(self, facts: Facts, places: Sequence[Conjunction], rest: Conjunction | None) -> list[Entry] | None:
        """The values of a short list, each of which may be there once, in the list's order."""
        if places or rest is None or any(spot.get("contains") is not None for spot in facts.spots):
            return None
        found = self._compiler.facts_of(rest)
        if found.values is None or any(spot.get(key) is not None for spot in found.spots for key in _CHOICES):
            return None
        values = fitting(found, self._compiler.document.root, self._compiler.drop)[:_MAX_UNIQUE]
        return [Entry((Text(json.dumps(value, ensure_ascii=False)),), needed=False) for value in values]


_CHOICES = ("anyOf", "oneOf", "not", "if")


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> Any:
    return checker({"pattern": pattern})


def _matches(pattern: str, name: str) -> bool:
    try:
        return bool(_matcher(pattern).is_valid(name))
    except (ValueError, jsonschema_rs.ReferencingError):
        return False
