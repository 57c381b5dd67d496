"""Server-sent events: writing them, and reading them from a stream of bytes.

The format is that of the HTML standard, section "Server-sent events".
"""

from __future__ import annotations

from typing import NamedTuple

#: The end of a stream, for clients that know no other.
DONE = b"data: [DONE]\n\n"


class Event(NamedTuple):
    """One event. `event` is its type ("message" if it names none); `data` are its data lines, joined by line feeds."""

    event: str
    data: bytes


def event(name: str, payload: bytes) -> bytes:
    """An event of the type `name`. `payload` is JSON on one line."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), payload)


def data(payload: bytes) -> bytes:
    """An event without a type. `payload` is JSON on one line."""
    return b"data: %b\n\n" % payload


def comment(text: bytes) -> bytes:
    """A comment, which readers pass over. `text` is one line."""
    return b": %b\n\n" % text


#: What a line of data costs beside its bytes, in a list of them: empty lines count, too.
_LINE = 40


class EventTooLarge(ValueError):
    """An event is larger than the reader takes."""


class SSEParser:
    """Takes bytes as they come, however they are cut, and gives events as they are complete.

    Lines end in LF, CR LF or CR. Comments, ids and retry times are passed over. An event cut off by the end of the
    stream is never given, as the standard asks. `max_event`: bytes of one event; more raises `EventTooLarge`.
    """

    def __init__(self, *, max_event: int = 64 * 1024 * 1024) -> None:
        self._max = max_event
        self._rest: list[bytes] = []  # pieces of the line that is not complete yet
        self._rest_size = 0
        self._after_cr = False  # the last line ended in CR: an LF now belongs to that end
        self._first = True
        self._type = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes."""
        if self._is_one_event(chunk):
            return [Event("message", chunk[6:-2])]
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        events: list[Event] = []
        if b"\n" in chunk or b"\r" in chunk:
            lines = b"".join((*self._rest, chunk)).splitlines(keepends=True)
            self._rest, self._rest_size = [], 0
            chunk = b"" if lines[-1].endswith((b"\n", b"\r")) else lines.pop()
            self._after_cr = not chunk and lines[-1].endswith(b"\r")
            for line in lines:
                self._line(line.rstrip(b"\r\n"), events)
        if chunk:
            self._rest.append(chunk)
            self._rest_size += len(chunk)
        if self._size + self._rest_size > self._max:
            raise EventTooLarge(f"An event is larger than {self._max} bytes.")
        return events

    def _is_one_event(self, chunk: bytes) -> bool:
        """Whether it is a whole event with one line of data, as nearly all of most streams come."""
        return (
            chunk.startswith(b"data: ")
            and chunk.endswith(b"\n\n")
            and chunk.find(b"\n") == len(chunk) - 2
            and not (self._rest or self._data or self._type or self._first or self._after_cr)
            and b"\r" not in chunk
            and len(chunk) <= self._max
        )

    def _line(self, line: bytes, events: list[Event]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if self._data:
                events.append(Event(self._type or "message", b"\n".join(self._data)))
            self._type, self._data, self._size = "", [], 0
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + _LINE
        elif name == b"event":
            self._type = value.decode("utf-8", "replace")
