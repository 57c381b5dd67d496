"""Members of objects and arrays in a row: which stand there, and what stands between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from antiphon.engines.schemas.enforce.rules import Alternative, Call, Many, Rules, Symbol, Text

_COMMA = Text(", ")
#: Rules for the members of one object or array.
_MAX_CHAIN = 2_500
#: Members that may be missing, from here on in blocks of as many.
_BLOCK = 60
#: Symbols that are put into one alternative.
_MAX_RUN = 150


@dataclass(frozen=True)
class Entry:
    """A member in its place: its symbols, and whether it must be there."""

    symbols: tuple[Symbol, ...]
    needed: bool


@dataclass(frozen=True)
class Open:
    """Members of any number after the others."""

    symbols: tuple[Symbol, ...]


class Rows:
    """Makes the rules of rows. `drop`: notes that a keyword is not held to, and why."""

    def __init__(self, rules: Rules, drop: Callable[[str, str], None]) -> None:
        self._rules = rules
        self._drop = drop

    def row(self, entries: Sequence[Entry], more: Open | None, least: int, most: int | None, *, keyword: str) -> str:
        """The rule for members in their order, of which some may be missing, and others after them."""
        if most is not None and most >= len(entries) and more is None:
            most = None
        if least <= sum(entry.needed for entry in entries):
            least = 0
        top = max(1, least, most or 0)
        if top == 1:
            entries = _in_runs(entries)
            if len(entries) > _BLOCK:
                return self._in_blocks(entries, more, least, most)
        if top > 1 and (len(entries) + 1) * top > _MAX_CHAIN:
            self._drop(keyword, "it is too large a number")
            least, most, top = 0, None, 1
        made: dict[tuple[int, int], str] = {}
        for i in range(len(entries), -1, -1):
            for count in range(min(i, top), -1, -1):
                rule = made[i, count] = self._rules.new()
                if i == len(entries):
                    self._rules.rules[rule] = _ending(more, count, least, most)
                    continue
                options: list[Alternative] = []
                if most is None or count < most:
                    after = made[i + 1, min(count + 1, top)]
                    options.append((*((_COMMA,) if count else ()), *entries[i].symbols, Call(after)))
                if not entries[i].needed:
                    options.append((Call(made[i + 1, count]),))
                self._rules.rules[rule] = options
        return made[0, 0]

    def _in_blocks(self, entries: Sequence[Entry], more: Open | None, least: int, most: int | None) -> str:
        """The same for many members, in blocks, so that rules do not nest as deeply as there are members."""
        after = []
        for count in (0, 1):
            after.append(self._rules.new())
            self._rules.rules[after[count]] = _ending(more, count, least, most)
        for first in range((len(entries) - 1) // _BLOCK * _BLOCK, -1, -_BLOCK):
            after = self._block(entries[first : first + _BLOCK], after)
        return after[0]

    def _block(self, entries: Sequence[Entry], after: Sequence[str]) -> list[str]:
        """Rules for a block and what comes after it, where no member stands before it, and where one does."""
        rules = self._rules
        tail = rules.new()
        rules.rules[tail] = [()]
        begun: list[list[Alternative]] = [[], []]
        for entry in reversed(entries):
            skipped = not entry.needed
            for count in (0, 1):
                way: Alternative = (*((_COMMA,) if count else ()), *entry.symbols, Call(tail))
                later = begun[count] if skipped else []
                begun[count] = [way]
                if later:
                    rest = rules.new()
                    rules.rules[rest] = later
                    begun[count].append((Call(rest),))
            following = rules.new()
            rules.rules[following] = [(_COMMA, *entry.symbols, Call(tail)), *([(Call(tail),)] if skipped else [])]
            tail = following
        made = []
        for count in (0, 1):
            inside, rule = rules.new(), rules.new()
            rules.rules[inside] = begun[count]
            rules.rules[rule] = [(Call(inside), Call(after[1]))]
            if not any(entry.needed for entry in entries):
                rules.rules[rule].append((Call(after[count]),))
            made.append(rule)
        return made


def _in_runs(entries: Sequence[Entry]) -> list[Entry]:
    """The same, with members that must be there put together: rules that nest deeply are more than the engine takes."""
    runs: list[Entry] = []
    for entry in entries:
        last = runs[-1] if runs else None
        if last is not None and last.needed and entry.needed and len(last.symbols) < _MAX_RUN:
            runs[-1] = Entry((*last.symbols, _COMMA, *entry.symbols), needed=True)
        else:
            runs.append(entry)
    return runs


def _ending(more: Open | None, count: int, least: int, most: int | None) -> list[Alternative]:
    """What may stand after `count` members."""
    options: list[Alternative] = [()] if count >= least else []
    low, high = max(least - count, 1), None if most is None else most - count
    if more is None or (high is not None and high < low):
        return options
    if count:
        options.append((Many((_COMMA, *more.symbols), low, high),))
    else:
        options.append((*more.symbols, Many((_COMMA, *more.symbols), low - 1, None if high is None else high - 1)))
    return options
