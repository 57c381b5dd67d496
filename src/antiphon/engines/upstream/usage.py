"""Token counts as servers tell them, in either API's words; and our estimate where they do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from antiphon.domain import limits
from antiphon.protocol.generation import Usage

#: Characters in a token, for the estimate.
_CHARACTERS = 4


def usage_of(value: Any) -> Usage | None:
    """Token counts; None where there are none that can be believed. Parts are never more than the whole.

    A count may be a whole number, or a text of digits. A prompt of no tokens means that the count is not known.
    """
    if not isinstance(value, dict):
        return None
    given = _count(value, "prompt_tokens", "input_tokens")
    made = _count(value, "completion_tokens", "output_tokens")
    if given is None or made is None:
        given, made = _completed(given, made, _count(value, "total_tokens"))
    if not given or made is None:
        return None
    of_input = value.get("prompt_tokens_details") or value.get("input_tokens_details")
    of_output = value.get("completion_tokens_details") or value.get("output_tokens_details")
    return Usage(
        given,
        _part(of_input, "cached_tokens", given) or _part(value, "prompt_cache_hit_tokens", given),
        made,
        _part(of_output, "reasoning_tokens", made),
        _part(of_input, "cache_write_tokens", given),
        _part(of_input, "audio_tokens", given),
        _part(of_output, "audio_tokens", made),
    )


def _completed(given: int | None, made: int | None, total: int | None) -> tuple[int | None, int | None]:
    """Input and output, of which one may follow from the sum."""
    if total is None:
        return given, made
    if made is None and given is not None and total >= given:
        made = total - given
    elif given is None and made is not None and total >= made:
        given = total - made
    return given, made


def _count(value: dict[str, Any], *names: str) -> int | None:
    for name in names:
        count = value.get(name)
        if count is None:
            continue
        whole = count if type(count) is int else number(count)
        if whole is not None and 0 <= whole <= limits.MAX_TOKENS_TOLD:
            return whole
    return None


def _part(details: Any, name: str, whole: int) -> int:
    """A part of a count, never more than the whole."""
    if not isinstance(details, dict) or not details.get(name):
        return 0
    return min(_count(details, name) or 0, whole)


def number(value: Any) -> int | None:
    """A whole number, however a server writes it: 3, 3.0 or "3"."""
    if isinstance(value, str):
        return int(value) if len(value) < 20 and value.isascii() and value.removeprefix("-").isdigit() else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2.0**63 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class OutputMeter:
    """Measures the text of an answer: for estimating its tokens, and for ending one that is too long."""

    def __init__(
        self, input_tokens: Callable[[], int], most_tokens: int | None = None, context: int | None = None
    ) -> None:
        """`input_tokens` gives our estimate of the prompt. `most_tokens`: output tokens that were asked for.

        `context`: tokens that the model has room for, for an answer of which no number was asked.
        """
        self._input_tokens = input_tokens
        #: Characters beyond which it says too much.
        self.most: float = float("inf")
        if most_tokens is not None:
            self.most = _CHARACTERS * (limits.UPSTREAM_EXCESS * most_tokens + limits.UPSTREAM_EXCESS_TOKENS)
        elif context is not None:
            self.most = _CHARACTERS * limits.UPSTREAM_CONTEXT_EXCESS * context
        self.characters = 0

    def add(self, text: str) -> None:
        """Count more text."""
        self.characters += len(text)

    @property
    def too_much(self) -> bool:
        """Whether the answer is longer than that of any server that keeps to its request."""
        return self.characters > self.most

    def usage(self, reported: Usage | None = None) -> Usage:
        """What was used: as it was `reported`, unless that is none for an answer with text; else our estimate."""
        if reported is not None and (reported.output_tokens or not self.characters):
            return reported
        made = -(-self.characters // _CHARACTERS)
        given = self._input_tokens() if reported is None else reported.input_tokens
        return Usage(given, output_tokens=made, estimated=True)
