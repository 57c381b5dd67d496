"""Regular expressions of ECMA-262, as JSON Schema's `pattern` has them, read into a tree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from antiphon.engines.schemas.enforce import charsets
from antiphon.engines.schemas.enforce.charsets import Charset

#: Groups inside of groups.
_MAX_DEPTH = 40
_QUANTIFIER = re.compile(r"\{(\d{1,6})(?:(,)(\d{1,6})?)?\}")
_CONTROL = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
_CLASSES = {"d": charsets.DIGIT, "w": charsets.WORD, "s": charsets.SPACE}


class Unsupported(Exception):
    """What a grammar cannot be made of; the text says why."""


@dataclass(frozen=True)
class Chars:
    """One character of a set."""

    set: Charset


@dataclass(frozen=True)
class Sequence:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of these."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """From `least` to `most` times; None: without an end."""

    node: Node
    least: int
    most: int | None


@dataclass(frozen=True)
class Edge:
    """The beginning or the end of the text; or (not) the edge of a word."""

    kind: Literal["start", "end", "word", "inside"]


@dataclass(frozen=True)
class Look:
    """What must, or must not, come next or have come before."""

    node: Node
    behind: bool
    negative: bool


Node = Chars | Sequence | Choice | Repeat | Edge | Look
EMPTY = Sequence(())


def parse(pattern: str, *, wide: bool = False) -> Node:
    """The tree of a pattern. Raises `Unsupported`.

    Where ECMA-262 and the library that checks answers differ, sets hold what both match; or, if `wide` and inside of a
    negative look-around, what either matches.
    """
    parser = _Parser(pattern, wide=wide)
    node = parser.choice()
    if not parser.at_end:
        raise Unsupported("its parentheses do not match")
    return node


class _Parser:
    def __init__(self, text: str, *, wide: bool) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._wide = wide

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._text)

    def choice(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Unsupported("its groups nest too deeply")
        options = [self._sequence()]
        while self._skip("|"):
            options.append(self._sequence())
        self._depth -= 1
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while not self.at_end and self._text[self._at] not in "|)":
            parts.append(self._quantified(self._atom()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _quantified(self, node: Node) -> Node:
        found = _QUANTIFIER.match(self._text, self._at)
        if found:
            self._at = found.end()
            least = int(found[1])
            most = int(found[3]) if found[3] else None if found[2] else least
        elif not self.at_end and self._text[self._at] in "*+?":
            sign = self._next()
            least, most = (1 if sign == "+" else 0), (1 if sign == "?" else None)
        else:
            return node
        self._skip("?")  # lazy: the same texts match
        if not self.at_end and (self._text[self._at] in "*+?" or _QUANTIFIER.match(self._text, self._at)):
            raise Unsupported("it repeats a repetition")
        if isinstance(node, Edge) or (most is not None and most < least):
            raise Unsupported("a repetition in it makes no sense")
        return Repeat(node, least, most)

    def _atom(self) -> Node:
        character = self._next()
        match character:
            case "^":
                return Edge("start")
            case "$":
                return Edge("end")
            case "(":
                return self._group()
            case "[":
                return Chars(self._class())
            case ".":
                return Chars(charsets.DOT_WIDE if self._wide else charsets.DOT)
            case "\\":
                return self._escape()
            case "*" | "+" | "?":
                raise Unsupported("a repetition has nothing to repeat")
            case _:
                return Chars(charsets.of([ord(character)]))

    def _group(self) -> Node:
        if self._skip("?"):
            for opening, behind, negative in (("=", 0, 0), ("!", 0, 1), ("<=", 1, 0), ("<!", 1, 1)):
                if self._skip(opening):
                    return self._look(behind=bool(behind), negative=bool(negative))
            name = re.compile(r"P?<[A-Za-z_$][\w$]*>").match(self._text, self._at)
            if name:
                self._at = name.end()
            elif not self._skip(":"):
                raise Unsupported("it has a group of an unknown kind")
        node = self.choice()
        self._expect(")")
        return node

    def _look(self, *, behind: bool, negative: bool) -> Node:
        wide, self._wide = self._wide, self._wide ^ negative
        node = self.choice()
        self._wide = wide
        self._expect(")")
        return Look(node, behind, negative)

    def _escape(self) -> Node:
        if not self.at_end and self._text[self._at] in "bB":
            return Edge("word" if self._next() == "b" else "inside")
        return Chars(self._escaped_set())

    def _escaped_set(self) -> Charset:
        """The set after a backslash."""
        character = self._next()
        if character.lower() in _CLASSES:
            known = _CLASSES[character.lower()]
            return known if character.islower() else known.inverse()
        if character in "pP":
            found = self._property()
            return found if character == "p" else found.inverse()
        return charsets.of([self._escaped_code(character)])

    def _escaped_code(self, character: str) -> int:
        if character in _CONTROL:
            return _CONTROL[character]
        if character == "c" and (letter := self._next()).isascii() and letter.isalpha():
            return ord(letter) % 32
        if character == "x":
            return self._hexadecimal(r"([0-9A-Fa-f]{2})")
        if character == "u":
            code = self._hexadecimal(r"([0-9A-Fa-f]{4})|\{([0-9A-Fa-f]{1,6})\}")
            if 0xD800 <= code < 0xDC00 and self._skip("\\u"):
                low = self._hexadecimal(r"([0-9A-Fa-f]{4})")
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
                raise Unsupported("it names half a character")
            return code
        if character.isascii() and not character.isalnum():
            return ord(character)
        raise Unsupported(f"it refers back to a group, or escapes {character!r}")

    def _hexadecimal(self, form: str) -> int:
        found = re.compile(form).match(self._text, self._at)
        if found is None:
            raise Unsupported("an escape in it is not whole")
        self._at = found.end()
        return int(found[found.lastindex or 1], 16)

    def _property(self) -> Charset:
        found = re.compile(r"\{(?:General_Category=|gc=)?([A-Z][a-z]?)\}").match(self._text, self._at)
        if found is None:
            raise Unsupported("it names a property of characters that is not known here")
        self._at = found.end()
        try:
            return charsets.category(found[1])
        except KeyError:
            raise Unsupported("it names a property of characters that is not known here") from None

    def _class(self) -> Charset:
        negated = self._skip("^")
        found = charsets.NONE
        if self._text.startswith("]", self._at):
            raise Unsupported("it has an empty class of characters")
        while not self._skip("]"):
            first = self._class_member()
            if (
                isinstance(first, int)
                and self._text.startswith("-", self._at)
                and not self._text.startswith("-]", self._at)
            ):
                self._at += 1
                last = self._class_member()
                if not isinstance(last, int) or last < first:
                    raise Unsupported("it has a range of characters that makes no sense")
                found |= charsets.between(first, last)
            else:
                found |= charsets.of([first]) if isinstance(first, int) else first
        return found.inverse() if negated else found

    def _class_member(self) -> int | Charset:
        character = self._next()
        if character != "\\":
            return ord(character)
        if self._text.startswith("b", self._at):
            self._at += 1
            return 8
        kind = self._text[self._at : self._at + 1]
        if kind and kind in "dDwWsSpP":
            return self._escaped_set()
        return self._escaped_code(self._next())

    def _next(self) -> str:
        if self.at_end:
            raise Unsupported("it is not whole")
        self._at += 1
        return self._text[self._at - 1]

    def _skip(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _expect(self, text: str) -> None:
        if not self._skip(text):
            raise Unsupported("its parentheses do not match")
