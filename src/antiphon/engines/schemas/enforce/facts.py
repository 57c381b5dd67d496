"""What several schemas together say about one value: their keywords, conjoined."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from antiphon.engines.schemas.enforce.numbers import Range

#: Kinds of values. "number" is a whole one or a broken one, so that `integer` is one kind and not a part of another.
KINDS = ("object", "array", "string", "integer", "broken", "boolean", "null")
_OF_TYPE = {"number": ("integer", "broken"), **{kind: (kind,) for kind in KINDS if kind != "broken"}}
#: Keywords that say nothing about which values fit.
SILENT = frozenset({"title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly"})
#: Keywords of our own, which no schema of a client has: they cannot be written in JSON Schema so briefly.
KINDS_KEY, NOT_PATTERN_KEY = "\0kinds", "\0notPattern"


@dataclass(frozen=True, eq=False)
class Spot:
    """A schema with the base of its `$ref`s. `done`: keywords that are accounted for elsewhere."""

    schema: Any
    base: str
    done: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[int, str, frozenset[str]]:
        """Equal for spots that say the same."""
        return id(self.schema), self.base, self.done

    def without(self, *keywords: str) -> Spot:
        """The same with more that is accounted for."""
        return Spot(self.schema, self.base, self.done | set(keywords))

    def get(self, keyword: str) -> Any:
        """A keyword's value, or None."""
        return None if keyword in self.done else self.schema.get(keyword)


Conjunction = tuple[Spot, ...]


@dataclass
class Facts:
    """The keywords of a conjunction, apart from those that are choices. `spots`: where they are from."""

    spots: list[Spot] = field(default_factory=list)
    kinds: set[str] = field(default_factory=lambda: set(KINDS))
    values: list[Any] | None = None
    excluded: list[Any] = field(default_factory=list)
    patterns: list[str] = field(default_factory=list)
    not_patterns: list[str] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    length: tuple[int, int | None] = (0, None)
    range: Range = field(default_factory=Range)
    items: tuple[int, int | None] = (0, None)
    properties: tuple[int, int | None] = (0, None)
    required: list[str] = field(default_factory=list)
    unique: bool = False
    never: bool = False

    def add(self, spot: Spot, *, old: bool) -> None:
        """Take in what a schema says. `old`: as drafts up to 7 say it."""
        self.spots.append(spot)
        get = spot.get
        if (wanted := get("type")) is not None:
            names = [wanted] if isinstance(wanted, str) else wanted
            self.kinds &= {kind for name in names for kind in _OF_TYPE[name]}
        if (kinds := get(KINDS_KEY)) is not None:
            self.kinds &= set(kinds)
        if (values := get("enum")) is not None:
            self._only(values)
        if "const" in spot.schema and "const" not in spot.done:
            self._only([spot.schema["const"]])
        if is_value(get("not")):
            self.excluded += spot.schema["not"].get("enum", [spot.schema["not"].get("const")])
        for keyword, known in (
            ("pattern", self.patterns),
            (NOT_PATTERN_KEY, self.not_patterns),
            ("format", self.formats),
        ):
            if isinstance(text := get(keyword), str) and text not in known:
                known.append(text)
        self.required += [name for name in get("required") or () if name not in self.required]
        self.unique = self.unique or get("uniqueItems") is True
        self.length = _narrower(self.length, get("minLength"), get("maxLength"))
        self.items = _narrower(self.items, get("minItems"), get("maxItems"))
        self.properties = _narrower(self.properties, get("minProperties"), get("maxProperties"))
        self.range = self.range.meet(_range(spot, old=old))

    def _only(self, values: Sequence[Any]) -> None:
        wanted = [value for i, value in enumerate(values) if not _among(value, values[:i])]
        self.values = wanted if self.values is None else [each for each in self.values if _among(each, wanted)]


def is_value(schema: Any) -> bool:
    """Whether a schema only lists values."""
    return isinstance(schema, dict) and schema.keys() - SILENT in ({"enum"}, {"const"})


def kind_of(value: Any) -> str:
    """The kind of a JSON value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    kinds = {float: "broken", str: "string", list: "array", dict: "object"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "null")


def kinds_of_type(wanted: str | Sequence[str]) -> set[str]:
    """The kinds of a `type`."""
    return {kind for name in ([wanted] if isinstance(wanted, str) else wanted) for kind in _OF_TYPE[name]}


def same(value: Any) -> str:
    """Equal for values that JSON Schema holds to be equal."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _among(value: Any, values: Iterable[Any]) -> bool:
    wanted = same(value)
    return any(same(each) == wanted for each in values)


def fraction(number: float) -> Fraction:
    """A number as it is written; a double's shortest spelling."""
    return Fraction(str(number)) if isinstance(number, float) else Fraction(number)


def _narrower(known: tuple[int, int | None], least: Any, most: Any) -> tuple[int, int | None]:
    low, high = known
    if isinstance(least, int):
        low = max(low, least)
    if isinstance(most, int):
        high = most if high is None else min(high, most)
    return low, high


def _range(spot: Spot, *, old: bool) -> Range:
    low, high = spot.get("minimum"), spot.get("maximum")
    open_low, open_high = spot.get("exclusiveMinimum"), spot.get("exclusiveMaximum")
    step = spot.get("multipleOf")
    steps = (fraction(step),) if step else ()
    found = Range(steps=steps)
    if low is not None:
        found = found.meet(Range(low=fraction(low), low_open=old and open_low is True))
    if high is not None:
        found = found.meet(Range(high=fraction(high), high_open=old and open_high is True))
    if open_low is not None and not isinstance(open_low, bool):
        found = found.meet(Range(low=fraction(open_low), low_open=True))
    if open_high is not None and not isinstance(open_high, bool):
        found = found.meet(Range(high=fraction(open_high), high_open=True))
    return found
