"""Shapes: request schemas in the form that is quick to check and easy to blame.

A shape is a JSON object with one rule for each JSON type that it takes (and no other member):

    {"any": true}                                        anything
    {"ref": "Name"}                                      the shape of that name
    {"null": true}                                       null
    {"boolean": {}}
    {"integer": {minimum?, maximum?}}                    1.0 counts as an integer, true does not
    {"number": {minimum?, maximum?}}
    {"string": {enum?, minLength?, maxLength?, pattern?}}
    {"array": {items, minItems?, maxItems?}}
    {"object": {properties, required, others?, maxProperties?, names?}}
                                                         `others`: shape of all other members; without it there are none
    {"switch": {on, cases, without?}}                    an object of one of several shapes, chosen by its member `on`;
                                                         `without`: pairs [member, shape]; the first member that is
                                                         there chooses, where `on` is not

So a union is decided by looking at the value once, and what is wrong with it is always said of one branch.
`scripts/extract_schemas.py` makes shapes from JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from antiphon.wire import problems
from antiphon.wire.problems import Fault

#: What may be the name of a type that is not known here.
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")

Shape = Mapping[str, Any]
Rule = Callable[[Any], Fault | None]

_ARTICLES = {
    "boolean": "a boolean",
    "integer": "an integer",
    "number": "a decimal",
    "string": "a string",
    "array": "an array",
    "object": "an object",
    "switch": "an object",
    "null": "null",
}
_PLURALS = {"object": "objects", "switch": "objects", "string": "strings", "integer": "integers", "number": "decimals"}


class Compiler:
    """Compiles the shapes of one bundle to rules: functions from a value to its first fault, or None.

    Named shapes are compiled when a value first needs them. `lenient`: members that an object does not have, and names
    of types that a switch does not know, are no fault; all else is.
    """

    def __init__(self, bundle: Mapping[str, Shape], *, lenient: bool = False) -> None:
        self._bundle = bundle
        self._lenient = lenient
        self._named: dict[str, Rule] = {}

    def named(self, name: str) -> Rule:
        """The rule of a named shape."""
        rule = self._named.get(name)
        if rule is None:
            rule = self._named[name] = self.compile(self._bundle[name])
        return rule

    def resolve(self, shape: Shape) -> Shape:
        """`shape` with a leading reference replaced by what it refers to."""
        while "ref" in shape:
            extra = {kind: rule for kind, rule in shape.items() if kind != "ref"}
            shape = {**self._bundle[shape["ref"]], **extra}
        return shape

    def compile(self, shape: Shape) -> Rule:
        """The rule of any shape."""
        if "any" in shape:
            return _accept
        if set(shape) == {"ref"}:
            return self._reference(shape["ref"])
        shape = self.resolve(shape)
        table: dict[type, Rule] = {}
        for kind, rules in shape.items():
            rule = self._of_kind(kind, rules)
            for type_ in _TYPES[kind]:
                table[type_] = rule
        return self._by_type(table, self._expected(shape))

    def optional(self, shape: Shape) -> Rule:
        """The rule of a member that need not be there: null says the same as leaving it out."""
        rule = self.compile({kind: rules for kind, rules in shape.items() if kind != "null"})
        return rule if rule is _accept else lambda value: None if value is None else rule(value)

    def _of_kind(self, kind: str, rules: Any) -> Rule:
        if kind == "object":
            return self.object_rule(rules)
        if kind == "switch":
            return self._switch(rules)
        if kind == "array":
            return self._array(rules)
        if kind == "string":
            return _string(rules)
        if kind in ("integer", "number"):
            return _number(rules, "integer" if kind == "integer" else "decimal")
        return _accept

    def _reference(self, name: str) -> Rule:
        def check(value: Any) -> Fault | None:
            # Looked up when needed: shapes may refer to themselves, and most requests need few of them.
            return self.named(name)(value)

        return check

    def _by_type(self, table: dict[type, Rule], expected: str) -> Rule:
        find = table.get

        def check(value: Any) -> Fault | None:
            rule = find(type(value))
            return rule(value) if rule is not None else problems.wrong_type(expected, value)

        return check

    def _expected(self, shape: Shape) -> str:
        """Words for what a shape takes, such as "one of a string or array of objects"."""
        words = []
        for kind, rules in shape.items():
            word = _ARTICLES[kind]
            if kind == "array":
                plurals = [_PLURALS[inner] for inner in self.resolve(rules["items"]) if inner in _PLURALS]
                word += f" of {plurals[0]}" if len(plurals) == 1 else ""
            if kind != "null" or len(shape) == 1:
                words.append(word)
        if len(words) == 1:
            return words[0]
        bare = [words[0], *(word.split(" ", 1)[1] for word in words[1:])]
        return f"one of {', '.join(bare[:-1])} or {bare[-1]}"

    def _array(self, rules: Mapping[str, Any]) -> Rule:
        item_rule = self.compile(rules["items"])
        low, high = rules.get("minItems", 0), rules.get("maxItems")

        def check(value: list[Any]) -> Fault | None:
            if high is not None and len(value) > high:
                return problems.too_long("array", len(value), high)
            if len(value) < low:
                return problems.too_short("array", len(value), low)
            if item_rule is _accept:
                return None
            for index, item in enumerate(value):
                fault = item_rule(item)
                if fault is not None:
                    fault.trace.append(index)
                    return fault
            return None

        return check

    def object_rule(self, rules: Mapping[str, Any], *, tolerant: bool = False) -> Rule:
        """The rule of an object. `tolerant`: members that it does not have are no fault."""
        required = tuple(rules["required"])
        members = {
            name: self.compile(shape) if name in required else self.optional(shape)
            for name, shape in rules["properties"].items()
        }
        free = tolerant or (self._lenient and "others" not in rules)
        others = _accept if free else self.compile(rules["others"]) if "others" in rules else None
        most = rules.get("maxProperties")
        name_rule = _string(rules["names"]) if "names" in rules else None

        def unnamed(name: str, value: Any) -> Fault | None:
            """Check a member that `properties` does not name."""
            if others is None:
                # A client may replay an object with the nulls of fields that only its own library knows.
                return None if value is None else problems.unknown_parameter()
            fault = name_rule(name) if name_rule is not None else None
            return fault if fault is not None else others(value)

        def check(value: dict[str, Any]) -> Fault | None:
            for name in required:
                if name not in value:
                    return problems.missing_parameter(name)
            if most is not None and len(value) > most:
                return problems.too_many_members(len(value), most)
            for name, item in value.items():
                rule = members.get(name)
                fault = rule(item) if rule is not None else unnamed(name, item)
                if fault is not None:
                    fault.trace.append(name)
                    return fault
            return None

        return check

    def _switch(self, rules: Mapping[str, Any]) -> Rule:
        on: str = rules["on"]
        cases = {value: self.compile(shape) for value, shape in rules["cases"].items()}
        without = [(name, self.compile(shape)) for name, shape in rules.get("without", [])]

        def check(value: dict[str, Any]) -> Fault | None:
            tag = value.get(on)
            if type(tag) is str:
                rule = cases.get(tag)
                if rule is not None:
                    return rule(value)
                if self._lenient and on == "type" and _WORD.fullmatch(tag):
                    return None
                fault = problems.wrong_value(tag, list(cases))
            elif tag is None:
                for name, rule in without:
                    if name in value:
                        return rule(value)
                return problems.missing_parameter(on)
            else:
                fault = problems.wrong_type("a string", tag)
            fault.trace.append(on)
            return fault

        return check


_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
    "switch": (dict,),
}


def _accept(_value: object) -> Fault | None:
    return None


def _number(rules: Mapping[str, Any], kind: str) -> Rule:
    low, high = rules.get("minimum"), rules.get("maximum")

    def check(value: float) -> Fault | None:
        if kind == "integer" and type(value) is float and not value.is_integer():
            return problems.wrong_type("an integer", value)
        if high is not None and not value <= high:  # "not <=" refuses NaN as well
            return problems.out_of_range(kind, value, high, above=True)
        if low is not None and not value >= low:
            return problems.out_of_range(kind, value, low, above=False)
        return None

    return check


def _string(rules: Mapping[str, Any]) -> Rule:
    values = dict.fromkeys(rules["enum"]) if "enum" in rules else None
    if values is not None:
        return lambda value: None if value in values else problems.wrong_value(value, list(values))
    low, high = rules.get("minLength", 0), rules.get("maxLength")
    pattern: str = rules.get("pattern", "")
    # Python's "$" also matches before a line's end; JSON Schema's does not.
    match = re.compile(pattern.removesuffix("$") + r"\Z").search if pattern else None
    if not low and high is None and match is None:
        return _accept

    def check(value: str) -> Fault | None:
        if len(value) < low:
            return problems.too_short("string", len(value), low)
        if high is not None and len(value) > high:
            return problems.too_long("string", len(value), high)
        if match is not None and match(value) is None:
            return problems.wrong_pattern(pattern)
        return None

    return check
