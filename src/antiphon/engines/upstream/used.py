"""Token counts as servers tell them, in either API's words; and our estimate where they do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from antiphon.domain import limits
from antiphon.protocol.generation import Usage

#: Each count, by the names that servers have for it.
_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
#: Characters in a token, for the estimate.
_CHARACTERS = 4


def usage_of(value: Any) -> Usage | None:
    """Token counts; None where there are none that can be believed. Parts are never more than the whole.

    A count may be a number that is whole, or a text of digits. No prompt has no tokens: who says so, does not tell.
    """
    if not isinstance(value, dict):
        return None
    given, made, total = _count(value, *_INPUT), _count(value, *_OUTPUT), _count(value, "total_tokens")
    if total is not None and made is None and given is not None and total >= given:
        made = total - given
    if total is not None and given is None and made is not None and total >= made:
        given = total - made
    if not given or made is None:
        return None
    of_input, of_output = _details(value, _INPUT_DETAILS), _details(value, _OUTPUT_DETAILS)
    cached = _count(of_input, "cached_tokens") or _count(value, "prompt_cache_hit_tokens")
    return Usage(
        input_tokens=given,
        cached_tokens=min(given, cached or 0),
        output_tokens=made,
        reasoning_tokens=min(made, _count(of_output, "reasoning_tokens") or 0),
        cache_write_tokens=min(given, _count(of_input, "cache_write_tokens") or 0),
        input_audio_tokens=min(given, _count(of_input, "audio_tokens") or 0),
        output_audio_tokens=min(made, _count(of_output, "audio_tokens") or 0),
    )


def _details(value: Any, names: tuple[str, ...]) -> Any:
    return next((value[name] for name in names if isinstance(value.get(name), dict)), None)


def _count(value: Any, *names: str) -> int | None:
    if not isinstance(value, dict):
        return None
    for name in names:
        count = number(value.get(name))
        if count is not None and 0 <= count <= limits.MAX_TOKENS_TOLD:
            return count
    return None


def number(value: Any) -> int | None:
    """A whole number, however a server writes it: 3, 3.0 or "3"."""
    if isinstance(value, str):
        return int(value) if len(value) < 20 and value.isascii() and value.removeprefix("-").isdigit() else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2.0**63 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class Counted:
    """How much an answer has said, for the estimate, and for ending what says too much."""

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

    def say(self, text: str) -> None:
        """More."""
        self.characters += len(text)

    @property
    def too_much(self) -> bool:
        """Whether no server that keeps to what it was asked says as much."""
        return self.characters > self.most

    def usage(self, told: Usage | None = None) -> Usage:
        """What was used: as it was `told`, unless that is nothing for something; else our estimate."""
        if told is not None and (told.output_tokens or not self.characters):
            return told
        made = -(-self.characters // _CHARACTERS)
        given = self._input_tokens() if told is None else told.input_tokens
        return Usage(given, output_tokens=made, estimated=True)
