"""From the tree of a pattern to an expression for the inside of a JSON string, in llguidance's dialect of Lark.

An expression is made of regular expressions in slashes, strings, `|`, `&` (both must match) and `~` (must not match).
With these, look-arounds and edges of words need no machine that remembers: "what follows must be X" is a condition on
the rest of the string. They are understood wherever they are not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Literal

from antiphon.engines.schemas.enforce import charsets
from antiphon.engines.schemas.enforce.patterns import (
    EMPTY,
    Chars,
    Choice,
    Edge,
    Look,
    Node,
    Repeat,
    Unsupported,
    parse,
)
from antiphon.engines.schemas.enforce.patterns import Sequence as Parts

#: Ways through a pattern whose look-arounds, edges and choices are taken apart.
_MAX_WAYS = 64
_ONE = charsets.ANY.spelled()
_WORD = charsets.WORD.spelled()
_OTHER = charsets.WORD.inverse().spelled()
#: Any text.
ANYTHING = f"/(?:{_ONE})*/"
NOTHING = '""'


@dataclass(frozen=True)
class _Tempered:
    """`(?:(?!stop)one)*` at the end of a text: nowhere in it does `stop` begin."""

    one: Node
    stop: Node
    least: int


_Item = Node | _Tempered
_Way = tuple[_Item, ...]


def pattern(text: str, *, wide: bool = False) -> str:
    """An expression for the strings that a pattern is found in. `wide`: for more of them, where it is not plain.

    Raises `Unsupported`.
    """
    ways = _ways(parse(text, wide=wide))
    if wide and any(_splits(item) for way in ways for item in way):
        raise Unsupported("edges of words in it cannot be turned into their opposite")
    return either([_whole(way) for way in ways])


def lengths(least: int, most: int | None) -> str:
    """An expression for the strings of so many characters."""
    return f"/(?:{_ONE}){{{least},{'' if most is None else most}}}/"


def literal(text: str) -> str:
    """An expression for one string."""
    return f"/{''.join(charsets.of([ord(character)]).spelled() for character in text)}/" if text else NOTHING


def either(expressions: Sequence[str]) -> str:
    """What any of these matches. Raises `Unsupported` for none."""
    if not expressions:
        raise Unsupported("nothing matches it")
    return expressions[0] if len(expressions) == 1 else f"({' | '.join(expressions)})"


def both(*expressions: str) -> str:
    """What all of these match."""
    wanted = [each for each in dict.fromkeys(expressions) if each != ANYTHING]
    if all(each.startswith("~") for each in wanted):
        # The opposite of a text is anything else, also bytes that are no text.
        wanted = [ANYTHING, *wanted]
    return wanted[0] if len(wanted) == 1 else f"({' & '.join(wanted)})"


def without(expression: str, *unwanted: str) -> str:
    """What `expression` matches and none of `unwanted` does."""
    return both(expression, *(f"~({each})" for each in unwanted))


# --- ways through a pattern -------------------------------------------------------------------------------------------
def _has_condition(node: Node) -> bool:
    match node:
        case Edge() | Look():
            return True
        case Parts():
            return any(map(_has_condition, node.parts))
        case Choice():
            return any(map(_has_condition, node.options))
        case Repeat():
            return _has_condition(node.node)
    return False


def _ways(node: Node) -> list[_Way]:
    """The sequences that a tree stands for, so that its conditions stand at the top."""
    if not _has_condition(node):
        return [(node,)]
    match node:
        case Choice():
            ways = [way for option in node.options for way in _ways(option)]
        case Parts():
            ways = [tuple(item for way in each for item in way) for each in _bounded(list(map(_ways, node.parts)))]
        case Repeat():
            ways = _repeated(node)
        case _:
            ways = [(node,)]
    if len(ways) > _MAX_WAYS:
        raise Unsupported("it has too many look-arounds or edges")
    return ways


def _bounded(choices: list[list[_Way]]) -> list[tuple[_Way, ...]]:
    if reduce(lambda count, ways: count * len(ways), choices, 1) > _MAX_WAYS:
        raise Unsupported("it has too many look-arounds or edges")
    return list(product(*choices))


def _repeated(node: Repeat) -> list[_Way]:
    if node.most == 0:
        return [(EMPTY,)]
    if node.most == 1:
        return _ways(node.node) if node.least else [(EMPTY,), *_ways(node.node)]
    match node.node:
        case Parts(parts=(Look(behind=False, negative=True) as stop, Chars() as one)) if node.most is None:
            return [(_Tempered(one, stop.node, node.least),)]
    raise Unsupported("it repeats a look-around or an edge")


def _whole(way: _Way) -> str:
    """The strings that one way is found in."""
    way, started = _cut(way, "start")
    backward, ended = _cut(tuple(reversed(way)), "end")
    return _rest(tuple(reversed(backward)), before=NOTHING if started else ANYTHING, ended=ended)


def _cut(way: _Way, kind: Literal["start", "end"]) -> tuple[_Way, bool]:
    """The way without an anchor and without what before it can only match nothing. `Unsupported` if that must match."""
    edge = Edge(kind)
    at = next((i for i in range(len(way) - 1, -1, -1) if way[i] == edge), None)
    if at is None:
        return way, False
    kept = []
    for item in way[:at]:
        if isinstance(item, Look):
            kept.append(item)
        elif item != edge and (isinstance(item, _Tempered | Edge) or not _nullable(item)):
            raise Unsupported("it has an anchor where text must stand")
    return (*kept, *way[at + 1 :]), True


def _nullable(node: Node | _Tempered) -> bool:
    match node:
        case Parts():
            return all(map(_nullable, node.parts))
        case Choice():
            return any(map(_nullable, node.options))
        case Repeat():
            return node.least == 0 or _nullable(node.node)
    return False


def _rest(way: _Way, *, before: str, ended: bool) -> str:
    """`before`, then the way, then anything unless it has `ended`."""
    if before == NOTHING and way and isinstance(way[0], Look) and not way[0].behind:
        return _looked(_rest(way[1:], before=before, ended=ended), way[0])
    split = next((i for i in range(len(way) - 1, -1, -1) if _splits(way[i])), None)
    if split is None:
        return _joined(before, _forward(way, ended=ended))
    item = way[split]
    if any(isinstance(each, Look | _Tempered) and not getattr(each, "behind", False) for each in way[:split]):
        raise Unsupported("it looks ahead over an edge of a word or a look behind")
    left = _rest(way[:split], before=before, ended=True)
    right = _forward(way[split + 1 :], ended=ended)
    if isinstance(item, Look):
        return _joined(_behind(left, item), right)
    assert isinstance(item, Edge)
    return _edge(left, right, inside=item.kind == "inside")


def _splits(item: _Item) -> bool:
    return (isinstance(item, Edge) and item.kind in {"word", "inside"}) or (isinstance(item, Look) and item.behind)


def _forward(way: _Way, *, ended: bool) -> str:
    """The way without edges of words and looks behind, from here to the end of the string."""
    if not way:
        return NOTHING if ended else ANYTHING
    item = way[0]
    if isinstance(item, _Tempered):
        if len(way) > 1 or not ended:
            raise Unsupported("it repeats a look-around")
        repeated = f"/(?:{regex(item.one)}){{{item.least},}}/"
        return both(repeated, f"~({_joined(ANYTHING, _ahead(item.stop))})")
    rest = _forward(way[1:], ended=ended)
    if isinstance(item, Look):
        return _looked(rest, item)
    if isinstance(item, Edge):
        raise Unsupported("it has an anchor where text must stand")
    return _joined(f"/{regex(item)}/", rest)


def _looked(rest: str, look: Look) -> str:
    wanted = _ahead(look.node)
    return both(rest, f"~({wanted})" if look.negative else wanted)


def _ahead(node: Node) -> str:
    """The rests of a string that begin with a tree."""
    found = []
    for way in _ways(node):
        backward, ended = _cut(tuple(reversed(way)), "end")
        if any(_splits(item) for item in backward):
            raise Unsupported("it looks around inside of a look-around")
        found.append(_forward(tuple(reversed(backward)), ended=ended))
    return either(found)


def _behind(left: str, look: Look) -> str:
    found = []
    for way in _ways(look.node):
        cut, started = _cut(way, "start")
        if any(isinstance(item, Edge | Look | _Tempered) for item in cut):
            raise Unsupported("it looks around inside of a look-around")
        found.append(_joined(NOTHING if started else ANYTHING, _forward(cut, ended=True)))
    return both(left, f"~({either(found)})" if look.negative else either(found))


def _edge(left: str, right: str, *, inside: bool) -> str:
    """Both with (not) an edge of a word between them."""
    word_before, word_after = f"/(?:{_ONE})*{_WORD}/", f"/{_WORD}(?:{_ONE})*/"
    # The end of the string is no part of a word.
    other_before, other_after = f"/((?:{_ONE})*{_OTHER})?/", f"/({_OTHER}(?:{_ONE})*)?/"
    after = (word_after, other_after) if inside else (other_after, word_after)
    return either(
        [
            _joined(both(left, word_before), both(right, after[0])),
            _joined(both(left, other_before), both(right, after[1])),
        ]
    )


def _joined(left: str, right: str) -> str:
    if left == NOTHING:
        return right
    if right == NOTHING:
        return left
    merged = re.fullmatch(r"/((?:[^/\\]|\\.)*)/", left), re.fullmatch(r"/((?:[^/\\]|\\.)*)/", right)
    if merged[0] and merged[1]:
        return f"/{merged[0][1]}{merged[1][1]}/"
    return f"({left} {right})"


# --- regular expressions ----------------------------------------------------------------------------------------------
def regex(node: Node) -> str:
    """A tree without conditions as a regular expression over spellings. Raises `Unsupported`."""
    match node:
        case Chars():
            spelled = node.set.spelled()
            if not spelled:
                raise Unsupported("no character fits a class in it")
            return spelled
        case Parts():
            return "".join(map(regex, node.parts))
        case Choice():
            return f"(?:{'|'.join(map(regex, node.options))})"
        case Repeat():
            return f"(?:{regex(node.node)}){{{node.least},{'' if node.most is None else node.most}}}"
    raise Unsupported("it has a condition where it repeats")
