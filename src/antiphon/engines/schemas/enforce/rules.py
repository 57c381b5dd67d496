"""The rules of a grammar while they are made, and as llguidance's Lark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from antiphon.engines.schemas.enforce.patterns import Unsupported
from antiphon.engines.schemas.guidance import Matcher, empty

#: Rules of one schema. More are those of a schema whose alternatives multiply.
MAX_RULES = 20_000

_CHARACTER = (
    r'[^"\\\x00-\x1f\x7f]|\\["\\\/bfnrt]'
    r"|\\u(?:000[1-9a-fA-F]|00[1-9a-fA-F][0-9a-fA-F]|0[1-9a-fA-F][0-9a-fA-F]{2}"
    r"|[1-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}"
    r"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
#: Any string and any number of JSON, but half characters and NUL.
STRING = f'/"(?:{_CHARACTER})*"/'
NUMBER = r"/-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+\-]?[0-9]{1,2})?/"
ANY = "any"
_ANY_RULES = f"""any: "null" | "true" | "false" | ANYSTRING | ANYNUMBER | anyarray | anyobject
anyarray: "[" (any (", " any)*)? "]"
anyobject: "{{" (anymember (", " anymember)*)? "}}"
anymember: ANYSTRING ": " any
ANYSTRING: {STRING}
ANYNUMBER: {NUMBER}
"""


@dataclass(frozen=True)
class Text:
    """What stands there as it is."""

    text: str


@dataclass(frozen=True)
class Call:
    """Another rule, or a terminal."""

    name: str


@dataclass(frozen=True)
class Many:
    """Symbols from `least` to `most` times; None: without an end."""

    symbols: tuple[Symbol, ...]
    least: int
    most: int | None


Symbol = Text | Call | Many
Alternative = tuple[Symbol, ...]


@dataclass
class Rules:
    """Rules by name, each a list of alternatives, and terminals by expression."""

    rules: dict[str, list[Alternative]] = field(default_factory=dict)
    raw: dict[str, str] = field(default_factory=dict)
    _terminals: dict[str, str] = field(default_factory=dict)
    _empty: set[str] = field(default_factory=set)

    def new(self, name: str = "") -> str:
        """A rule's name, and a place for its alternatives. Raises `Unsupported` if there are too many."""
        if len(self.rules) >= MAX_RULES:
            raise Unsupported("its alternatives multiply")
        made = name or f"r{len(self.rules)}"
        self.rules[made] = []
        return made

    def terminal(self, expression: str) -> Call:
        """The terminal with this expression; it may match nothing at all (see `matches`)."""
        name = self._terminals.get(expression)
        if name is None:
            name = self._terminals[expression] = f"T{len(self._terminals)}"
            if not _matches(expression):
                self._empty.add(name)
        return Call(name)

    def matches(self, call: Call) -> bool:
        """Whether anything matches a terminal."""
        return call.name not in self._empty

    def productive(self, root: str) -> bool:
        """Whether any text fits `root`. Alternatives that no text fits are taken away."""
        alive: set[str] = {ANY, *self.raw, *self._terminals.values()} - self._empty
        grown = True
        while grown:
            grown = False
            for name, alternatives in self.rules.items():
                if name not in alive and any(_alive(each, alive) for each in alternatives):
                    alive.add(name)
                    grown = True
        for name, alternatives in self.rules.items():
            self.rules[name] = [_pruned(each, alive) for each in alternatives if _alive(each, alive)]
        return root in alive

    def lark(self, root: str) -> str:
        """The grammar whose texts are those of `root`."""
        reached = _reached(root, self.rules)
        lines = [f"start: {root}"]
        lines += [f"{name}: {_alternatives(self.rules[name])}" for name in self.rules if name in reached]
        lines += [f"{name}: {text}" for name, text in self.raw.items() if name in reached]
        lines += [f"{name}: {text}" for text, name in self._terminals.items() if name in reached]
        return "\n".join(lines) + "\n" + (_ANY_RULES if ANY in reached else "")


def _matches(expression: str) -> bool:
    grammar = f"start: T\nT: {expression}\n"
    if problem := Matcher(grammar).problem:
        raise Unsupported(f"the engine does not take it: {' '.join(problem.split())[:200]}")
    # Only what two conditions must both match can have no match at all.
    return ("&" not in expression and "~" not in expression) or not empty(grammar)


def _alive(symbols: Iterable[Symbol], alive: set[str]) -> bool:
    return all(
        isinstance(each, Text)
        or (isinstance(each, Call) and each.name in alive)
        or (isinstance(each, Many) and (each.least == 0 or _alive(each.symbols, alive)))
        for each in symbols
    )


def _pruned(symbols: Alternative, alive: set[str]) -> Alternative:
    return tuple(each for each in symbols if not isinstance(each, Many) or _alive(each.symbols, alive))


def _reached(root: str, rules: Mapping[str, list[Alternative]]) -> set[str]:
    reached: set[str] = set()
    waiting: list[Symbol] = [Call(root)]
    while waiting:
        symbol = waiting.pop()
        if isinstance(symbol, Many):
            waiting += symbol.symbols
        elif isinstance(symbol, Call) and symbol.name not in reached:
            reached.add(symbol.name)
            waiting += [each for alternative in rules.get(symbol.name, ()) for each in alternative]
    return reached


def _alternatives(alternatives: Iterable[Alternative]) -> str:
    return " | ".join(dict.fromkeys(" ".join(map(_symbol, each)) or '""' for each in alternatives))


def _symbol(symbol: Symbol) -> str:
    match symbol:
        case Text():
            return json.dumps(symbol.text)
        case Call():
            return symbol.name
        case Many():
            if symbol.most == 0:
                return '""'
            inner = " ".join(map(_symbol, symbol.symbols))
            if symbol.most is None:
                return f"({inner})*" if symbol.least == 0 else f"({inner}){{{symbol.least},}}"
            return f"({inner}){{{symbol.least},{symbol.most}}}"
