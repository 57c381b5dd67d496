"""What Chat Completions servers send, as far as it is read: chunks of streams, and whole completions.

Only what is looked at is declared; all else may be anything. A member of the wrong type makes the whole invalid.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from antiphon.domain.errors import AntiphonError, Overloaded, UpstreamFailed
from antiphon.engines.upstream import errors
from antiphon.protocol.generation import TokenLogprob, TopLogprob, Usage

Reason = Literal["stop", "length", "tool_calls", "content_filter"]
Json = dict[str, Any]

_REASONS: dict[str, Reason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",
    # Other servers' words for running out of tokens.
    "max_tokens": "length",
    "model_length": "length",
}
#: Reasons that mean that the answer was broken off (OpenRouter, DeepSeek).
_FAULTS = frozenset({"error", "insufficient_system_resource"})


class _Read(msgspec.Struct, gc=False):
    """Base of all that is only read."""


class Function(_Read):
    """`arguments`: JSON text, or the object itself, as some servers have it."""

    name: str | None = None
    arguments: str | Json | None = None


class Custom(_Read):
    """A call with free text."""

    name: str | None = None
    input: str | None = None


class Call(_Read):
    """A piece of a tool call, or a whole one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    custom: Custom | None = None


class Piece(_Read):
    """A part of a text that is given in parts; `thinking` holds parts of reasoning (Mistral)."""

    type: str = "text"
    text: str = ""
    thinking: list[Piece] | str = ""


class Said(_Read):
    """A delta of a stream, or a whole message: they have the same members."""

    content: str | list[Piece] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None


class Alternative(_Read):
    """A token that could have been drawn."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class Probability(_Read):
    """A drawn token."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[Alternative] | None = None


class Logprobs(_Read):
    """Log probabilities of the text of one piece."""

    content: list[Probability] | None = None


class Choice(_Read):
    """One choice: `delta` in a stream, `message` in a whole completion."""

    index: int = 0
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Completion(_Read):
    """A chunk, or a whole completion, or an error in place of either."""

    choices: list[Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    service_tier: Any = None
    error: msgspec.Raw = msgspec.Raw()


class InputDetails(_Read):
    """Parts of the input tokens."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class OutputDetails(_Read):
    """Parts of the output tokens."""

    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class Tokens(_Read):
    """Usage. `prompt_cache_hit_tokens` is DeepSeek's word for cached tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None


_decode = msgspec.json.Decoder(Completion).decode
_decode_tokens = msgspec.json.Decoder(Tokens).decode
_NULL = b"null"


def read(data: bytes, scrubber: errors.Scrubber) -> Completion:
    """A chunk or a completion. Raises `UpstreamFailed` for what is neither, and the error that stands in its place."""
    try:
        completion = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _no_completion(data, scrubber) from None
    if completion.error and bytes(completion.error) != _NULL:
        raise errors.in_stream({"error": msgspec.json.decode(completion.error)}, scrubber)
    return completion


def _no_completion(data: bytes, scrubber: errors.Scrubber) -> AntiphonError:
    """An error object may have members of other types than a completion has."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return errors.invalid("something that is not JSON")
    if isinstance(value, dict) and value.get("error"):
        return errors.in_stream(value, scrubber)
    return errors.invalid("JSON that is no completion")


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """Token counts; None where there are none that make sense. Parts are never more than the whole."""
    if not raw or bytes(raw) == _NULL:
        return None
    try:
        tokens = _decode_tokens(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if tokens.prompt_tokens < 0 or tokens.completion_tokens < 0:
        return None
    given, made = tokens.prompt_tokens_details or InputDetails(), tokens.completion_tokens_details or OutputDetails()
    return Usage(
        input_tokens=tokens.prompt_tokens,
        cached_tokens=_part(given.cached_tokens or tokens.prompt_cache_hit_tokens, tokens.prompt_tokens),
        output_tokens=tokens.completion_tokens,
        reasoning_tokens=_part(made.reasoning_tokens, tokens.completion_tokens),
        cache_write_tokens=_part(given.cache_write_tokens, tokens.prompt_tokens),
        input_audio_tokens=_part(given.audio_tokens, tokens.prompt_tokens),
        output_audio_tokens=_part(made.audio_tokens, tokens.completion_tokens),
    )


def _part(count: int | None, whole: int) -> int:
    return max(0, min(count or 0, whole))


def reason_of(word: str) -> Reason:
    """Why the answer ended; "stop" for words nobody knows. Raises for those that mean that it was broken off."""
    if word in _FAULTS:
        raise _broken_off(word)
    return _REASONS.get(word, "stop")


def _broken_off(word: str) -> Overloaded | UpstreamFailed:
    if word == "insufficient_system_resource":
        return Overloaded("The model's server is overloaded. Please retry later.")
    return errors.broken()


def texts_of(said: Said) -> tuple[str, str]:
    """The reasoning and the text of a piece."""
    reasoning = said.reasoning_content or said.reasoning or ""
    content = said.content
    if content is None or isinstance(content, str):
        return reasoning, content or ""
    text = []
    for piece in content:
        if piece.type == "thinking":
            reasoning += piece.thinking if isinstance(piece.thinking, str) else "".join(p.text for p in piece.thinking)
        else:
            text.append(piece.text)
    return reasoning, "".join(text)


def logprobs_of(logprobs: Logprobs | None) -> tuple[TokenLogprob, ...]:
    """Tokens and their alternatives."""
    if logprobs is None or not logprobs.content:
        return ()
    return tuple(
        TokenLogprob(
            token.token,
            token.logprob,
            _bytes(token),
            tuple(TopLogprob(top.token, top.logprob, _bytes(top)) for top in token.top_logprobs or ()),
        )
        for token in logprobs.content
    )


def _bytes(token: Probability | Alternative) -> tuple[int, ...]:
    return tuple(token.token.encode()) if token.bytes is None else tuple(token.bytes)
