"""Finds calls in a stream of text, as they are made.

Sans-IO: text in, deltas out. However the text is cut into pieces, the deltas say the same. Only what may still turn out
to be a call is held back. The form of a call stands in `grammar.py`; both must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Literal

from antiphon.domain.errors import OutputInvalid
from antiphon.domain.ids import new_id
from antiphon.engines.llama.grammar import INDENT_MAX, RAW_ARGUMENTS, WS_MAX, quoted_name
from antiphon.engines.llama.jsontext import JsonSpan, StringMember
from antiphon.protocol.generation import CallArguments, CallStart, Delta, TextDelta

Kind = Literal["function", "custom"]
_BLANK, _SPACE = " \t", " \n\t"
_WRAPPER = "<tool_call>"
#: Lines that only announce a call; they are not part of the answer if one follows.
_OPENERS = ("```json", "```", _WRAPPER)


class _State(Enum):
    TEXT = "text"  # may become a call at the beginning of each line
    PLAIN = "plain"  # text to the end
    WRAPPED = "wrapped"  # a wrapper now, or plain text
    HEAD = "head"  # between calls
    NAMED = "named"  # after a call's name, before its arguments
    ARGUMENTS = "arguments"
    RAW = "raw"  # plain text as arguments, to the end of the answer


class _MoreNeededError(Exception):
    """The text ends before the question is decided."""


class CallScanner:
    """Turns the text of one answer into `TextDelta`, `CallStart` and `CallArguments`.

    `tools`: the callable tools' names and kinds. `wrapped`: a call must stand in `<tool_call>` (where the text is JSON
    itself). `raw`: the tools whose text stands in the place of the arguments. `make_id` gives each call its id.
    """

    def __init__(
        self,
        tools: Mapping[str, Kind],
        *,
        wrapped: bool = False,
        raw: Collection[str] = (),
        make_id: Callable[[], str] = lambda: new_id("call_"),
    ) -> None:
        self._tools = tools
        self._raw = raw
        self._is_raw = False
        self._make_id = make_id
        self._state = _State.WRAPPED if wrapped else _State.TEXT
        self._buffer = ""
        self._line_start = True
        #: White space and opening lines: dropped if a call follows, else part of the text.
        self._pending = ""
        self._span = JsonSpan()
        self._free_text: StringMember | None = None
        self._out: list[Delta] = []

    @property
    def in_call(self) -> bool:
        """Whether a call has begun and not ended."""
        return self._state in {_State.NAMED, _State.ARGUMENTS}

    def feed(self, text: str) -> list[Delta]:
        """The deltas that `text` completes. Raises `OutputInvalid` if a call breaks its form."""
        self._buffer += text
        try:
            while self._buffer and self._step():
                pass
        except _MoreNeededError:
            pass
        out, self._out = self._out, []
        return out

    def finish(self) -> list[Delta]:
        """The deltas at the end of the answer: text that was held back."""
        if self._state in {_State.TEXT, _State.PLAIN, _State.WRAPPED}:
            self._text(self._pending + self._buffer)
        self._buffer = self._pending = ""
        out, self._out = self._out, []
        return out

    def _step(self) -> bool:
        """Take one step; False if there is nothing more to do with this text."""
        match self._state:
            case _State.TEXT:
                return self._line() if self._line_start else self._rest_of_line()
            case _State.PLAIN:
                self._text(self._buffer)
                self._buffer = ""
                return False
            case _State.WRAPPED:
                wrapper = f"{_WRAPPER}\n"
                if len(self._buffer) < len(wrapper) and wrapper.startswith(self._buffer):
                    return False
                self._state = _State.HEAD if self._buffer.startswith(wrapper) else _State.PLAIN
                return True
            case _State.HEAD:
                return self._next_call()
            case _State.NAMED:
                return self._named()
            case _State.ARGUMENTS:
                return self._arguments()
            case _State.RAW:
                self._out.append(CallArguments(text=self._buffer))
                self._buffer = ""
                return False

    def _line(self) -> bool:
        """At the beginning of a line: a call, an opening line, or text?"""
        head = _head(self._buffer, self._tools)
        if head is not None:
            self._pending = ""
            self._start(*head)
            return True
        end = self._buffer.find("\n") + 1
        line = self._buffer[:end] if end else self._buffer
        bare = line.strip()
        if end and (not bare or bare in _OPENERS):
            self._pending += line
            self._buffer = self._buffer[end:]
            return True
        if not end and any(opener.startswith(bare) for opener in _OPENERS):
            return False
        self._line_start = False
        return True

    def _rest_of_line(self) -> bool:
        """Inside a line of text: let it go, but for the white space at its end."""
        end = self._buffer.find("\n") + 1
        line, self._buffer = (self._buffer[:end], self._buffer[end:]) if end else (self._buffer, "")
        text = line.rstrip()
        if text:
            self._text(self._pending + text)
            self._pending = line[len(text) :]
        else:
            self._pending += line
        self._line_start = bool(end)
        return bool(end)

    def _next_call(self) -> bool:
        """Between two calls only closers and openers stand; the next brace begins the next call."""
        brace = self._buffer.find("{")
        if brace < 0:
            self._buffer = ""
            return False
        self._buffer = self._buffer[brace:]
        head = _head(self._buffer, self._tools)
        if head is None:
            raise OutputInvalid("The local model broke the form of a tool call.")
        self._start(*head)
        return True

    def _start(self, name: str, end: int) -> None:
        kind = self._tools[name]
        self._out.append(CallStart(name=name, call_id=self._make_id(), kind=kind))
        self._buffer = self._buffer[end:]
        self._span = JsonSpan()
        self._is_raw = name in self._raw
        self._free_text = StringMember("input") if kind == "custom" else None
        self._state = _State.NAMED

    def _named(self) -> bool:
        cursor = _Cursor(self._buffer)
        if self._is_raw:
            if not cursor.literal(RAW_ARGUMENTS):
                raise OutputInvalid("The local model broke the form of a tool call.")
            self._buffer = self._buffer[cursor.at :]
            self._state = _State.RAW
            return True
        if not cursor.member_follows('"arguments"') or cursor.peek() != "{":
            raise OutputInvalid("The local model broke the form of a tool call.")
        self._buffer = self._buffer[cursor.at :]
        self._state = _State.ARGUMENTS
        return True

    def _arguments(self) -> bool:
        size = self._span.feed(self._buffer)
        piece, self._buffer = self._buffer[:size], self._buffer[size:]
        text = piece if self._free_text is None else self._free_text.feed(piece)
        if text:
            self._out.append(CallArguments(text=text))
        if self._span.complete:
            self._state = _State.HEAD
        return self._span.complete

    def _text(self, text: str) -> None:
        if text:
            self._out.append(TextDelta(text=text))


def _head(text: str, tools: Mapping[str, Kind]) -> tuple[str, int] | None:
    """The name in the call's head that `text` begins with, and where the head ends; None if it begins with no head.

    Raises `_MoreNeededError` if `text` is too short to tell.
    """
    cursor = _Cursor(text)
    cursor.run(_BLANK, INDENT_MAX)
    if cursor.literal(_WRAPPER):
        cursor.run(_BLANK, INDENT_MAX)
    if not cursor.literal("{"):
        return None
    cursor.run(_SPACE, WS_MAX)
    if not cursor.literal('"name"'):
        return None
    cursor.run(_SPACE, WS_MAX)
    if not cursor.literal(":"):
        return None
    cursor.run(_SPACE, WS_MAX)
    undecided = False
    for name in tools:
        try:
            start = cursor.at
            if cursor.literal(quoted_name(name)):
                return name, cursor.at
        except _MoreNeededError:
            undecided = True
        cursor.at = start
    if undecided:
        raise _MoreNeededError
    return None


class _Cursor:
    """Reads `text` from `at` on; at its end it raises `_MoreNeededError`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def peek(self) -> str:
        """The next character."""
        if self.at >= len(self._text):
            raise _MoreNeededError
        return self._text[self.at]

    def run(self, characters: str, most: int) -> None:
        """Pass over up to `most` of these characters."""
        for _ in range(most):
            if self.peek() not in characters:
                return
            self.at += 1

    def literal(self, expected: str) -> bool:
        """Pass over `expected` if it comes next."""
        found = self._text[self.at : self.at + len(expected)]
        if found == expected:
            self.at += len(expected)
            return True
        if expected.startswith(found):
            raise _MoreNeededError
        return False

    def member_follows(self, key: str) -> bool:
        """Pass over `, key: ` with white space between."""
        self.run(_SPACE, WS_MAX)
        if not self.literal(","):
            return False
        self.run(_SPACE, WS_MAX)
        if not self.literal(key):
            return False
        self.run(_SPACE, WS_MAX)
        if not self.literal(":"):
            return False
        self.run(_SPACE, WS_MAX)
        return True
