"""Chunks that differ from one before only in their text: known by their bytes, without being decoded."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.engines.upstream.scrubber import Scrubber

#: The member before a chunk's text; and one that some servers fill with noise, so that lengths tell nothing.
_TEXT = b'"content":'
_NOISE = b'"obfuscation":"'
_CLOSING = b'"}'
_PROBE = b"the text"
#: How often the pattern is learned anew in one stream: a server whose chunks are never alike has none.
_LESSONS = 8


class ChunkPattern:
    """What the chunks of one stream have in common.

    A JSON string ends at the first quotation mark that has no backslash before it. So what begins and ends like a chunk
    that was decoded, and has no backslash, is the same chunk with another text.
    """

    __slots__ = ("_after", "_before", "_lessons", "_noisy", "_rest", "_scrubber", "_start")

    def __init__(self, scrubber: Scrubber) -> None:
        """`scrubber` knows what must not be passed on."""
        self._scrubber = scrubber
        #: What stands before the text, and after it; of the latter, all up to the noise if there is some.
        self._before = self._after = b""
        self._start = self._rest = self._lessons = 0
        self._noisy = False

    def text_of(self, data: bytes) -> str | None:
        """The text of a chunk that is as those before it; None: it must be looked into."""
        start = self._start
        if not start or not data.startswith(self._before):
            return None
        end = data.find(b'"', start)
        if self._noisy:
            noise = data.rfind(b'"', 0, -2) + 1
            alike = noise - end == self._rest and data.endswith(_CLOSING) and data.startswith(self._after, end)
        else:
            alike = len(data) - end == self._rest and data.endswith(self._after)
        if not alike or data.find(b"\\", start) >= 0:
            return None
        raw = data[start:end]
        if end - start >= limits.MIN_SECRET_SEARCHED and self._scrubber.masked(raw) is not raw:
            return None
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            return None
        return text if text.isprintable() else None

    def learn(self, data: bytes, text: str) -> None:
        """This chunk says `text` and nothing else, and may go on as it came."""
        if self._lessons >= _LESSONS:
            return
        self._lessons += 1
        self._start = 0
        raw = text.encode()
        found = data.find(_TEXT)
        start = data.find(b'"', found + len(_TEXT)) + 1
        if found < 0 or not start or b"\\" in data or b'"' in raw or not data.startswith(raw + b'"', start):
            return
        before, after = data[:start], data[start + len(raw) :]
        if _with_text(data, None) != _with_text(before + _PROBE + after, _PROBE.decode()):
            return
        between, noise, end = after.partition(_NOISE)
        self._noisy = bool(noise) and end.endswith(_CLOSING) and end.count(b'"') == 1
        self._before, self._after = before, between + noise if self._noisy else after
        self._rest, self._start = len(self._after), start


def _with_text(data: bytes, text: str | None) -> Any:
    """The chunk without its text; the error instead if that is not `text`. None: whatever its text is."""
    try:
        chunk = msgspec.json.decode(data)
        delta = chunk["choices"][0]["delta"]
        content = delta.pop("content")
    except (msgspec.DecodeError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return error
    return chunk if text is None or content == text else None
