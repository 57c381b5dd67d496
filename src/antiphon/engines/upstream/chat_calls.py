"""Tool calls of a chat stream, put in order. Sans-IO.

Servers may say several calls side by side, each piece with the index of its call; the neutral exchange has one call
after the other. So one call is passed on as it comes, and others wait until it is known to be complete.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec

from antiphon.domain.ids import new_id
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.chat_chunks import Call, Function
from antiphon.engines.upstream.chat_request import CUSTOM_INPUT
from antiphon.protocol.generation import CallArguments, CallStart, Delta

#: Where the one call of the deprecated `function_call` stands.
_LEGACY = -1


@dataclass(slots=True)
class _Open:
    """A call that is being said. `waiting`: pieces that were not passed on yet."""

    name: str = ""
    call_id: str = ""
    custom: bool = False
    started: bool = False
    said: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether its arguments are whole: only then may the next call be passed on."""
        if self.custom:
            return False
        try:
            msgspec.json.decode("".join((*self.said, *self.waiting)))
        except (msgspec.DecodeError, RecursionError):
            return False
        return True


class Calls:
    """Takes pieces of calls, and gives deltas of one call after the other."""

    def __init__(self, disguised: Collection[str] = ()) -> None:
        """`disguised`: names of custom tools that were sent as functions."""
        self._disguised = disguised
        self._open: dict[int, _Open] = {}
        #: The call of each index; a server may use an index again for its next call.
        self._by_index: dict[int, int] = {}
        self._current = 0

    @property
    def any(self) -> bool:
        """Whether there was a call."""
        return bool(self._open)

    def feed(self, calls: list[Call]) -> list[Delta]:
        """What can be passed on after these pieces. Raises `UpstreamFailed` for pieces of a call that was complete."""
        deltas: list[Delta] = []
        for call in calls:
            number = self._number(call)
            if number < self._current:
                raise errors.invalid("more of a tool call that was complete")
            self._add(self._open[number], call)
            while number > self._current and self._open[self._current].complete:
                deltas += self._pass(self._open[self._current], last=True)
                self._current += 1
            deltas += self._pass(self._open[self._current], last=False)
        return deltas

    def feed_legacy(self, function: Function) -> list[Delta]:
        """The same for the deprecated `function_call`, of which there is one."""
        return self.feed([Call(index=_LEGACY, function=function)])

    def finish(self) -> list[Delta]:
        """All that waits. Raises `UpstreamFailed` for calls without a name."""
        deltas: list[Delta] = []
        for number in range(self._current, len(self._open)):
            deltas += self._pass(self._open[number], last=True)
        self._current = len(self._open)
        return deltas

    def _number(self, call: Call) -> int:
        """Which call this is a piece of: calls are numbered as they begin."""
        name = _name(call)
        index = call.index
        if index is None:
            # Servers without indices send whole calls, or one call at a time.
            index = max(self._by_index, default=-1) + (name is not None or not self._by_index)
        number = self._by_index.get(index)
        if number is not None:
            known = self._open[number]
            again = name is not None and known.name and call.id and known.call_id and call.id != known.call_id
            if not again:
                return number
        number = len(self._open)
        self._by_index[index] = number
        self._open[number] = _Open()
        return number

    def _add(self, opened: _Open, call: Call) -> None:
        opened.name = opened.name or _name(call) or ""
        opened.call_id = opened.call_id or call.id or ""
        opened.custom = opened.custom or call.custom is not None
        text = _arguments(call)
        if text:
            opened.waiting.append(text)

    def _pass(self, call: _Open, *, last: bool) -> list[Delta]:
        """What of a call can be passed on now; all of it if it is its `last` time."""
        if not call.name:
            if last:
                raise errors.invalid("a tool call without a name")
            return []
        deltas: list[Delta] = []
        disguised = call.name in self._disguised and not call.custom
        if not call.started:
            call.started = True
            # Servers that give no ids know calls by their place.
            call.call_id = call.call_id or new_id("call_")
            kind = "custom" if call.custom or disguised else "function"
            deltas.append(CallStart(call.name, call.call_id, "custom" if kind == "custom" else "function"))
        if disguised and not last:
            return deltas
        text = "".join(call.waiting)
        if disguised:
            text = _unwrapped(text)
        if text:
            call.said.append(text)
            deltas.append(CallArguments(text))
        call.waiting.clear()
        return deltas


def _name(call: Call) -> str | None:
    named = call.custom or call.function
    return named.name or None if named is not None else None


def _arguments(call: Call) -> str:
    if call.custom is not None:
        return call.custom.input or ""
    arguments = call.function.arguments if call.function is not None else None
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else arguments or ""


def _unwrapped(text: str) -> str:
    """The text of a custom tool that was sent as a function: its one argument, if the model kept to that."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    if isinstance(value, dict) and isinstance(value.get(CUSTOM_INPUT), str):
        return str(value[CUSTOM_INPUT])
    return value if isinstance(value, str) else text
