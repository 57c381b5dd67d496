"""JSON text in pieces: where a value ends, and what a string in it says so far."""

from __future__ import annotations

import json
import re

_HIGH = r"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW = r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
#: Whole characters of a JSON string: a lone high surrogate is whole once something else is known to follow it.
_WHOLE = re.compile(
    rf'(?:[^"\\]|\\["\\/bfnrt]|{_HIGH}{_LOW}'
    rf"|(?!{_HIGH})\\u[0-9a-fA-F]{{4}}"
    rf"|{_HIGH}(?=[^\\]|\\[^u]|\\u(?![dD][c-fC-F])[0-9a-fA-F]{{4}}))*"
)


class JsonSpan:
    """Finds the end of a JSON object or array that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.complete = False

    def feed(self, text: str) -> int:
        """How many characters of `text` belong to the value."""
        for i, character in enumerate(text):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.complete = True
                    return i + 1
        return len(text)


class StringMember:
    """Decodes the string in `{"key": "…"}`, which comes in pieces."""

    def __init__(self, key: str) -> None:
        self._start = re.compile(rf"\s*\{{\s*{re.escape(json.dumps(key))}\s*:\s*\"")
        self._begun = False
        self._rest = ""

    def feed(self, text: str) -> str:
        """What the string says beyond what was returned before."""
        self._rest += text
        if not self._begun:
            start = self._start.match(self._rest)
            if start is None:
                return ""
            self._begun = True
            self._rest = self._rest[start.end() :]
        whole = _WHOLE.match(self._rest)
        assert whole is not None  # it matches the empty string
        self._rest = self._rest[whole.end() :]
        return decode_string(whole[0])


def decode_string(raw: str) -> str:
    """The text of the inside of a JSON string; surrogates without a partner become U+FFFD."""
    decoded: str = json.loads(f'"{raw}"', strict=False)
    return decoded.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
