"""From what a Chat Completions server sends to neutral deltas. Sans-IO."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from antiphon.engines.upstream import errors
from antiphon.engines.upstream.chat.calls import CallSequencer
from antiphon.engines.upstream.chat.chunks import (
    Choice,
    Completion,
    MessagePart,
    call_texts,
    logprobs_of,
    only_text,
    reason_of,
    texts_of,
)
from antiphon.engines.upstream.chat.ending import FinishState
from antiphon.engines.upstream.chat.reader import ChunkReader
from antiphon.engines.upstream.chat.repair import separate
from antiphon.engines.upstream.scrubber import Scrubber
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.protocol.generation import Delta, ReasoningDelta, RefusalDelta, TextDelta, TokenLogprob


class ChatParser:
    """An `AnswerParser` that translates one choice of a completion."""

    def __init__(
        self, scrubber: Scrubber, meter: OutputMeter, disguised: Collection[str] = (), tools: Collection[str] = ()
    ) -> None:
        """`disguised`: names of custom tools that were sent as functions. `tools`: names that calls may have."""
        self._scrubber = scrubber
        self._reader = ChunkReader(scrubber)
        self._meter = meter
        self._ending = FinishState(meter)
        self._calls = CallSequencer(disguised, tools)
        #: Whether the server has said why it ended, or too much.
        self.finished = False
        self._logprobs: list[TokenLogprob] = []
        #: The index of the one choice, as the server has it: the one that came first.
        self._index: int | None = None
        #: What is said after a call has begun: it comes when the calls are over.
        self._later: list[Delta] = []

    def feed(self, data: bytes, name: str = "message") -> list[Delta]:
        """The deltas that a chunk makes. `name`: the event's type."""
        completion = self._reader.read(self._scrubber.masked(data), name)
        return [] if completion is None else self._take(completion)

    def _take(self, completion: Completion) -> list[Delta]:
        if completion.usage is not None:
            self._ending.used(completion)
        choices = completion.choices or ()
        if not choices:
            return []
        if text := self._only_text(choices):
            deltas: list[Delta] = [TextDelta(text)]
            self._meter.add(text)
        else:
            deltas = self._choices(choices)
        if self._meter.too_much and self._ending.reason is None:
            self._ending.reason = "length"
        self.finished = self._ending.reason is not None
        return deltas

    def _choices(self, choices: Sequence[Choice]) -> list[Delta]:
        deltas: list[Delta] = []
        if self._index is None:
            self._index = choices[0].index or 0
        for choice in choices:
            if (choice.index or 0) != self._index:
                continue
            self._ending.begun = True
            self._logprobs += logprobs_of(choice.logprobs)
            part = choice.delta or choice.message
            if part is not None:
                if choice.delta is None:
                    separate(part)
                deltas += self._deltas_of(part)
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

    def finish(self) -> list[Delta]:
        """The calls and texts that still wait, and the end."""
        if self._ending.reason is not None and self._calls.cut_off:
            self._ending.reason = "length"
        finish = self._ending.finish(calls=self._calls.any)
        calls = self._calls.finish(whole=finish.reason not in {"length", "content_filter"})
        return [*calls, *self._later, finish]

    def _only_text(self, choices: Sequence[Choice]) -> str:
        """The text of a chunk of which there is nothing else to say."""
        choice = choices[0]
        if not self._ending.begun or choice.index != self._index or choice.logprobs is not None:
            return ""
        return "" if self._logprobs or self._calls.any else only_text(choices)

    def _deltas_of(self, part: MessagePart) -> list[Delta]:
        reasoning, text = texts_of(part)
        texts: list[Delta] = []
        if reasoning:
            texts.append(ReasoningDelta(reasoning))
        if text:
            texts.append(TextDelta(text, tuple(self._logprobs)))
            self._logprobs.clear()
        if part.refusal:
            texts.append(RefusalDelta(part.refusal))
        self._meter.add("".join((reasoning, text, part.refusal or "", *call_texts(part))))
        if self._calls.any and texts:
            # White space around calls is what a template leaves over.
            self._later += [delta for delta in texts if not isinstance(delta, TextDelta) or delta.text.strip()]
            texts = []
        if part.tool_calls:
            texts += self._calls.feed(part.tool_calls)
        elif part.function_call is not None:
            texts += self._calls.feed_legacy(part.function_call)
        return texts
