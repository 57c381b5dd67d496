"""A Responses server's own events, passed on; the surface checks their order. Sans-IO."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.engines.upstream import errors, lenient_json
from antiphon.engines.upstream.responses.events import (
    FAILED,
    SILENT,
    TERMINAL,
    EventReader,
    Json,
    fault_of,
    finish_of,
    read,
    response_of,
    whole_response,
)
from antiphon.engines.upstream.scrubber import Scrubber
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.protocol.generation import Delta, Finish, PassthroughDelta


class _Head(msgspec.Struct, gc=False):
    """What is looked at of an event that is passed on."""

    type: str
    delta: Any = None


_decode_head = msgspec.json.Decoder(_Head).decode
_OUT_OF_TOKENS: Json = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}


class ResponsesPassthroughParser:
    """An `AnswerParser` that passes events on. Whether one may come now is decided by the surface's machine."""

    def __init__(self, scrubber: Scrubber, meter: OutputMeter) -> None:
        self._scrubber = scrubber
        self._reader = EventReader(scrubber)
        self._meter = meter
        self._end: Finish | None = None

    @property
    def finished(self) -> bool:
        """Whether the response has ended."""
        return self._end is not None

    def feed(self, data: bytes, name: str = "message") -> list[Delta]:
        """The event, unless it says nothing. Raises the error that it tells. `name`: as its own line says it."""
        data = self._scrubber.masked(data)
        if not self._reader.halves and name != "error":
            try:
                head = _decode_head(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                if head.type.startswith("response."):
                    return self._event(head.type, data, head.delta)
                if head.type in SILENT:
                    return []
        value = self._reader.unusual(data, name)
        if value is None:
            return []
        return self._event(value["type"], lenient_json.written(value), value.get("delta"))

    def _event(self, kind: str, data: bytes, delta: Any) -> list[Delta]:
        if kind in SILENT:
            return []
        if kind in FAILED:
            raise fault_of(read(data), self._scrubber)
        if kind in TERMINAL:
            return self._terminal(kind, data)
        text = delta if isinstance(delta, str) else ""
        self._meter.add(text)
        if not self._meter.too_much:
            return [PassthroughDelta(data, text)]
        self._end = Finish("length", self._meter.usage())
        end = {"type": "response.incomplete", "response": {**_OUT_OF_TOKENS, "output": []}}
        return [PassthroughDelta(data, text), PassthroughDelta(lenient_json.written(end))]

    def _terminal(self, kind: str, data: bytes) -> list[Delta]:
        event = read(data)
        given = event.get("response")
        before = dict(given) if isinstance(given, dict) else None
        if before is not None and before.get("status") == "failed":
            raise fault_of(event, self._scrubber)
        response = response_of(given, kind)
        self._end = finish_of(response, self._meter)
        if kind == "response.done" or response != before:
            data = lenient_json.written({**event, "type": f"response.{response['status']}", "response": response})
        return [PassthroughDelta(data)]

    def whole(self, data: bytes) -> list[Delta]:
        """The response as it is. Raises the error that it has ended with."""
        data = self._scrubber.masked(data)
        response = whole_response(data, self._scrubber)
        self._end = finish_of(response, self._meter)
        try:
            as_it_came = msgspec.json.decode(data) == response
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            as_it_came = False
        return [PassthroughDelta(data if as_it_came else lenient_json.written(response))]

    def finish(self) -> list[Delta]:
        """The end."""
        if self._end is None:
            raise errors.truncated()
        return [self._end]
