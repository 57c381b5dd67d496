"""From what a Responses server sends to neutral deltas. Sans-IO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.ids import new_id
from antiphon.engines.stops import StopMatcher
from antiphon.engines.upstream import errors, lenient_json
from antiphon.engines.upstream.responses.events import (
    FAILED,
    SILENT,
    TERMINAL,
    EventReader,
    Json,
    fault_of,
    finish_of,
    logprobs_of,
    response_of,
    whole_response,
)
from antiphon.engines.upstream.scrubber import Scrubber
from antiphon.engines.upstream.usage import OutputMeter, number
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
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


@dataclass(slots=True)
class _Slot:
    """One output item. `text`: what it has said so far. `waiting`: its deltas, while an item before it is not done."""

    kind: str
    text: str = ""
    reasons: str | None = None
    waiting: list[Delta] = field(default_factory=list)
    done: bool = False


class ResponsesParser:
    """An `AnswerParser` that translates. What hosted tools do has no place in a neutral answer, and is left out."""

    def __init__(self, scrubber: Scrubber, meter: OutputMeter, stops: Sequence[str] = ()) -> None:
        """`stops`: texts before which the answer ends, for the API does not have them."""
        self._scrubber = scrubber
        self._reader = EventReader(scrubber)
        self._meter = meter
        self._stops = StopMatcher(stops) if stops else None
        self._slots: dict[int, _Slot] = {}
        self._over: set[int] = set()
        self._places: dict[str, int] = {}
        self._call_ids: set[str] = set()
        self._out: list[Delta] = []
        self._end: Finish | None = None

    @property
    def finished(self) -> bool:
        """Whether the response has ended, or said what it must not."""
        return self._end is not None or (self._stops is not None and self._stops.found)

    def feed(self, data: bytes, name: str = "message") -> list[Delta]:
        """The deltas of an event. Raises the error that it tells. `name`: as its own line says it."""
        event = self._read(self._scrubber.masked(data), name)
        if event is None:
            return []
        kind: str = event["type"]
        if kind in FAILED:
            raise fault_of(event, self._scrubber)
        if kind in TERMINAL:
            self._terminal(kind, event)
        elif kind in _TEXTS:
            self._text(kind, event)
        elif kind in _ARGUMENTS:
            self._arguments(self._index(event), event.get("delta"))
        elif kind == "response.output_item.added":
            self._open_item(self._index(event), _item(event.get("item")))
        elif kind == "response.output_item.done":
            self._done(self._index(event), _item(event.get("item")))
        if self._meter.too_much and self._end is None:
            self._close({}, Finish("length", self._meter.usage()))
        out, self._out = self._out, []
        return out

    def _read(self, data: bytes, name: str) -> Json | None:
        if not self._reader.halves and name != "error":
            try:
                value = msgspec.json.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                value = None
            kind = value.get("type") if isinstance(value, dict) else None
            if isinstance(kind, str) and (kind.startswith("response.") or kind in SILENT):
                return None if kind in SILENT else value
        return self._reader.unusual(data, name)

    def whole(self, data: bytes) -> list[Delta]:
        """The deltas of a whole response. Raises the error that it has ended with."""
        data = self._scrubber.masked(data)
        response = whole_response(data, self._scrubber)
        self._close(response, None)
        out, self._out = self._out, []
        return out

    def finish(self) -> list[Delta]:
        """What was held back, and the end."""
        if self._stops is not None and self._stops.found:
            return [Finish("stop", self._meter.usage())]
        if self._end is None:
            raise errors.truncated()
        held = self._stops.finish() if self._stops is not None else ""
        return [*([TextDelta(held)] if held else []), self._end]

    # --- items --------------------------------------------------------------------------------------------------------
    def _open_item(self, index: int, item: Json) -> _Slot | None:
        kind = item["type"]
        if index in self._slots or index in self._over:
            raise errors.invalid("an item that it had begun before")
        if kind not in _READABLE:
            return None
        slot = self._slots[index] = _Slot(kind)
        if kind in _CALLS:
            name, call_id = item.get("name"), item.get("call_id")
            if not (isinstance(name, str) and name):
                raise errors.invalid("a call without a name")
            if len(self._call_ids) >= limits.MAX_UPSTREAM_CALLS:
                raise errors.invalid("more tool calls than an answer has")
            if not isinstance(call_id, str) or not call_id or call_id in self._call_ids:
                call_id = new_id("call_")  # results are told apart by it
            self._call_ids.add(call_id)
            self._say(index, CallStart(name, call_id, "function" if kind == "function_call" else "custom"))
            self._meter.add(name)
        return slot

    def _done(self, index: int, item: Json) -> None:
        slot = self._slots.get(index)
        if slot is None:
            if index in self._over or item["type"] not in _READABLE:
                return
            slot = self._open_item(index, item)
            assert slot is not None
        if item["type"] in _CALLS:
            full = item.get(_CALLS[item["type"]])
            if isinstance(full, dict):
                full = lenient_json.written(full).decode()
            if isinstance(full, str) and full.startswith(slot.text):
                self._arguments(index, full[len(slot.text) :])
            if not slot.text and item["type"] == "function_call" and item.get("status") != "incomplete":
                self._arguments(index, "{}")  # as the published API says that there are none
        elif not slot.text:
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
            self._meter.add(text)

    def _text(self, kind: str, event: Json) -> None:
        index, text = self._index(event), event.get("delta")
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
            slot.text += text
            self._meter.add(text)
            self._say(index, TextDelta(text, logprobs_of(event.get("logprobs"))) if make is TextDelta else make(text))

    def _arguments(self, index: int, text: Any) -> None:
        slot = self._slots.get(index)
        if slot is None and index not in self._over:
            return  # its item was left out: it comes with its end
        if slot is None or slot.kind not in _CALLS or not isinstance(text, str):
            raise errors.invalid("arguments without a call")
        if text:
            slot.text += text
            self._meter.add(text)
            self._say(index, CallArguments(text))

    # --- their order --------------------------------------------------------------------------------------------------
    def _say(self, index: int, delta: Delta) -> None:
        """Items that come side by side are given one after the other."""
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

    def _terminal(self, kind: str, event: Json) -> None:
        response = event.get("response")
        if isinstance(response, dict) and response.get("status") == "failed":
            raise fault_of(event, self._scrubber)
        self._close(response_of(response, kind), None)

    def _close(self, response: Json, end: Finish | None) -> None:
        """The answer is complete. `end`: None for how the response has ended."""
        output = response.get("output")
        for index, item in enumerate(output if isinstance(output, list) else ()):
            self._done(index, _item(item))
        for index, slot in list(self._slots.items()):
            slot.done = True
            self._over.add(index)
        self._flush()
        self._end = end or finish_of(response, self._meter)

    def _index(self, event: Json) -> int:
        """The place of the item that an event belongs to: as it says, or that of its item's id, or the last one's."""
        index = number(event.get("output_index"))
        name = event.get("item_id")
        if not isinstance(name, str):
            name = event["item"].get("id") if isinstance(event.get("item"), dict) else None
        if index is None:
            if event.get("output_index") is not None:
                raise errors.invalid("an item without a place")
            known = self._places.get(name) if isinstance(name, str) else None
            fresh = max((*self._slots, *self._over), default=-1) + 1
            last = max(self._slots, default=fresh)
            new = "item" in event or isinstance(name, str)
            index = known if known is not None else fresh if new else last
        if isinstance(name, str):
            self._places.setdefault(name, index)
        return index


def _item(value: Any) -> Json:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise errors.invalid("an item that is none")
    return value
