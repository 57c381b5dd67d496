"""A chat completion as a state machine without I/O: deltas of each choice in, chunks out.

`TRANSITIONS` is the whole protocol of one choice: for each state and each kind of delta the next state and the action
that makes the chunk. A completion is its choices side by side, each with a state of its own; deltas come as pairs of a
choice's index and a delta, in any order of the choices.

    NEW      before the first chunk, which has the role; `start` opens all choices
    OPEN     text, a refusal or reasoning may come, a call may begin, or the choice may end
    CALL     a call has begun, and its arguments come; another call, text or the end closes it
    ENDED    the choice has its finish reason. When all have, the completion is over, and may be stored

A delta that has no row is an engine's mistake (`MachineError`), and ends the completion with an error, after the chunks
of what came before it. Arguments without a call are the usual one: OPEN has no row for `CallArguments`.

Every event is a chunk; the order of chunks follows from the table alone. The usage comes last, in a chunk without
choices, if the client has asked for it (`stream_options.include_usage`); all other chunks then have a `usage` of null.
What the choices have come to is kept, and `completion` makes the whole object of it: for clients that do not stream,
and for the store.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, auto
from typing import Any, Final

from antiphon.domain.errors import AntiphonError
from antiphon.protocol.events import Event, MachineError, Obfuscator
from antiphon.protocol.generation import (
    AnswerDelta,
    Batch,
    CallArguments,
    CallStart,
    Finish,
    PassthroughDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    Usage,
)
from antiphon.protocol.shared import TIERS, logprob

Json = dict[str, Any]


class State(IntEnum):
    """Where one choice stands."""

    NEW = auto()
    OPEN = auto()
    CALL = auto()
    ENDED = auto()


TRANSITIONS: Final[dict[State, dict[type, tuple[State, str]]]] = {
    State.NEW: {},
    State.OPEN: {
        TextDelta: (State.OPEN, "text"),
        RefusalDelta: (State.OPEN, "refusal"),
        ReasoningDelta: (State.OPEN, "reasoning"),
        CallStart: (State.CALL, "call"),
        Finish: (State.ENDED, "finish"),
    },
    State.CALL: {
        TextDelta: (State.OPEN, "text"),
        RefusalDelta: (State.OPEN, "refusal"),
        ReasoningDelta: (State.OPEN, "reasoning"),
        CallStart: (State.CALL, "call"),
        CallArguments: (State.CALL, "arguments"),
        Finish: (State.ENDED, "finish"),
    },
    State.ENDED: {},
}


def usage_object(usage: Usage) -> Json:
    """Token counts (schema `CompletionUsage`)."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class _Choice:
    """What one choice has said so far."""

    __slots__ = ("calls", "content", "finish", "logprobs", "reasoning", "refusal", "state")

    def __init__(self) -> None:
        self.state = State.NEW
        self.content: list[str] = []
        self.refusal: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[tuple[CallStart, list[str]]] = []
        self.logprobs: list[Json] = []
        self.finish = Finish("stop")


class ChatMachine:
    """One chat completion of one or more choices, from its first chunk to its last.

    `base` has id, created, model, service_tier and system_fingerprint. `legacy` answers with `function_call` in place
    of `tool_calls`.
    """

    def __init__(
        self,
        base: Json,
        *,
        choices: int = 1,
        include_usage: bool = False,
        obfuscate: bool = True,
        show_logprobs: bool = False,
        legacy: bool = False,
    ) -> None:
        self._base = base
        self._choices = [_Choice() for _ in range(choices)]
        self._include_usage = include_usage
        self._padding = Obfuscator() if obfuscate else None
        self._show_logprobs = show_logprobs
        self._legacy = legacy
        self._chunk_base = {**base, "object": "chat.completion.chunk"}
        self.ended = False
        self.unsaved = False
        self.error: AntiphonError | None = None
        self._undelivered: list[Event] = []

    # --- deltas in ----------------------------------------------------------------------------------------------------
    def start(self) -> list[Event]:
        """The first chunk of each choice, which carries the role.

        Its content is null, not empty: to some clients an empty text is the beginning of one, and there may be none.
        """
        events = []
        for index, choice in enumerate(self._choices):
            choice.state = State.OPEN
            events.append(self._chunk(index, {"role": "assistant", "content": None, "refusal": None}))
        return events

    def feed(self, given: tuple[int, AnswerDelta | PassthroughDelta | Batch]) -> list[Event]:
        """One delta of one choice: (index, delta). Raises `MachineError` if it has no row in the table."""
        index, delta = given
        if isinstance(delta, Batch):
            return self._feed_all(index, delta)
        choice = self._choices[index]
        if isinstance(delta, TextDelta) and not delta.text and not delta.logprobs:
            return []  # see `start`
        row = TRANSITIONS[choice.state].get(type(delta))
        if row is None or isinstance(delta, PassthroughDelta):
            raise MachineError(f"{type(delta).__name__} while {choice.state.name}")
        choice.state, action = row
        events = [_ACTIONS[action](self, index, choice, delta)]
        if all(each.state is State.ENDED for each in self._choices):
            self.ended = self.unsaved = True
            if self._include_usage:
                events.append(Event("", {**self._chunk_base, "choices": [], "usage": usage_object(self.usage())}))
        return events

    def _feed_all(self, index: int, batch: Batch) -> list[Event]:
        events: list[Event] = []
        try:
            for delta in batch.deltas:
                events += self.feed((index, delta))
        except MachineError:
            # What came before is kept, and given with the error that ends the completion.
            self._undelivered = events
            raise
        return events

    def fault(self, error: AntiphonError) -> list[Event]:
        """The generation broke: one error object ends the stream."""
        self.ended = True
        self.error = error
        return [*self._undelivered, Event("", dict(error.body()))]

    def cancel(self) -> list[Event]:
        """The client no longer wants it."""
        self.ended = True
        return []

    # --- the whole completion -----------------------------------------------------------------------------------------
    def usage(self) -> Usage:
        """Tokens of all choices; the prompt counts once, as it was given once."""
        usages = [choice.finish.usage for choice in self._choices]
        return Usage(
            input_tokens=max(usage.input_tokens for usage in usages),
            cached_tokens=max(usage.cached_tokens for usage in usages),
            output_tokens=sum(usage.output_tokens for usage in usages),
            reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
        )

    def completion(self) -> Json:
        """The whole completion (schema `CreateChatCompletionResponse`)."""
        return {
            **self._base,
            "object": "chat.completion",
            "choices": [
                {
                    "index": index,
                    "message": self._message(choice),
                    "logprobs": self._logprobs_object(choice.logprobs),
                    "finish_reason": self._reason(choice.finish),
                }
                for index, choice in enumerate(self._choices)
            ],
            "usage": usage_object(self.usage()),
        }

    def _message(self, choice: _Choice) -> Json:
        message: Json = {
            "role": "assistant",
            "content": "".join(choice.content) or (None if choice.calls else ""),
            "refusal": "".join(choice.refusal) if choice.refusal else None,
            "annotations": [],
        }
        if choice.refusal and not choice.content:
            message["content"] = None
        if choice.reasoning:
            message["reasoning_content"] = "".join(choice.reasoning)
        calls = [(call, "".join(pieces)) for call, pieces in choice.calls]
        if calls and self._legacy:
            message["function_call"] = {"name": calls[0][0].name, "arguments": calls[0][1]}
        elif calls:
            message["tool_calls"] = [self._call_object(call, text) for call, text in calls]
        return message

    @staticmethod
    def _call_object(call: CallStart, text: str) -> Json:
        if call.kind == "custom":
            return {"id": call.call_id, "type": "custom", "custom": {"name": call.name, "input": text}}
        return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": text}}

    def _logprobs_object(self, content: list[Json]) -> Json | None:
        return {"content": content, "refusal": None} if self._show_logprobs else None

    def _reason(self, finish: Finish) -> str:
        if finish.reason == "tool_calls" and self._legacy:
            return "function_call"
        return finish.reason

    # --- chunks -------------------------------------------------------------------------------------------------------
    def _chunk(
        self,
        index: int,
        delta: Json,
        *,
        logprobs: Json | None = None,
        finish: str | None = None,
        piece: str = "",
    ) -> Event:
        body = {
            **self._chunk_base,
            "choices": [{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}],
        }
        if self._include_usage:
            body["usage"] = None
        if self._padding is not None:
            body["obfuscation"] = self._padding.pad(piece)
        return Event("", body)

    def _text(self, index: int, choice: _Choice, delta: AnswerDelta) -> Event:
        assert isinstance(delta, TextDelta)
        choice.content.append(delta.text)
        logprobs = None
        if self._show_logprobs:
            tokens = [logprob(token) for token in delta.logprobs]
            choice.logprobs += tokens
            logprobs = self._logprobs_object(tokens)
        return self._chunk(index, {"content": delta.text}, logprobs=logprobs, piece=delta.text)

    def _refusal(self, index: int, choice: _Choice, delta: AnswerDelta) -> Event:
        assert isinstance(delta, RefusalDelta)
        choice.refusal.append(delta.text)
        return self._chunk(index, {"refusal": delta.text}, piece=delta.text)

    def _reasoning(self, index: int, choice: _Choice, delta: AnswerDelta) -> Event:
        # Not in OpenAI's schema; the field that compatible servers and clients have agreed on.
        assert isinstance(delta, ReasoningDelta)
        choice.reasoning.append(delta.text)
        return self._chunk(index, {"reasoning_content": delta.text}, piece=delta.text)

    def _call(self, index: int, choice: _Choice, delta: AnswerDelta) -> Event:
        assert isinstance(delta, CallStart)
        choice.calls.append((delta, []))
        if self._legacy:
            return self._chunk(index, {"function_call": {"name": delta.name, "arguments": ""}})
        call = {"index": len(choice.calls) - 1, **self._call_object(delta, "")}
        return self._chunk(index, {"tool_calls": [call]})

    def _arguments(self, index: int, choice: _Choice, delta: AnswerDelta) -> Event:
        assert isinstance(delta, CallArguments)
        start, pieces = choice.calls[-1]
        pieces.append(delta.text)
        if self._legacy:
            return self._chunk(index, {"function_call": {"arguments": delta.text}}, piece=delta.text)
        inner = {"custom": {"input": delta.text}} if start.kind == "custom" else {"function": {"arguments": delta.text}}
        return self._chunk(index, {"tool_calls": [{"index": len(choice.calls) - 1, **inner}]}, piece=delta.text)

    def _finish(self, index: int, choice: _Choice, delta: AnswerDelta) -> Event:
        assert isinstance(delta, Finish)
        choice.finish = delta
        if delta.tier in TIERS:
            self._base["service_tier"] = self._chunk_base["service_tier"] = delta.tier
        return self._chunk(index, {}, finish=self._reason(delta))


_ACTIONS: Final[dict[str, Callable[[ChatMachine, int, _Choice, AnswerDelta], Event]]] = {
    action: getattr(ChatMachine, f"_{action}") for rows in TRANSITIONS.values() for _, action in rows.values()
}
