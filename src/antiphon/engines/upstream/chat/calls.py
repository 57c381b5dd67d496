"""Tool calls of a chat stream, put in order. Sans-IO.

Servers may say several calls side by side, each piece with the index of its call; the neutral exchange has one call
after the other. So one call is passed on as it comes, and others wait until it is known to be complete.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from antiphon.engines.upstream import errors
from antiphon.engines.upstream.chat.chunks import Call, Function
from antiphon.engines.upstream.chat.placement import CallPlacement, OpenCall
from antiphon.engines.upstream.chat.request import CUSTOM_INPUT
from antiphon.protocol.generation import CallArguments, CallStart, Delta

#: Where the one call of the deprecated `function_call` stands.
_LEGACY = -1


class CallSequencer:
    """Takes pieces of calls, and gives deltas of one call after the other."""

    def __init__(self, disguised: Collection[str] = (), tools: Collection[str] = ()) -> None:
        """`disguised`: names of custom tools that were sent as functions. `tools`: names that calls may have."""
        self._disguised = disguised
        self._placement = CallPlacement(tools)
        self._current = 0

    @property
    def any(self) -> bool:
        """Whether there was a call."""
        return bool(self._placement.open)

    @property
    def cut_off(self) -> bool:
        """Whether the arguments of some call end in the middle: the answer is not whole, whatever its server says."""
        return self._placement.cut_off

    def feed(self, calls: list[Call]) -> list[Delta]:
        """What can be passed on after these pieces. Raises `UpstreamFailed` for pieces of a call that was complete."""
        deltas: list[Delta] = []
        opened = self._placement.open
        for call in calls:
            placed = self._placement.place(call)
            if placed is None:
                continue
            number = placed[0].number
            if number < self._current:
                if not placed[1].strip():
                    continue
                raise errors.invalid("more of a tool call that was complete")
            while number > self._current and opened[self._current].complete:
                deltas += self._pass(opened[self._current], last=True, whole=True)
                self._current += 1
            deltas += self._pass(opened[self._current], last=False, whole=True)
        return deltas

    def feed_legacy(self, function: Function) -> list[Delta]:
        """The same for the deprecated `function_call`, of which there is one."""
        return self.feed([Call(index=_LEGACY, function=function)])

    def finish(self, *, whole: bool) -> list[Delta]:
        """All that waits. Raises `UpstreamFailed` for calls without a name.

        `whole`: the answer was not cut off, so that a function without arguments is called with none.
        """
        deltas: list[Delta] = []
        for call in self._placement.open[self._current :]:
            deltas += self._pass(call, last=True, whole=whole)
        self._current = len(self._placement.open)
        return deltas

    def _pass(self, call: OpenCall, *, last: bool, whole: bool) -> list[Delta]:
        """What of a call can be passed on now; all of it if it is its `last` time."""
        if not call.name and last:
            raise errors.invalid("a tool call without a name")
        if not call.started and not last and not self._placement.settled(call):
            return []
        deltas: list[Delta] = []
        disguised = call.name in self._disguised and not call.custom
        if not call.started:
            self._placement.start(call)
            deltas.append(CallStart(call.name, call.call_id, "custom" if call.custom or disguised else "function"))
        if disguised and not last:
            return deltas
        text = "".join(call.waiting)
        if disguised:
            text = _unwrapped(text)
        elif last and whole and not call.custom and not call.balance.began:
            text = "{}"  # as the published API says that there are none
        if text:
            deltas.append(CallArguments(text))
        call.waiting.clear()
        return deltas


def _unwrapped(text: str) -> str:
    """The text of a custom tool that was sent as a function: its one argument, if the model kept to that."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    if isinstance(value, dict) and isinstance(value.get(CUSTOM_INPUT), str):
        return str(value[CUSTOM_INPUT])
    return value if isinstance(value, str) else text
