"""What an engine answers: a stream of deltas, the last of which is always a `Finish`.

Their tags are stored with answers that are kept, so they stay as they are.
"""

from __future__ import annotations

from typing import Literal

from antiphon.domain import amounts, limits
from antiphon.protocol.generation.value import Value


class TopLogprob(Value, frozen=True):
    """An alternative token. `logprob` is the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class TokenLogprob(Value, frozen=True):
    """A generated token and its alternatives, best first."""

    token: str
    logprob: float
    bytes: tuple[int, ...]
    top_logprobs: tuple[TopLogprob, ...] = ()


class Usage(Value, frozen=True):
    """Tokens of one generation.

    `cached_tokens`, `cache_write_tokens` and `input_audio_tokens` are part of `input_tokens`; `reasoning_tokens` and
    `output_audio_tokens` of `output_tokens`. `estimated`: the engine has not told, and these are our own count.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    estimated: bool = False

    def bounded(self) -> Usage:
        """The same, with no count beyond what can be (`limits.MAX_TOKENS`), and no part greater than its whole."""
        given, made = self.input_tokens, self.output_tokens
        if (
            0 <= self.cached_tokens <= given <= limits.MAX_TOKENS
            and 0 <= self.reasoning_tokens <= made <= limits.MAX_TOKENS
            and 0 <= self.cache_write_tokens <= given
            and 0 <= self.input_audio_tokens <= given
            and 0 <= self.output_audio_tokens <= made
        ):
            return self
        given, made = amounts.count(given), amounts.count(made)
        return Usage(
            given,
            max(0, min(self.cached_tokens, given)),
            made,
            max(0, min(self.reasoning_tokens, made)),
            max(0, min(self.cache_write_tokens, given)),
            max(0, min(self.input_audio_tokens, given)),
            max(0, min(self.output_audio_tokens, made)),
            self.estimated,
        )

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.input_audio_tokens + other.input_audio_tokens,
            self.output_audio_tokens + other.output_audio_tokens,
            self.estimated or other.estimated,
        )


class TextDelta(Value, frozen=True, tag="text"):
    """More text of the answer, with the tokens it came from where they were asked for."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class RefusalDelta(Value, frozen=True, tag="refusal"):
    """More text of a refusal."""

    text: str


class ReasoningDelta(Value, frozen=True, tag="reasoning"):
    """More of the model's reasoning."""

    text: str


class CallStart(Value, frozen=True, tag="call_start"):
    """The model begins to call a tool. All `CallArguments` until the next start belong to it."""

    name: str
    call_id: str
    kind: Literal["function", "custom"] = "function"


class CallArguments(Value, frozen=True, tag="call_arguments"):
    """More of the running call's arguments."""

    text: str


class Progress(Value, frozen=True, tag="progress"):
    """How far the engine has come with the deltas that follow, in its own words, for going on after a crash.

    Not part of the answer: the driver keeps it and shows it to no machine.
    """

    state: bytes


class Finish(Value, frozen=True, tag="finish"):
    """The end of the generation, always the last delta. "length": out of tokens or of context.

    `tier`: the service tier that it was made in, if the engine tells. `unmet`: the answer does not fit a schema that it
    should fit, but need not (it is not strict).
    """

    reason: Literal["stop", "length", "tool_calls", "content_filter"]
    usage: Usage = Usage()
    tier: str | None = None
    unmet: bool = False


class PassthroughDelta(Value, frozen=True, tag="native"):
    """Part of the answer in the words of the surface that `Generation.passthrough` names: one chunk or event, as JSON.

    If the whole was asked for (`streamed` false), it is the whole object. `text` is what it says, of any kind, for
    counting tokens if the stream breaks off. An answer is passthrough as a whole, but for its `Finish`.
    """

    data: bytes
    text: str = ""


#: What an answer is made of.
AnswerDelta = TextDelta | RefusalDelta | ReasoningDelta | CallStart | CallArguments | Finish


class Batch(Value, frozen=True, tag="batch"):
    """Deltas that came at once, so that they can be sent at once. Never holds a `Finish`, which always stands alone."""

    deltas: tuple[AnswerDelta | PassthroughDelta, ...]


Delta = AnswerDelta | Progress | PassthroughDelta | Batch
