"""Large JSON documents, decoded and encoded in steps, each so short that other threads need not wait for it.

A decoder in C holds the interpreter from a document's start to its end: 0.2 s for 50 MiB. Here long texts are cut out
first, what is left is decoded, and each text is decoded by itself, piece by piece. Meant for a thread of its own.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from bisect import bisect_right

from antiphon.wire.json import MalformedJSON, decode, encode, located_at

#: Bytes that one step looks at: some milliseconds.
_STEP = 1024 * 1024
#: Texts longer than this (bytes) are cut out, and spaces longer than this are shortened.
_LONG = 1024
#: What is left without them may be so large (bytes): names, short texts and numbers.
MAX_REST = 8 * 1024 * 1024
#: Bytes of the longest thing that a text must not be cut in the middle of: two escapes that are one character.
_UNIT = 12
#: A text from anywhere between two of its characters to its end; it stops early where a step ends.
_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_QUOTE = ord('"')
_SPACES = re.compile(rb"[ \t\r\n]{2,}")


def decode_large(body: bytes, *, max_depth: int, max_values: int) -> object:
    """As `json.decode`. Besides, what is no long text may have `MAX_REST` bytes.

    Raises `MalformedJSON`. Where several things are wrong, it may be another one that is named.
    """
    parts = _Parts(body, 2 * max_values)
    try:
        value = decode(b"".join(parts.pieces), max_depth=max_depth, max_values=max_values)
    except MalformedJSON as error:
        raise located_at(body, parts.original(error.position), error.reason) from None
    texts = {mark: _text(body, start, end) for mark, start, end in parts.texts}
    return _filled(value, texts) if texts else value


def encode_large(value: object) -> bytes:
    """As `json.encode`, of a value that has no more containers than one that `decode_large` gives."""
    word = secrets.token_hex(8)
    texts: list[str] = []

    def cut(item: object) -> object:
        if isinstance(item, str) and len(item) > _STEP:
            texts.append(item)
            return f"{word}{len(texts) - 1}"
        if isinstance(item, dict):
            return {name: cut(inner) for name, inner in item.items()}
        return [cut(inner) for inner in item] if isinstance(item, list | tuple) else item

    first, *rest = re.split(rb'"%b(\d+)"' % word.encode(), encode(cut(value)))
    pieces = [first]
    for number, between in zip(rest[::2], rest[1::2], strict=True):
        text = texts[int(number)]
        pieces.append(b'"')
        pieces += [encode(text[at : at + _STEP])[1:-1] for at in range(0, len(text), _STEP)]
        pieces += [b'"', between]
    return b"".join(pieces)


async def encoded(value: object) -> bytes:
    """`value` as JSON; beside the event loop, if it holds very long texts."""
    if not _weighs(value, _STEP):
        return encode(value)
    return await asyncio.to_thread(encode_large, value)


def _weighs(value: object, enough: int) -> bool:
    """Whether there are more characters than `enough` in texts of `value`."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            enough -= len(item)
            if enough < 0:
                return True
        elif isinstance(item, dict):
            left += item.values()
        elif isinstance(item, list):
            left += item
    return False


def _text(body: bytes, start: int, end: int) -> str:
    """The text between two quotes, decoded step by step."""
    steps = []
    while start < end:
        stop = min(start + _STEP, end)
        # Cut between two characters: only there are both parts texts. If there is no such place, something is wrong.
        least = stop if stop == end else max(stop - _UNIT, start + 1)
        for last in range(stop, least - 1, -1):
            try:
                steps.append(decode(b'"%b"' % body[start:last]))
                break
            except MalformedJSON as error:
                wrong = error
        else:
            raise located_at(body, start + wrong.position - 1, wrong.reason)
        start = last
    return "".join(map(str, steps))


def _filled(value: object, texts: dict[str, str]) -> object:
    """`value` with the texts in the place of their marks."""
    if isinstance(value, str):
        return texts.get(value, value)
    left = [value]
    while left:
        inside = left.pop()
        if isinstance(inside, list):
            inside[:] = [texts.get(item, item) if isinstance(item, str) else item for item in inside]
            left += [item for item in inside if isinstance(item, list | dict)]
        elif isinstance(inside, dict):
            filled = {
                texts.get(name, name): texts.get(item, item) if isinstance(item, str) else item
                for name, item in inside.items()
            }
            inside.clear()
            inside.update(filled)
            left += [item for item in filled.values() if isinstance(item, list | dict)]
    return value


class _Parts:
    """A document taken apart: its long texts, and pieces of the rest with marks in their place."""

    def __init__(self, body: bytes, most: int) -> None:
        """`most`: texts that there may be, long or short."""
        self._body = body
        #: A client cannot know it, and so not write it.
        self._word = secrets.token_hex(8)
        #: Of each long text: its mark, and where it begins and ends between its quotes.
        self.texts: list[tuple[str, int, int]] = []
        self.pieces: list[bytes] = []
        self._size = 0
        #: Where each piece lies: among the pieces, in the document.
        self._here: list[int] = []
        self._there: list[int] = []
        self._take_apart(most)

    def original(self, position: int) -> int:
        """Where in the document this position of the joined pieces is."""
        at = bisect_right(self._here, position) - 1
        return self._there[at] + position - self._here[at] if at >= 0 else position

    def _take_apart(self, most: int) -> None:
        body, size = self._body, len(self._body)
        kept = at = 0
        while at < size:
            quote = body.find(b'"', at)
            if quote < 0:
                quote = size
            if quote - at > _LONG:
                self._keep(kept, at)
                for step in range(at, quote, _STEP):
                    self._add(_SPACES.sub(b" ", body[step : min(step + _STEP, quote)]), step)
                kept = quote
            if quote == size:
                break
            end = self._end_of_text(quote + 1)
            if end == size:
                raise located_at(body, size, "it ends too early")
            if end - quote > _LONG:
                self._keep(kept, quote)
                mark = f"{self._word}{len(self.texts)}"
                self.texts.append((mark, quote + 1, end))
                self._add(b'"%b"' % mark.encode(), quote)
                kept = end + 1
            at = end + 1
            most -= 1
            if most < 0 or self._size + at - kept > MAX_REST:
                raise located_at(
                    body, at, f"more than {MAX_REST} bytes in it that are no long texts, or too many texts"
                )
        self._keep(kept, size)

    def _end_of_text(self, at: int) -> int:
        """Where the text that goes on at `at` ends: its quote, or the end of the document."""
        body, size = self._body, len(self._body)
        while at < size and body[at] != _QUOTE:
            found = _TEXT.match(body, at, at + _STEP)
            assert found is not None
            # A step may end between a backslash and what it escapes.
            at = found.end() if found.end() > at else min(at + 2, size)
        return at

    def _keep(self, start: int, end: int) -> None:
        if end > start:
            self._add(self._body[start:end], start)

    def _add(self, piece: bytes, at: int) -> None:
        self._here.append(self._size)
        self._there.append(at)
        self.pieces.append(piece)
        self._size += len(piece)
        if self._size > MAX_REST:
            raise located_at(self._body, at, f"more than {MAX_REST} bytes in it that are no long texts")
