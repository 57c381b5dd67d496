"""Whether JSON that comes in pieces is at its end. Without decoding it, in time in proportion to its text."""

from __future__ import annotations

import re

_MARKS = re.compile(r'[^"\\\[\]{}]++|.', re.DOTALL)


class Balance:
    """Counts the brackets of one object or list, outside of its strings."""

    __slots__ = ("_depth", "_escaped", "_last", "_quoted", "began")

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = False
        self._last = ""
        #: Whether anything but white space has come.
        self.began = False

    def feed(self, text: str) -> None:
        """Take more of the text."""
        stripped = text.rstrip()
        if not stripped:
            return
        self.began = True
        self._last = stripped[-1]
        for match in _MARKS.finditer(text):
            mark = match.group()
            if self._escaped:
                self._escaped = False
            elif mark == "\\":
                self._escaped = self._quoted
            elif mark == '"':
                self._quoted = not self._quoted
            elif not self._quoted and len(mark) == 1:
                self._depth += (mark in "{[") - (mark in "}]")

    @property
    def complete(self) -> bool:
        """Whether all that was opened is closed."""
        return self.began and self._depth <= 0 and not self._quoted

    @property
    def cut_off(self) -> bool:
        """Whether it ends in the middle: something lacks, and not only a quotation mark somewhere within."""
        if self._quoted:
            return self._last not in "}]"
        return self._depth > 0


def cut_off(text: str) -> bool:
    """Whether this JSON ends in the middle."""
    balance = Balance()
    balance.feed(text)
    return balance.cut_off
