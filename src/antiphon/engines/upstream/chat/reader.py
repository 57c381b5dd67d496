"""Reads events and bodies of a Chat Completions server: as they should be, or nearly so."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.engines.upstream import errors, lenient_json
from antiphon.engines.upstream.chat.chunks import Completion
from antiphon.engines.upstream.scrubber import Scrubber
from antiphon.engines.upstream.usage import number

Json = dict[str, Any]

_decode = msgspec.json.Decoder(Completion).decode
#: The texts of a delta that may be cut inside a character.
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


class ChunkReader:
    """Reads one answer. `value`: what was read last, put right, if it had to be; else None."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._halves = lenient_json.SurrogateJoiner()
        self.value: Json | None = None

    def read(self, data: bytes, name: str = "message") -> Completion | None:
        """A chunk or a completion; None for what says nothing, such as a ping. `name`: the event's type.

        Raises the error that stands in its place, or `UpstreamFailed` for what is nothing of all that.
        """
        self.value = None
        if not self._halves and name != "error":
            try:
                completion = _decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return self._unusual(data, name)
            usual = completion.choices or (completion.choices == [] and completion.usage)
            if usual and completion.error is None:
                return completion
        return self._unusual(data, name)

    def _unusual(self, data: bytes, name: str) -> Completion | None:
        value = lenient_json.object_of(data, name, self._scrubber)
        if value is None:
            return None
        error = errors.in_band(value, self._scrubber, name)
        if error is not None:
            raise error
        if value.get("choices") is None and value.get("usage") is None:
            return None
        self._tidy(value)
        self.value = value
        try:
            return msgspec.convert(value, Completion)
        except msgspec.ValidationError:
            raise errors.invalid("JSON that is no completion") from None

    # --- what can be put right ----------------------------------------------------------------------------------------
    def _tidy(self, value: Json) -> None:
        """Members of the wrong type become what they mean, or nothing."""
        value["choices"] = _dicts(value.get("choices"))
        value["created"] = number(value.get("created"))
        for member in ("id", "object", "model"):
            value[member] = _text(value.get(member))
        for choice in value["choices"]:
            self._tidy_choice(choice)

    def _tidy_choice(self, choice: Json) -> None:
        index = choice["index"] = number(choice.get("index"))
        reason = choice.get("finish_reason")
        if isinstance(reason, dict):
            reason = reason.get("type")
        choice["finish_reason"] = reason if isinstance(reason, str) and reason else None
        if not isinstance(choice.get("logprobs"), dict):
            choice.pop("logprobs", None)
        for member in ("delta", "message"):
            if isinstance(choice.get(member), dict):
                self._tidy_part(choice[member], index, ended=choice["finish_reason"] is not None)

    def _tidy_part(self, part: Json, index: int | None, *, ended: bool) -> None:
        for name in _TEXTS:
            text = part.get(name)
            if isinstance(text, str):
                part[name] = self._halves.join((index, name), text)
            if ended and (rest := self._halves.rest((index, name))):
                part[name] = (part.get(name) or "") + rest
        part["role"] = _text(part.get("role"))
        if part.get("tool_calls") is not None:
            part["tool_calls"] = _dicts(part["tool_calls"])
        for place, call in enumerate(part.get("tool_calls") or ()):
            call["index"] = number(call.get("index"))
            call["id"], call["type"] = _identifier(call.get("id")), _text(call.get("type"))
            which = call["id"] or place if call["index"] is None else call["index"]
            self._tidy_function(call.get("function"), (index, "tool_calls", which))
        if not isinstance(part.get("function_call"), dict | None):
            part["function_call"] = None
        self._tidy_function(part.get("function_call"), (index, "function_call"))

    def _tidy_function(self, function: Any, where: Any) -> None:
        if not isinstance(function, dict):
            return
        function["name"] = _text(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            function["arguments"] = self._halves.join(where, arguments)
        elif not isinstance(arguments, dict | None):
            function["arguments"] = lenient_json.written(arguments).decode()


def _dicts(value: Any) -> list[Json]:
    if value is None:
        return []
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise errors.invalid("JSON that is no completion")
    return value


def _text(value: Any) -> str | None:
    return lenient_json.whole_characters(value) if isinstance(value, str) else None


def _identifier(value: Any) -> str | None:
    """An id, which some servers have as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value) or None
