"""From what a Responses server sends to deltas: neutral ones, or the server's own events. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from antiphon.engines.llama.stops import StopMatcher
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.errors import Scrubber
from antiphon.engines.upstream.responses_events import (
    FAILED,
    SILENT,
    TERMINAL,
    Json,
    fault_of,
    finish_of,
    logprobs_of,
    read,
    response_of,
)
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    NativeDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    Usage,
)

_TEXTS = {
    "response.output_text.delta": TextDelta,
    "response.refusal.delta": RefusalDelta,
    "response.reasoning_text.delta": ReasoningDelta,
    "response.reasoning.delta": ReasoningDelta,
    "response.reasoning_summary_text.delta": ReasoningDelta,
}
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_ARGUMENTS = frozenset({"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"})
_READABLE = frozenset({"message", "reasoning", *_CALLS})


class _Head(msgspec.Struct, gc=False):
    """What is looked at of an event that is passed on."""

    type: str
    delta: Any = None


class _Counted:
    """What was said, for answers whose server does not tell what they used."""

    def __init__(self, input_tokens: Callable[[], int]) -> None:
        self._input_tokens = input_tokens
        self._characters = 0

    def say(self, text: str) -> None:
        """More."""
        self._characters += len(text)

    def usage(self) -> Usage:
        """Our estimate."""
        return Usage(self._input_tokens(), output_tokens=-(-self._characters // 4), estimated=True)


class NativeEvents:
    """Passes on what the server says. Whether it may be said now is for the surface's machine to know."""

    def __init__(self, scrubber: Scrubber, input_tokens: Callable[[], int]) -> None:
        self._scrubber = scrubber
        self._counted = _Counted(input_tokens)
        self._end: Finish | None = None

    @property
    def finished(self) -> bool:
        """Whether the response has ended."""
        return self._end is not None

    def feed(self, data: bytes) -> list[Delta]:
        """The event, unless it says nothing. Raises the error that it tells."""
        try:
            head = msgspec.json.decode(data, type=_Head)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise errors.invalid("something that is no event") from None
        if head.type in SILENT:
            return []
        if head.type in FAILED:
            raise fault_of(read(data), self._scrubber)
        if head.type in TERMINAL:
            self._end = finish_of(response_of(read(data).get("response")), self._counted.usage())
        text = head.delta if isinstance(head.delta, str) else ""
        self._counted.say(text)
        return [NativeDelta(data, text)]

    def whole(self, data: bytes) -> list[Delta]:
        """The response as it is. Raises the error that it has ended with."""
        response = read(data)
        if response.get("status") == "failed":
            raise fault_of(response, self._scrubber)
        self._end = finish_of(response_of(response), self._counted.usage())
        return [NativeDelta(data)]

    def finish(self, *, done: bool = False) -> list[Delta]:
        """The end."""
        if self._end is None:
            raise errors.truncated()
        return [self._end]


@dataclass(slots=True)
class _Slot:
    """One output item. `waiting`: its deltas, while an item before it is not done."""

    kind: str
    said: str = ""
    reasons: str | None = None
    waiting: list[Delta] = field(default_factory=list)
    done: bool = False


class NeutralEvents:
    """Translates. What hosted tools do has no place in a neutral answer, and is left out."""

    def __init__(self, scrubber: Scrubber, input_tokens: Callable[[], int], stops: Sequence[str] = ()) -> None:
        """`stops`: texts before which the answer ends, for the API does not have them."""
        self._scrubber = scrubber
        self._counted = _Counted(input_tokens)
        self._stops = StopMatcher(stops) if stops else None
        self._slots: dict[int, _Slot] = {}
        self._over: set[int] = set()
        self._out: list[Delta] = []
        self._end: Finish | None = None

    @property
    def finished(self) -> bool:
        """Whether the response has ended, or said what it must not."""
        return self._end is not None or (self._stops is not None and self._stops.found)

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas of an event. Raises the error that it tells."""
        event = read(data)
        kind = event.get("type")
        if not isinstance(kind, str):
            raise errors.invalid("an event without a type")
        if kind in FAILED:
            raise fault_of(event, self._scrubber)
        if kind in TERMINAL:
            self._terminal(event.get("response"))
        elif kind in _TEXTS:
            self._text(kind, event)
        elif kind in _ARGUMENTS:
            self._arguments(_index(event), event.get("delta"))
        elif kind == "response.output_item.added":
            self._begin(_index(event), _item(event.get("item")))
        elif kind == "response.output_item.done":
            self._done(_index(event), _item(event.get("item")))
        out, self._out = self._out, []
        return out

    def whole(self, data: bytes) -> list[Delta]:
        """The deltas of a whole response. Raises the error that it has ended with."""
        response = read(data)
        if response.get("status") == "failed":
            raise fault_of(response, self._scrubber)
        self._terminal(response)
        out, self._out = self._out, []
        return out

    def finish(self, *, done: bool = False) -> list[Delta]:
        """What was held back, and the end."""
        if self._stops is not None and self._stops.found:
            return [Finish("stop", self._counted.usage())]
        if self._end is None:
            raise errors.truncated()
        held = self._stops.finish() if self._stops is not None else ""
        return [*([TextDelta(held)] if held else []), self._end]

    # --- items --------------------------------------------------------------------------------------------------------
    def _begin(self, index: int, item: Json) -> _Slot | None:
        kind = item["type"]
        if index in self._slots or index in self._over:
            raise errors.invalid("an item that it had begun before")
        if kind not in _READABLE:
            return None
        slot = self._slots[index] = _Slot(kind)
        if kind in _CALLS:
            name, call_id = item.get("name"), item.get("call_id")
            if not (isinstance(name, str) and name and isinstance(call_id, str) and call_id):
                raise errors.invalid("a call without a name or an id")
            self._say(index, CallStart(name, call_id, "function" if kind == "function_call" else "custom"))
            self._counted.say(name)
        return slot

    def _done(self, index: int, item: Json) -> None:
        slot = self._slots.get(index)
        if slot is None:
            if index in self._over or item["type"] not in _READABLE:
                return
            slot = self._begin(index, item)
            assert slot is not None
        if item["type"] in _CALLS:
            full = item.get(_CALLS[item["type"]])
            if isinstance(full, str) and full.startswith(slot.said):
                self._arguments(index, full[len(slot.said) :])
        elif not slot.said:
            self._parts(index, item)
        slot.done = True
        self._over.add(index)
        self._flush()

    def _parts(self, index: int, item: Json) -> None:
        """A message or reasoning that comes as a whole."""
        parts = item.get("content") or item.get("summary")
        for part in parts if isinstance(parts, list) else ():
            if not isinstance(part, dict):
                continue
            text = part.get("refusal" if part.get("type") == "refusal" else "text")
            if not isinstance(text, str) or not text:
                continue
            if item["type"] == "reasoning":
                self._say(index, ReasoningDelta(text))
            elif part.get("type") == "refusal":
                self._say(index, RefusalDelta(text))
            else:
                self._say(index, TextDelta(text, logprobs_of(part.get("logprobs"))))
            self._counted.say(text)

    def _text(self, kind: str, event: Json) -> None:
        index, text = _index(event), event.get("delta")
        if not isinstance(text, str) or index in self._over:
            raise errors.invalid("a text that makes no sense")
        make = _TEXTS[kind]
        slot = self._slots.get(index)
        if slot is None:
            slot = self._slots[index] = _Slot("reasoning" if make is ReasoningDelta else "message")
        if make is ReasoningDelta:
            # A summary says again what the reasoning says, where there are both.
            slot.reasons = slot.reasons or kind
            if slot.reasons != kind:
                return
        if text:
            slot.said += text
            self._counted.say(text)
            self._say(index, TextDelta(text, logprobs_of(event.get("logprobs"))) if make is TextDelta else make(text))

    def _arguments(self, index: int, text: Any) -> None:
        slot = self._slots.get(index)
        if slot is None or slot.kind not in _CALLS or not isinstance(text, str):
            raise errors.invalid("arguments without a call")
        if text:
            slot.said += text
            self._counted.say(text)
            self._say(index, CallArguments(text))

    # --- their order --------------------------------------------------------------------------------------------------
    def _say(self, index: int, delta: Delta) -> None:
        """Items side by side are said one after the other."""
        if next(iter(self._slots)) != index:
            self._slots[index].waiting.append(delta)
        else:
            self._tell(delta)

    def _tell(self, delta: Delta) -> None:
        if self._stops is None:
            self._out.append(delta)
        elif self._stops.found:
            return
        elif isinstance(delta, TextDelta):
            text = self._stops.feed(delta.text)
            if text:
                self._out.append(delta if text == delta.text else TextDelta(text))
        else:
            # The text is over, so what may have been the beginning of a stop was none.
            if held := self._stops.finish():
                self._out.append(TextDelta(held))
            self._out.append(delta)

    def _flush(self) -> None:
        while self._slots and next(iter(self._slots.values())).done:
            del self._slots[next(iter(self._slots))]
            if self._slots:
                slot = next(iter(self._slots.values()))
                for delta in slot.waiting:
                    self._tell(delta)
                slot.waiting = []

    def _terminal(self, value: Any) -> None:
        response = response_of(value)
        output = response.get("output")
        for index, item in enumerate(output if isinstance(output, list) else ()):
            self._done(index, _item(item))
        for index, slot in list(self._slots.items()):
            slot.done = True
            self._over.add(index)
        self._flush()
        self._end = finish_of(response, self._counted.usage())


def _index(event: Json) -> int:
    index = event.get("output_index")
    if not isinstance(index, int) or isinstance(index, bool):
        raise errors.invalid("an item without a place")
    return index


def _item(value: Any) -> Json:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise errors.invalid("an item that is none")
    return value
