"""What Responses servers send, as far as engines read it. Sans-IO."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, InvalidRequest
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.errors import Scrubber
from antiphon.protocol.generation import Finish, TokenLogprob, TopLogprob, Usage
from antiphon.protocol.responses.objects import ERROR_CODES

Json = dict[str, Any]

#: Events that say nothing yet: nobody need wait for, or keep to, a server that has said no more.
SILENT = frozenset({"response.created", "response.queued", "response.in_progress", "keepalive"})
TERMINAL = frozenset({"response.completed", "response.incomplete"})
FAILED = frozenset({"response.failed", "error"})
_CALLS = ("function_call", "custom_tool_call")


def read(data: bytes) -> Json:
    """A JSON object. Raises `UpstreamFailed` if it is none."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise errors.invalid("something that is not JSON") from None
    if not isinstance(value, dict):
        raise errors.invalid("JSON that is no event")
    return value


def response_of(value: Any) -> Json:
    """A Response object. Raises `UpstreamFailed` if it is none that has ended well, or for want of tokens."""
    if not isinstance(value, dict):
        raise errors.invalid("JSON that is no response")
    if value.get("status") not in ("completed", "incomplete") or _reason(value) == "steered":
        raise errors.invalid("a response that has not ended")
    return value


def fault_of(event: Json, scrubber: Scrubber) -> AntiphonError:
    """The error that an event, or a failed Response, tells."""
    response = event.get("response", event)
    value = response.get("error") if isinstance(response, dict) else None
    if not isinstance(value, dict):
        value = event
    told = errors.told(value, scrubber)
    if told.code in ERROR_CODES - {"server_error", "rate_limit_exceeded"}:
        said = f" It says: {told.message}" if told.message else ""
        return InvalidRequest(f"The model's server does not take this request.{said}", code=told.code)
    # A flat error event has the type of an event, not of an error.
    return errors.in_stream({name: each for name, each in value.items() if each != "error"}, scrubber)


def finish_of(response: Json, estimated: Usage) -> Finish:
    """How a response has ended. `estimated`: what it used, if it does not tell."""
    usage = usage_of(response.get("usage")) or estimated
    tier = response.get("service_tier")
    tier = tier[: limits.MAX_TIER] if isinstance(tier, str) else None
    if response["status"] == "incomplete":
        return Finish("content_filter" if _reason(response) == "content_filter" else "length", usage, tier)
    output = response.get("output")
    items = output if isinstance(output, list) else []
    calls = any(isinstance(item, dict) and item.get("type") in _CALLS for item in items)
    return Finish("tool_calls" if calls else "stop", usage, tier)


def _reason(response: Json) -> Any:
    details = response.get("incomplete_details")
    return details.get("reason") if isinstance(details, dict) else None


def usage_of(value: Any) -> Usage | None:
    """Token counts; None if there are none that can be believed."""
    given, made = _count(value, "input_tokens"), _count(value, "output_tokens")
    if given is None or made is None:
        return None
    details, more = value.get("input_tokens_details"), value.get("output_tokens_details")
    return Usage(
        input_tokens=given,
        cached_tokens=min(given, _count(details, "cached_tokens") or 0),
        output_tokens=made,
        reasoning_tokens=min(made, _count(more, "reasoning_tokens") or 0),
        cache_write_tokens=min(given, _count(details, "cache_write_tokens") or 0),
        input_audio_tokens=min(given, _count(details, "audio_tokens") or 0),
        output_audio_tokens=min(made, _count(more, "audio_tokens") or 0),
    )


def _count(value: Any, name: str) -> int | None:
    count = value.get(name) if isinstance(value, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


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
