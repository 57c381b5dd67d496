"""From what a Chat Completions server sends to deltas: neutral ones, or the server's own words. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import msgspec

from antiphon.domain import limits
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.chat_calls import Calls
from antiphon.engines.upstream.chat_chunks import (
    Choice,
    Completion,
    Reason,
    Said,
    logprobs_of,
    read,
    reason_of,
    texts_of,
    usage_of,
)
from antiphon.engines.upstream.errors import Scrubber
from antiphon.protocol.generation import (
    Delta,
    Finish,
    NativeDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    Usage,
)


class Answer(Protocol):
    """An answer that comes in as chunks, or as a whole."""

    @property
    def finished(self) -> bool:
        """Whether the server has said why it ended: what may still come is usage."""

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas that a chunk makes. Raises the error that it is, or `UpstreamFailed` if it makes no sense."""

    def whole(self, data: bytes) -> list[Delta]:
        """The deltas of a whole completion, but for the last."""

    def finish(self, *, done: bool = False) -> list[Delta]:
        """The last deltas. `done`: the server has ended its stream in so many words.

        Raises `UpstreamFailed` if the answer was not at its end.
        """


class _Ending:
    """How an answer ends, and what it used."""

    def __init__(self, input_tokens: Callable[[], int]) -> None:
        """`input_tokens` gives our estimate, for servers that do not tell."""
        self._input_tokens = input_tokens
        #: How much was said, for the estimate.
        self.characters = 0
        self.reason: Reason | None = None
        self.usage: Usage | None = None
        self.tier: str | None = None
        self.begun = False

    def used(self, completion: Completion) -> None:
        """Where servers tell what was used, they tell the service tier, too."""
        self.usage = usage_of(completion.usage) or self.usage
        if isinstance(completion.service_tier, str):
            self.tier = completion.service_tier[: limits.MAX_TIER]

    def finish(self, *, calls: bool, done: bool) -> Finish:
        """`done`: the server has ended the stream in so many words. Some give no reason then."""
        reason = self.reason
        if reason is None:
            if not (done and self.begun):
                raise errors.truncated()
            reason = "stop"
        # Not every server tells calls from text.
        if reason in {"stop", "tool_calls"}:
            reason = "tool_calls" if calls else "stop"
        usage = self.usage
        if usage is None:
            usage = Usage(self._input_tokens(), output_tokens=-(-self.characters // 4), estimated=True)
        return Finish(reason, usage, self.tier)


class NeutralAnswer:
    """Translates."""

    def __init__(self, scrubber: Scrubber, input_tokens: Callable[[], int], disguised: Collection[str] = ()) -> None:
        """`disguised`: names of custom tools that were sent as functions."""
        self._scrubber = scrubber
        self._ending = _Ending(input_tokens)
        self._calls = Calls(disguised)
        self._logprobs: tuple[TokenLogprob, ...] = ()
        #: What is said after a call has begun: it comes when the calls are over.
        self._later: list[Delta] = []

    @property
    def finished(self) -> bool:
        """Whether the server has said why it ended."""
        return self._ending.reason is not None

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas that a chunk makes."""
        completion = read(data, self._scrubber)
        if completion.usage:
            self._ending.used(completion)
        choices = completion.choices or ()
        if choices and (text := self._only_text(choices)):
            self._ending.begun = True
            self._ending.characters += len(text)
            return [TextDelta(text)]
        deltas: list[Delta] = []
        for choice in choices:
            if choice.index != 0:
                continue
            self._ending.begun = True
            self._logprobs += logprobs_of(choice.logprobs)
            said = choice.delta or choice.message
            if said is not None:
                deltas += self._said(said)
            if choice.finish_reason is not None:
                self._ending.reason = reason_of(choice.finish_reason)
        return deltas

    def whole(self, data: bytes) -> list[Delta]:
        """The deltas of a whole completion. It has ended, whether or not it says why."""
        deltas = self.feed(data)
        if not self._ending.begun:
            raise errors.invalid("JSON that is no completion")
        self._ending.reason = self._ending.reason or "stop"
        return deltas

    def finish(self, *, done: bool = False) -> list[Delta]:
        """The calls and texts that still wait, and the end."""
        finish = self._ending.finish(calls=self._calls.any, done=done)
        return [*self._calls.finish(), *self._later, finish]

    def _only_text(self, choices: Sequence[Choice]) -> str:
        """The text of a chunk of which there is nothing else to say."""
        choice = choices[0]
        if choice.index != 0 or choice.logprobs is not None or self._logprobs or self._calls.any:
            return ""
        return _plain(choices)

    def _said(self, said: Said) -> list[Delta]:
        reasoning, text = texts_of(said)
        texts: list[Delta] = []
        if reasoning:
            texts.append(ReasoningDelta(reasoning))
        if text:
            texts.append(TextDelta(text, self._logprobs))
            self._logprobs = ()
        if said.refusal:
            texts.append(RefusalDelta(said.refusal))
        self._ending.characters += sum(map(len, (reasoning, text, said.refusal or "", *_called(said))))
        if self._calls.any and texts:
            # White space around calls is what a template leaves over.
            self._later += [delta for delta in texts if not isinstance(delta, TextDelta) or delta.text.strip()]
            texts = []
        if said.tool_calls:
            texts += self._calls.feed(said.tool_calls)
        elif said.function_call is not None:
            texts += self._calls.feed_legacy(said.function_call)
        return texts


class NativeAnswer:
    """Passes on what the server says, once it is known to be what it must be."""

    def __init__(self, scrubber: Scrubber, input_tokens: Callable[[], int], *, show_usage: bool) -> None:
        """`show_usage`: the client wants to see the chunk that only holds the usage."""
        self._scrubber = scrubber
        self._ending = _Ending(input_tokens)
        self._show_usage = show_usage
        self._calls = False

    @property
    def finished(self) -> bool:
        """Whether the server has said why it ended."""
        return self._ending.reason is not None

    def feed(self, data: bytes) -> list[Delta]:
        """The chunk, if the client is to see it."""
        completion = read(data, self._scrubber)
        ending = self._ending
        if completion.usage:
            ending.used(completion)
        if b"\n" in data:
            # An event's data is one line; JSON has line feeds between values only.
            data = msgspec.json.format(data, indent=-1)
        choices = completion.choices
        if not choices:
            return [NativeDelta(data)] if choices is not None and self._show_usage and ending.begun else []
        ending.begun = True
        text = _plain(choices) or self._text(choices)
        ending.characters += len(text)
        return [NativeDelta(data, text)]

    def whole(self, data: bytes) -> list[Delta]:
        """The completion as it is. It has ended, whether or not it says why."""
        deltas = self.feed(data)
        if not self._ending.begun:
            raise errors.invalid("JSON that is no completion")
        self._ending.reason = self._ending.reason or "stop"
        return deltas

    def finish(self, *, done: bool = False) -> list[Delta]:
        """The end."""
        return [self._ending.finish(calls=self._calls, done=done)]

    def _text(self, choices: list[Choice]) -> str:
        """What a chunk says, of any kind."""
        pieces: list[str] = []
        for choice in choices:
            if choice.finish_reason is not None:
                self._ending.reason = reason_of(choice.finish_reason)
            said = choice.delta or choice.message
            if said is not None:
                called = _called(said)
                self._calls = self._calls or bool(called)
                pieces += (*texts_of(said), said.refusal or "", *called)
        return "".join(pieces)


def _plain(choices: Sequence[Choice]) -> str:
    """The text of a chunk that is text and no more, as nearly all are; empty for any other."""
    choice = choices[0]
    said = choice.delta
    if said is None or choice.finish_reason is not None or len(choices) > 1 or type(said.content) is not str:
        return ""
    others = said.reasoning_content or said.reasoning or said.refusal or said.tool_calls or said.function_call
    return "" if others else said.content


def _called(said: Said) -> list[str]:
    """Names and arguments of calls, for counting them."""
    functions = [call.function for call in said.tool_calls or () if call.function is not None]
    if said.function_call is not None:
        functions.append(said.function_call)
    texts = [f"{function.name or ''}{function.arguments or ''}" for function in functions]
    return [*texts, *((call.custom.input or "") for call in said.tool_calls or () if call.custom is not None)]
