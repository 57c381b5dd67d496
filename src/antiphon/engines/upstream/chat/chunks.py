"""What Chat Completions servers send, as far as it is read: chunks of streams, and whole completions.

Only what is looked at is declared; all else may be anything. A member of the wrong type makes the whole invalid.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from antiphon.domain.errors import Overloaded, UpstreamFailed
from antiphon.engines.upstream import errors
from antiphon.protocol.generation import TokenLogprob, TopLogprob

Reason = Literal["stop", "length", "tool_calls", "content_filter"]
Json = dict[str, Any]

#: Other servers' words for why an answer ended. Whatever is not known is a good end.
_REASONS: dict[str, Reason] = {
    "length": "length",
    "max_tokens": "length",
    "max_length": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
    "spii": "content_filter",
    "sensitive": "content_filter",
}
#: Reasons that mean that the answer was broken off.
_FAULTS = frozenset({"error", "failed", "abort", "aborted", "cancelled", "insufficient_system_resource"})


class _Lenient(msgspec.Struct, gc=False):
    """Base of all that is only read."""


class Function(_Lenient):
    """`arguments`: JSON text, or the object itself, as some servers have it."""

    name: str | None = None
    arguments: str | Json | None = None


class Custom(_Lenient):
    """A call with free text."""

    name: str | None = None
    input: str | None = None


class Call(_Lenient):
    """A piece of a tool call, or a whole one."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: Function | None = None
    custom: Custom | None = None


class Piece(_Lenient):
    """A part of a text that is given in parts; `thinking` holds parts of reasoning (Mistral)."""

    type: str = "text"
    text: str = ""
    thinking: list[Piece] | str = ""


class MessagePart(_Lenient):
    """A delta of a stream, or a whole message: they have the same members."""

    role: str | None = None
    content: str | list[Piece] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None


class Alternative(_Lenient):
    """A token that could have been drawn."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class Probability(_Lenient):
    """A drawn token."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[Alternative] | None = None


class Logprobs(_Lenient):
    """Log probabilities of the text of one piece."""

    content: list[Probability] | None = None


class Choice(_Lenient):
    """One choice: `delta` in a stream, `message` in a whole completion."""

    index: int | None = None
    delta: MessagePart | None = None
    message: MessagePart | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Completion(_Lenient):
    """A chunk, or a whole completion, or an error in place of either."""

    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Any = None
    service_tier: Any = None
    error: Any = None


def reason_of(word: str) -> Reason:
    """Why the answer ended; "stop" for unknown words. Raises for those that mean that it was broken off."""
    word = word.lower()
    if word in _FAULTS:
        raise _broken_off(word)
    return _REASONS.get(word, "stop")


def _broken_off(word: str) -> Overloaded | UpstreamFailed:
    if word == "insufficient_system_resource":
        return Overloaded("The model's server is overloaded. Please retry later.")
    return errors.failed()


def texts_of(part: MessagePart) -> tuple[str, str]:
    """The reasoning and the text of a piece."""
    reasoning = part.reasoning_content or part.reasoning or ""
    content = part.content
    if content is None or isinstance(content, str):
        return reasoning, content or ""
    text = []
    for piece in content:
        if piece.type == "thinking":
            reasoning += piece.thinking if isinstance(piece.thinking, str) else "".join(p.text for p in piece.thinking)
        else:
            text.append(piece.text)
    return reasoning, "".join(text)


def name_of(call: Call) -> str | None:
    """The name of what is called, if this piece says it."""
    named = call.custom or call.function
    return named.name or None if named is not None else None


def arguments_of(call: Call) -> str:
    """The arguments in this piece, as text."""
    if call.custom is not None:
        return call.custom.input or ""
    return text_of(call.function.arguments) if call.function is not None else ""


def text_of(arguments: str | Json | None) -> str:
    """Arguments as text, as some servers have the object itself."""
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else arguments or ""


def call_texts(part: MessagePart) -> list[str]:
    """Names and arguments of calls, for counting them."""
    pieces = [f"{name_of(call) or ''}{arguments_of(call)}" for call in part.tool_calls or ()]
    if part.function_call is not None:
        pieces.append(f"{part.function_call.name or ''}{text_of(part.function_call.arguments)}")
    return pieces


def only_text(choices: Sequence[Choice]) -> str:
    """The text of a chunk that is text and no more, as nearly all are; empty for any other."""
    choice = choices[0]
    part = choice.delta
    if part is None or choice.finish_reason is not None or len(choices) > 1 or type(part.content) is not str:
        return ""
    others = part.reasoning_content or part.reasoning or part.refusal or part.tool_calls or part.function_call
    return "" if others else part.content


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
