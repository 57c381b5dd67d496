"""JSON of servers that write it almost right: halves of characters, a byte order mark, numbers that are none.

Only what the usual way does not take comes here: it costs several times as much.
"""

from __future__ import annotations

import json
import math
from typing import Any

from antiphon.engines.upstream import errors

_MARK = b"\xef\xbb\xbf"
_REPLACEMENT = "\ufffd"


def value_of(data: bytes) -> Any:
    """The value of JSON that may hold halves of surrogate pairs. Raises `UpstreamFailed` for what is no JSON."""
    try:
        text = data.removeprefix(_MARK).decode("utf-8", "surrogatepass")
        return json.loads(text, strict=False, parse_constant=_nothing, parse_float=_finite)
    except (ValueError, RecursionError):
        raise errors.invalid("something that is not JSON") from None


def written(value: Any) -> bytes:
    """`value` as JSON on one line. What is no character becomes the replacement character."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return whole_characters(text).encode()


def whole_characters(text: str) -> str:
    """`text` with its halves of surrogate pairs joined, and those without another half replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _nothing(_: str) -> None:
    """NaN and infinities are no JSON."""


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


class Halves:
    """Halves of characters at the ends of pieces: each waits for the next piece of the same text."""

    def __init__(self) -> None:
        self._held: dict[Any, str] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def join(self, where: Any, text: str) -> str:
        """The piece `text` of the text `where` that can be shown now: whole characters."""
        text = self._held.pop(where, "") + text
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._held[where] = text[-1]
            text = text[:-1]
        return whole_characters(text)

    def rest(self, where: Any) -> str:
        """What is left of a text that has ended: nothing, or a replacement character."""
        return _REPLACEMENT if self._held.pop(where, "") else ""
