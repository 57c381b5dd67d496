"""JSON of servers that write it almost right: halves of characters, a byte order mark, numbers that are none.

Only what the usual way does not take comes here: it costs several times as much.
"""

from __future__ import annotations

import json
import math
from typing import Any

from antiphon.domain.errors import UpstreamFailed
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.scrubber import Scrubber

_MARK = b"\xef\xbb\xbf"
#: Words that servers send as data to keep a stream alive; and names of events that hold an answer, or an error.
_PINGS = frozenset({"", "ping", "pong", "heartbeat", "keepalive", "keep-alive", "keep_alive"})
_ANSWERS = frozenset({"message", "chat.completion.chunk", "completion"})
_REPLACEMENT = "\ufffd"


def value_of(data: bytes) -> Any:
    """The value of JSON that may hold halves of surrogate pairs. Raises `UpstreamFailed` for what is no JSON."""
    try:
        text = data.removeprefix(_MARK).decode("utf-8", "surrogatepass")
        return json.loads(text, strict=False, parse_constant=_nothing, parse_float=_finite)
    except (ValueError, RecursionError):
        raise errors.invalid("something that is not JSON") from None


def object_of(data: bytes, name: str, scrubber: Scrubber) -> dict[str, Any] | None:
    """The JSON object that is the data of an event; None for what says nothing, such as a ping.

    `name`: the event's type. Raises the error that it is, if it is one without an object, or `UpstreamFailed` for what
    is nothing of all that. Of events with names of their own, nothing is known but that they belong to no answer.
    """
    try:
        value = value_of(data)
    except UpstreamFailed:
        value = data.strip(b" :").decode("utf-8", "replace")
        if value.lower() not in _PINGS and name in _ANSWERS:
            raise
    if isinstance(value, dict):
        return value
    if name == "error":
        raise errors.in_stream({"error": value}, scrubber)
    says_nothing = value is None or (isinstance(value, str) and value.lower() in _PINGS)
    if not says_nothing and name in _ANSWERS:
        raise errors.invalid("something that is no event")
    return None


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


class SurrogateJoiner:
    """Halves of characters (surrogates) at the ends of pieces: each waits for the next piece of the same text."""

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
