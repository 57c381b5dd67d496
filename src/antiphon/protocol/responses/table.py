"""The states of a response, what can happen to it, and what follows: the whole protocol as one table.

    NEW ──START──▶ OPEN ──TEXT──▶ TEXT ──CALL──▶ CALL ──FINISH──▶ ENDED      (and every other way through the table)
      └─QUEUE─▶ QUEUED ──START──▶ OPEN

A row names the next state and the actions of the machine, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Any, Final

import msgspec

from antiphon.protocol.generation import (
    AnswerDelta,
    CallArguments,
    CallStart,
    Finish,
    PassthroughDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
)


class State(IntEnum):
    """Where a response stands: which item, and which part of it, is open. SAID: none, after a whole item.

    RELAYED: another server makes it, and says what is open (`relay.Relay`).
    """

    NEW = auto()
    QUEUED = auto()
    OPEN = auto()
    TEXT = auto()
    REFUSAL = auto()
    REASONING = auto()
    CALL = auto()
    CUSTOM = auto()
    SAID = auto()
    RELAYED = auto()
    ENDED = auto()


class Fact(IntEnum):
    """What can happen to a response."""

    QUEUE = auto()
    START = auto()
    TEXT = auto()
    REFUSAL = auto()
    REASONING = auto()
    CALL = auto()
    CUSTOM = auto()
    ARGUMENTS = auto()
    ITEM = auto()
    FINISH = auto()
    FAULT = auto()
    CANCEL = auto()
    STEER = auto()
    WARM = auto()
    RELAY = auto()


class ItemDelta(msgspec.Struct, frozen=True):
    """An item that is there all at once, such as a compaction item. Not the model's word: the server's."""

    item: Mapping[str, Any]


ResponseDelta = AnswerDelta | PassthroughDelta | ItemDelta
_Row = tuple[State, tuple[str, ...]]

_S, _F = State, Fact
#: Entering a state from outside: open its item and part, then take the first piece.
_NEW_TEXT: Final = ("open_message", "open_text", "text")
_NEW_REFUSAL: Final = ("open_message", "open_refusal", "refusal")
_NEW_REASONING: Final = ("open_reasoning", "open_thought", "thought")
#: Leaving a state: close its part and its item.
_END_TEXT: Final = ("close_text", "close_message")
_END_REFUSAL: Final = ("close_refusal", "close_message")
_END_REASONING: Final = ("close_thought", "close_reasoning")

TRANSITIONS: Final[dict[State, dict[Fact, _Row]]] = {
    _S.NEW: {
        _F.QUEUE: (_S.QUEUED, ("created", "queued")),
        _F.START: (_S.OPEN, ("created", "begin")),
        _F.FAULT: (_S.ENDED, ("fail",)),
        _F.CANCEL: (_S.ENDED, ("cancel",)),
    },
    _S.QUEUED: {
        _F.START: (_S.OPEN, ("begin",)),
        _F.FAULT: (_S.ENDED, ("fail",)),
        _F.CANCEL: (_S.ENDED, ("cancel",)),
    },
    _S.OPEN: {
        _F.TEXT: (_S.TEXT, _NEW_TEXT),
        _F.REFUSAL: (_S.REFUSAL, _NEW_REFUSAL),
        _F.REASONING: (_S.REASONING, _NEW_REASONING),
        _F.CALL: (_S.CALL, ("open_call",)),
        _F.CUSTOM: (_S.CUSTOM, ("open_custom",)),
        _F.ITEM: (_S.SAID, ("item",)),
        _F.RELAY: (_S.RELAYED, ("relay",)),
        # An answer without a single token is an empty message, not an empty output.
        _F.FINISH: (_S.ENDED, ("open_message", "open_text", *_END_TEXT, "finish")),
        _F.FAULT: (_S.ENDED, ("fail",)),
        _F.CANCEL: (_S.ENDED, ("cancel",)),
        _F.STEER: (_S.ENDED, ("steer",)),
        # A warm-up says nothing.
        _F.WARM: (_S.ENDED, ("finish",)),
    },
    _S.TEXT: {
        _F.TEXT: (_S.TEXT, ("text",)),
        _F.REFUSAL: (_S.REFUSAL, ("close_text", "open_refusal", "refusal")),
        _F.REASONING: (_S.REASONING, (*_END_TEXT, *_NEW_REASONING)),
        _F.CALL: (_S.CALL, (*_END_TEXT, "open_call")),
        _F.CUSTOM: (_S.CUSTOM, (*_END_TEXT, "open_custom")),
        _F.ITEM: (_S.SAID, (*_END_TEXT, "item")),
        _F.FINISH: (_S.ENDED, (*_END_TEXT, "finish")),
        _F.FAULT: (_S.ENDED, (*_END_TEXT, "fail")),
        _F.CANCEL: (_S.ENDED, (*_END_TEXT, "cancel")),
        _F.STEER: (_S.ENDED, (*_END_TEXT, "steer")),
    },
    _S.REFUSAL: {
        _F.TEXT: (_S.TEXT, ("close_refusal", "open_text", "text")),
        _F.REFUSAL: (_S.REFUSAL, ("refusal",)),
        _F.REASONING: (_S.REASONING, (*_END_REFUSAL, *_NEW_REASONING)),
        _F.CALL: (_S.CALL, (*_END_REFUSAL, "open_call")),
        _F.CUSTOM: (_S.CUSTOM, (*_END_REFUSAL, "open_custom")),
        _F.ITEM: (_S.SAID, (*_END_REFUSAL, "item")),
        _F.FINISH: (_S.ENDED, (*_END_REFUSAL, "finish")),
        _F.FAULT: (_S.ENDED, (*_END_REFUSAL, "fail")),
        _F.CANCEL: (_S.ENDED, (*_END_REFUSAL, "cancel")),
        _F.STEER: (_S.ENDED, (*_END_REFUSAL, "steer")),
    },
    _S.REASONING: {
        _F.TEXT: (_S.TEXT, (*_END_REASONING, *_NEW_TEXT)),
        _F.REFUSAL: (_S.REFUSAL, (*_END_REASONING, *_NEW_REFUSAL)),
        _F.REASONING: (_S.REASONING, ("thought",)),
        _F.CALL: (_S.CALL, (*_END_REASONING, "open_call")),
        _F.CUSTOM: (_S.CUSTOM, (*_END_REASONING, "open_custom")),
        _F.ITEM: (_S.SAID, (*_END_REASONING, "item")),
        _F.FINISH: (_S.ENDED, (*_END_REASONING, "finish")),
        _F.FAULT: (_S.ENDED, (*_END_REASONING, "fail")),
        _F.CANCEL: (_S.ENDED, (*_END_REASONING, "cancel")),
        _F.STEER: (_S.ENDED, (*_END_REASONING, "steer")),
    },
    _S.CALL: {
        _F.TEXT: (_S.TEXT, ("close_call", *_NEW_TEXT)),
        _F.REFUSAL: (_S.REFUSAL, ("close_call", *_NEW_REFUSAL)),
        _F.REASONING: (_S.REASONING, ("close_call", *_NEW_REASONING)),
        _F.CALL: (_S.CALL, ("close_call", "open_call")),
        _F.CUSTOM: (_S.CUSTOM, ("close_call", "open_custom")),
        _F.ARGUMENTS: (_S.CALL, ("arguments",)),
        _F.ITEM: (_S.SAID, ("close_call", "item")),
        _F.FINISH: (_S.ENDED, ("close_call", "finish")),
        _F.FAULT: (_S.ENDED, ("close_call", "fail")),
        _F.CANCEL: (_S.ENDED, ("close_call", "cancel")),
    },
    _S.CUSTOM: {
        _F.TEXT: (_S.TEXT, ("close_custom", *_NEW_TEXT)),
        _F.REFUSAL: (_S.REFUSAL, ("close_custom", *_NEW_REFUSAL)),
        _F.REASONING: (_S.REASONING, ("close_custom", *_NEW_REASONING)),
        _F.CALL: (_S.CALL, ("close_custom", "open_call")),
        _F.CUSTOM: (_S.CUSTOM, ("close_custom", "open_custom")),
        _F.ARGUMENTS: (_S.CUSTOM, ("input",)),
        _F.ITEM: (_S.SAID, ("close_custom", "item")),
        _F.FINISH: (_S.ENDED, ("close_custom", "finish")),
        _F.FAULT: (_S.ENDED, ("close_custom", "fail")),
        _F.CANCEL: (_S.ENDED, ("close_custom", "cancel")),
    },
    _S.SAID: {
        _F.TEXT: (_S.TEXT, _NEW_TEXT),
        _F.REFUSAL: (_S.REFUSAL, _NEW_REFUSAL),
        _F.REASONING: (_S.REASONING, _NEW_REASONING),
        _F.CALL: (_S.CALL, ("open_call",)),
        _F.CUSTOM: (_S.CUSTOM, ("open_custom",)),
        _F.ITEM: (_S.SAID, ("item",)),
        _F.RELAY: (_S.RELAYED, ("relay",)),
        _F.FINISH: (_S.ENDED, ("finish",)),
        _F.FAULT: (_S.ENDED, ("fail",)),
        _F.CANCEL: (_S.ENDED, ("cancel",)),
        _F.STEER: (_S.ENDED, ("steer",)),
        _F.WARM: (_S.ENDED, ("finish",)),
    },
    # An answer is relayed from its beginning to its end, or not at all.
    _S.RELAYED: {
        _F.RELAY: (_S.RELAYED, ("relay",)),
        _F.FINISH: (_S.ENDED, ("finish",)),
        _F.FAULT: (_S.ENDED, ("cut", "fail")),
        _F.CANCEL: (_S.ENDED, ("cut", "cancel")),
        _F.STEER: (_S.ENDED, ("cut", "steer")),
    },
    _S.ENDED: {},
}

#: Ends of a generation that leave a response incomplete, and the reason it then shows.
INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


def fact_of(delta: ResponseDelta) -> Fact:
    """The fact that a delta states."""
    match delta:
        case TextDelta():
            return Fact.TEXT
        case CallArguments():
            return Fact.ARGUMENTS
        case ReasoningDelta():
            return Fact.REASONING
        case RefusalDelta():
            return Fact.REFUSAL
        case CallStart():
            return Fact.CUSTOM if delta.kind == "custom" else Fact.CALL
        case Finish():
            return Fact.FINISH
        case PassthroughDelta():
            return Fact.RELAY
        case ItemDelta():
            return Fact.ITEM
