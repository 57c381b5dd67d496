"""From the child's chunks to deltas: one attempt at an answer. Sans-IO."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from antiphon.domain.errors import OutputInvalid
from antiphon.engines.llama.calls import CallScanner, Kind
from antiphon.engines.llama.client import Chunk, Probability
from antiphon.engines.llama.jsontext import JsonSpan
from antiphon.engines.llama.schemas import Misfit
from antiphon.engines.llama.thinking import Thinking, ThoughtSplitter
from antiphon.engines.stops import StopMatcher
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    TopLogprob,
    Usage,
)

Reason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """What an answer must be.

    `tools`: the callable tools and their kinds; `wrapped`: calls stand in `<tool_call>`; `text_allowed`: it need not be
    calls. `raw`: tools that are called with plain text. `stops`: stop sequences of the text beside calls and thoughts
    (where there are neither, llama.cpp looks for them). `text_misfit` checks the whole text, `argument_misfits` the
    arguments by name of the tool; `strict` holds names of tools, and "" for the text, of which nothing may be shown
    that does not fit. `top_logprobs` as in `Sampling`. `thinking`: how an answer with thoughts begins.
    """

    tools: Mapping[str, Kind]
    wrapped: bool = False
    text_allowed: bool = True
    parallel: bool = True
    raw: Collection[str] = ()
    stops: tuple[str, ...] = ()
    text_misfit: Misfit | None = None
    argument_misfits: Mapping[str, Misfit] | None = None
    strict: Collection[str] = ()
    top_logprobs: int | None = None
    thinking: Thinking = "none"


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that a finished answer must still be checked for: `text` against `misfit`; `what` begins the error.

    `strict`: it may not be handed out if it does not fit."""

    what: str
    text: str
    misfit: Misfit
    strict: bool


class CompletionParser:
    """Takes chunks until `done`; then `finish` gives the last deltas."""

    def __init__(self, rules: AnswerRules, input_tokens: int) -> None:
        self._rules = rules
        self._input_tokens = input_tokens
        self._scanner = CallScanner(rules.tools, wrapped=rules.wrapped, raw=rules.raw) if rules.tools else None
        self._stops = StopMatcher(rules.stops)
        self._thoughts = ThoughtSplitter(rules.thinking)
        self._thought_tokens = 0
        self._logprobs = _LogprobLine(rules.top_logprobs)
        self._text: list[str] = []
        self._calls: list[tuple[str, list[str]]] = []
        self._last = Chunk()
        self._drawn_before = 0
        #: Where the JSON of an answer ends that is gone on with: no grammar says so then.
        self._span: JsonSpan | None = None

    @property
    def done(self) -> bool:
        """Whether the answer is at its end: no more chunks are needed."""
        return self._last.stop or self._stops.found or self._whole

    @property
    def _whole(self) -> bool:
        return self._span is not None and self._span.complete

    @property
    def ended(self) -> bool:
        """Whether the model has come to the end by itself."""
        return self._last.stop_type == "eos"

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Names and arguments of the calls so far."""
        return [(name, "".join(pieces)) for name, pieces in self._calls]

    def feed(self, chunk: Chunk) -> list[Delta]:
        """The deltas that `chunk` makes. Raises `OutputInvalid` if the model broke the form of a call."""
        self._last = chunk
        self._logprobs.add(chunk.completion_probabilities)
        if not chunk.content:
            return []
        if self._thoughts.over:
            return self._text_deltas(chunk.content)
        return self._split(*self._thoughts.feed(chunk.content), tokens=chunk.tokens_predicted)

    def _text_deltas(self, text: str) -> list[Delta]:
        if not text:
            return []
        return self._show([TextDelta(text=text)] if self._scanner is None else self._scanner.feed(text))

    def _split(self, consumed: str, thought: str, text: str, *, tokens: int = 0) -> list[Delta]:
        """`consumed`: what the model wrote, tags included, that is no text; its tokens are not those of the text."""
        self._logprobs.take(consumed)
        if consumed:
            # A chunk is a token where the child does not count them.
            self._thought_tokens = max(self._thought_tokens + (not tokens), self._drawn_before + tokens)
        return [*([ReasoningDelta(text=thought)] if thought else []), *self._text_deltas(text)]

    def resume(self, content: str, drawn: int) -> None:
        """Be as after a chunk of an answer that was cut off, whose deltas are known already."""
        self._drawn_before = drawn
        self._logprobs.skip(content)
        if self._span is None and self._rules.text_misfit is not None:
            self._span = JsonSpan()
        self.feed(Chunk(content=content))

    def finish(self) -> list[Delta]:
        """The last deltas, `Finish` among them. Raises `OutputInvalid` if the answer breaks its form."""
        deltas = [] if self._thoughts.over else self._split(*self._thoughts.finish())
        deltas += [] if self._scanner is None else self._show(self._scanner.finish())
        if not self._stops.found and not self._whole and (held := self._stops.finish()):
            deltas += self._shown_text(held)
        cut_off = self._last.stop_type == "limit"
        if not cut_off:
            self._check()
        reason: Reason = "length" if cut_off else "tool_calls" if self._calls else "stop"
        usage = Usage(
            input_tokens=self._input_tokens,
            cached_tokens=min(self._last.timings.cache_n, self._input_tokens),
            output_tokens=self._drawn_before + self._last.tokens_predicted,
            reasoning_tokens=min(self._thought_tokens, self._drawn_before + self._last.tokens_predicted),
        )
        return [*deltas, Finish(reason=reason, usage=usage)]

    def _show(self, deltas: Iterable[Delta]) -> list[Delta]:
        """Keep account of deltas, add log probabilities to text, and cut text at a stop sequence."""
        shown: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, TextDelta):
                text = self._stops.feed(delta.text)
                if self._span is not None and not self._calls:
                    text = text[: self._span.feed(text)]
                if text:
                    shown += self._shown_text(text)
                if self._stops.found or self._whole:
                    break
                continue
            if isinstance(delta, CallStart):
                if held := self._stops.finish():
                    shown += self._shown_text(held)
                self._calls.append((delta.name, []))
            elif isinstance(delta, CallArguments):
                self._calls[-1][1].append(delta.text)
            shown.append(delta)
        return shown

    def _shown_text(self, text: str) -> list[Delta]:
        if self._rules.text_misfit is not None:
            self._text.append(text)
        return [TextDelta(text=text, logprobs=self._logprobs.take(text))]

    def _check(self) -> None:
        """The grammar should have seen to all of this; but an answer that is gone on with has none."""
        rules = self._rules
        if self._scanner is not None and self._scanner.in_call:
            raise OutputInvalid("The local model broke the form of a tool call.")
        if not self._calls and not rules.text_allowed:
            raise OutputInvalid("The local model did not call a tool.")
        if len(self._calls) > 1 and not rules.parallel:
            raise OutputInvalid("The local model called more than one tool.")

    def claims(self) -> list[Claim]:
        """What a finished answer must still be checked for. Nothing, if it was cut off."""
        rules = self._rules
        if self._last.stop_type == "limit":
            return []
        claims: list[Claim] = []
        for name, arguments in self.calls:
            misfit = (rules.argument_misfits or {}).get(name)
            # Free text is not the JSON that the model wrote it in, which the scanner has read to its end.
            if misfit is not None and (rules.tools[name] == "function" or name in rules.raw):
                bound = "grammar" if name in rules.raw else "schema"
                claims.append(
                    Claim(f"The arguments for '{name}' do not fit its {bound}", arguments, misfit, name in rules.strict)
                )
        # Text that a stop sequence cut is what was asked for.
        cut = self._stops.found or self._last.stop_type == "word"
        if rules.text_misfit is not None and not self._calls and not cut:
            text = "".join(self._text)
            claims.append(Claim("The answer does not fit the schema", text, rules.text_misfit, "" in rules.strict))
        return claims


class _LogprobLine:
    """Tokens in the order they were drawn, handed out with the text they made."""

    def __init__(self, top: int | None) -> None:
        self._top = top
        self._waiting: deque[tuple[int, TokenLogprob]] = deque()
        self._drawn = 0
        self._shown = 0

    def add(self, probabilities: Iterable[Probability]) -> None:
        """Tokens that were drawn."""
        if self._top is None:
            return
        for drawn in probabilities:
            self._waiting.append((self._drawn, _token(drawn, self._top)))
            self._drawn += len(drawn.bytes)

    def skip(self, text: str) -> None:
        """Tokens that were drawn, and told, before."""
        self._drawn += len(text.encode())

    def take(self, text: str) -> tuple[TokenLogprob, ...]:
        """The tokens that begin before the end of `text`, which follows all text before it."""
        if self._top is None:
            return ()
        self._shown += len(text.encode())
        tokens: list[TokenLogprob] = []
        while self._waiting and self._waiting[0][0] < self._shown:
            tokens.append(self._waiting.popleft()[1])
        return tuple(tokens)


def _token(drawn: Probability, top: int) -> TokenLogprob:
    alternatives = (
        TopLogprob(token=other.token, logprob=other.logprob, bytes=other.bytes) for other in drawn.top_logprobs[:top]
    )
    return TokenLogprob(token=drawn.token, logprob=drawn.logprob, bytes=drawn.bytes, top_logprobs=tuple(alternatives))
