"""Sets of characters, and how their members are spelled in a JSON string.

In strings that must fit a pattern, a format or a length each character has one spelling: as itself, with JSON's short
escape, or with `\\u00xx` for the control characters that have none. So a pattern over characters becomes one over their
spellings.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

_ASCII = (1 << 128) - 1
_BEYOND = r"\u{80}-\u{10ffff}"
_SHORT = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 34: '"', 92: "\\\\"}
_RAW = sum(1 << code for code in range(32, 128) if code not in _SHORT)
#: White space of ECMAScript beyond ASCII.
SPACES_BEYOND = r"\u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}"


@dataclass(frozen=True)
class Charset:
    """`ascii`: a bit for each code below 128. `beyond`: the inside of a class of Rust's regular expressions for the
    others, with `negated` for all others but these."""

    ascii: int
    beyond: str = ""
    negated: bool = False

    def inverse(self) -> Charset:
        """All other characters."""
        return Charset(_ASCII & ~self.ascii, self.beyond, not self.negated)

    def __or__(self, other: Charset) -> Charset:
        if not self.negated and not other.negated:
            return Charset(self.ascii | other.ascii, self.beyond + other.beyond)
        parts = "".join(
            f"[{_BEYOND}--[{each.beyond}]]" if each.negated and each.beyond else "" for each in (self, other)
        )
        if any(each.negated and not each.beyond for each in (self, other)):
            return Charset(self.ascii | other.ascii, "", negated=True)
        parts += "".join(each.beyond for each in (self, other) if not each.negated)
        return Charset(self.ascii | other.ascii, parts)

    def spelled(self) -> str:
        """A regular expression for the spelling of one member; "" if there is none."""
        options = []
        raw = self.ascii & _RAW
        beyond = self._beyond_class()
        if raw or beyond:
            options.append(f"[{_ranges(raw)}{beyond}]")
        short = [_SHORT[code] for code in _SHORT if self.ascii >> code & 1]
        if short:
            options.append(rf"\\[{''.join(short)}]")
        long = [code for code in range(32) if self.ascii >> code & 1 and code not in _SHORT]
        if long:
            options.append(rf"\\u00(?:{'|'.join(f'{code:02x}' for code in long)})")
        return options[0] if len(options) == 1 else f"(?:{'|'.join(options)})" if options else ""

    def _beyond_class(self) -> str:
        if self.negated:
            return f"[{_BEYOND}--[{self.beyond}]]" if self.beyond else _BEYOND
        return f"[{_BEYOND}&&[{self.beyond}]]" if self.beyond else ""


def of(characters: Iterable[int]) -> Charset:
    """The set of these code points."""
    bits, beyond = 0, []
    for code in characters:
        if code < 128:
            bits |= 1 << code
        else:
            beyond.append(code_point(code))
    return Charset(bits, "".join(beyond))


def between(first: int, last: int) -> Charset:
    """The set of the code points from `first` to `last`, both included."""
    bits = sum(1 << code for code in range(first, min(last, 127) + 1))
    return Charset(bits, f"{code_point(max(first, 128))}-{code_point(last)}" if last >= 128 else "")


@lru_cache(maxsize=64)
def category(name: str) -> Charset:
    """The set of the characters of a general category, as one or two letters. Raises KeyError for unknown ones."""
    known = {unicodedata.category(chr(code)) for code in range(0x3000)} | {"Co", "Cs"}
    if not any(each.startswith(name) for each in known):
        raise KeyError(name)
    bits = sum(1 << code for code in range(128) if unicodedata.category(chr(code)).startswith(name))
    return Charset(bits, rf"\p{{{name}}}")


def code_point(code: int) -> str:
    """A code point in Rust's regular expressions."""
    return f"\\u{{{code:x}}}"


def _ranges(bits: int) -> str:
    parts: list[str] = []
    code = 0
    while code < 128:
        if not bits >> code & 1:
            code += 1
            continue
        first = code
        while code < 128 and bits >> code & 1:
            code += 1
        parts.append(_literal(first) if code == first + 1 else f"{_literal(first)}-{_literal(code - 1)}")
    return "".join(parts)


def _literal(code: int) -> str:
    character = chr(code)
    return character if character.isalnum() else f"\\x{code:02x}"


ANY = Charset(_ASCII, "", negated=True)
NONE = Charset(0)
DIGIT = between(48, 57)
WORD = DIGIT | between(65, 90) | between(97, 122) | of([95])
SPACE = of([9, 10, 11, 12, 13, 32]) | Charset(0, SPACES_BEYOND)
#: What a dot matches: by ECMAScript, and by Rust, where it leaves out only line feeds.
DOT = of([10, 13, 0x2028, 0x2029]).inverse()
DOT_WIDE = of([10]).inverse()
