"""What Responses servers send, as far as engines read it. Sans-IO."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, InvalidRequest
from antiphon.engines.upstream import errors, lenient_json
from antiphon.engines.upstream.scrubber import Scrubber
from antiphon.engines.upstream.usage import OutputMeter, usage_of
from antiphon.protocol.balance import cut_off
from antiphon.protocol.generation import Finish, TokenLogprob, TopLogprob
from antiphon.protocol.responses.objects import ERROR_CODES

Json = dict[str, Any]

#: Events that say nothing yet: a server that has sent nothing else has not begun its answer.
SILENT = frozenset({"response.created", "response.queued", "response.in_progress", "keepalive", "ping", "heartbeat"})
#: The published ones, and what some servers say for either.
TERMINAL = frozenset({"response.completed", "response.incomplete", "response.done"})
FAILED = frozenset({"response.failed", "error"})
_CALLS = ("function_call", "custom_tool_call")
_ENDED = ("completed", "incomplete")
#: Members of items that hold what they say.
_SAYING = ("text", "refusal", "arguments", "input", "code", "name")


def read(data: bytes) -> Json:
    """A JSON object. Raises `UpstreamFailed` if it is none."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = lenient_json.value_of(data)
    if not isinstance(value, dict):
        raise errors.invalid("JSON that is no event")
    return value


class EventReader:
    """Reads the events of one answer that are not as they should be."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self.halves = lenient_json.SurrogateJoiner()

    def unusual(self, data: bytes, name: str) -> Json | None:
        """The event with its type; None for what says nothing, such as a ping. `name`: as the event's own line says it.

        Raises the error that it tells, or `UpstreamFailed` for what is no event.
        """
        value = lenient_json.object_of(data, "message" if name.startswith("response.") else name, self._scrubber)
        if value is None:
            return None
        if isinstance(value.get("type"), str) and value["type"] in FAILED:
            raise fault_of(value, self._scrubber)
        error = errors.in_band(value, self._scrubber, name)
        if error is not None:
            raise error
        return self._typed(value, name)

    def _typed(self, value: Json, name: str) -> Json | None:
        kind = value.get("type")
        if not isinstance(kind, str):
            if value.get("object") == "response" and value.get("status") in _ENDED:
                return {"type": "response.done", "response": value}
            if kind is not None or not name.startswith("response."):
                if kind is not None or "delta" in value or "choices" in value:
                    raise errors.invalid("something that is no event")
                return None
            value["type"] = name
        if isinstance(value.get("delta"), str):
            where = (value["type"], *(str(value.get(member)) for member in ("output_index", "content_index")))
            value["delta"] = self.halves.join(where, value["delta"])
        return value


def response_of(value: Any, kind: str = "response.done") -> Json:
    """A Response object that has ended well, or for want of tokens. `kind`: the type of the event that holds it.

    Raises `UpstreamFailed` if it has not. A server may leave it to the event to say how it has ended.
    """
    if not isinstance(value, dict):
        raise errors.invalid("JSON that is no response")
    if value.get("status") is None and kind != "response.done":
        value["status"] = kind.rpartition(".")[2]
    elif value.get("status") is None and isinstance(value.get("output"), list):
        value["status"] = "completed"
    if value.get("status") not in _ENDED or _reason(value) == "steered":
        raise errors.invalid("a response that has not ended")
    return value


def whole_response(data: bytes, scrubber: Scrubber) -> Json:
    """A Response that came as a whole. Raises the error that it has ended with, or that stands in its place."""
    response = read(data)
    if response.get("status") == "failed" or response.get("error"):
        raise fault_of(response, scrubber)
    error = errors.in_band(response, scrubber)
    if error is not None:
        raise error
    return response_of(response)


def said_in(response: Json) -> int:
    """Characters of all that the items of a Response say."""
    output = response.get("output")
    count = 0
    for item in output if isinstance(output, list) else ():
        if not isinstance(item, dict):
            continue
        parts = [part for name in ("content", "summary") if isinstance(item.get(name), list) for part in item[name]]
        for part in (item, *parts):
            texts = [part.get(name) for name in _SAYING] if isinstance(part, dict) else []
            count += sum(len(text) for text in texts if isinstance(text, str))
    return count


def fault_of(event: Json, scrubber: Scrubber) -> AntiphonError:
    """The error that an event, or a failed Response, tells."""
    response = event.get("response", event)
    value = response.get("error") if isinstance(response, dict) else None
    if not isinstance(value, dict):
        value = event
    reported = errors.reported(value, scrubber)
    if reported.code in ERROR_CODES - {"server_error", "rate_limit_exceeded"}:
        detail = f" It says: {reported.message}" if reported.message else ""
        return InvalidRequest(f"The model's server does not take this request.{detail}", code=reported.code)
    # A flat error event has the type of an event, not of an error.
    return errors.in_stream({name: each for name, each in value.items() if name != "error"}, scrubber)


def finish_of(response: Json, meter: OutputMeter) -> Finish:
    """How a response has ended. `meter`: what it has said, for the usage if it does not tell."""
    meter.characters = max(meter.characters, said_in(response))
    usage = meter.usage(usage_of(response.get("usage")))
    tier = response.get("service_tier")
    tier = tier[: limits.MAX_TIER] if isinstance(tier, str) else None
    if response["status"] == "incomplete":
        return Finish("content_filter" if _reason(response) == "content_filter" else "length", usage, tier)
    output = response.get("output")
    items = output if isinstance(output, list) else []
    calls = [item for item in items if isinstance(item, dict) and item.get("type") in _CALLS]
    if any(item["type"] == "function_call" and cut_off(str(item.get("arguments") or "")) for item in calls):
        return Finish("length", usage, tier)  # whatever it says, it is not whole
    return Finish("tool_calls" if calls else "stop", usage, tier)


def _reason(response: Json) -> Any:
    details = response.get("incomplete_details")
    return details.get("reason") if isinstance(details, dict) else None


def logprobs_of(value: Any) -> tuple[TokenLogprob, ...]:
    """Log probabilities of a piece of text. Those that make no sense are left out."""
    entries = value if isinstance(value, list) else []
    return tuple(
        TokenLogprob(*_token(entry), tuple(TopLogprob(*_token(top)) for top in _tops(entry)))
        for entry in entries
        if _is_token(entry)
    )


def _tops(entry: Json) -> list[Json]:
    tops = entry.get("top_logprobs")
    return [top for top in tops if _is_token(top)] if isinstance(tops, list) else []


def _is_token(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("token"), str)
        and isinstance(entry.get("logprob"), int | float)
    )


def _token(entry: Json) -> tuple[str, float, tuple[int, ...]]:
    raw = entry.get("bytes")
    whole = isinstance(raw, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in raw)
    return entry["token"], float(entry["logprob"]), tuple(raw or ()) if whole else tuple(entry["token"].encode())
