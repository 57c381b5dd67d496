"""The states of a response, what can happen to it, and what follows: the whole protocol as one table.

    NEW ──START──▶ OPEN ──TEXT──▶ TEXT ──CALL──▶ CALL ──FINISH──▶ ENDED      (and every other way through the table)
      └─QUEUE─▶ QUEUED ──START──▶ OPEN

Theory of operation. A response is a list of items, and an item may have parts. At most one item is open at a time, and
in it at most one part; the state says which (TEXT: a message with a part of text; CALL: a call of a function). A fact
is what has happened: a delta of the generation (`fact_of` says which fact a delta is), a fault, a cancel. For each
state and each fact there is one row or none. A row names the next state and the machine's actions, in order; each
action emits events or notes something, and actions know nothing of one another. A fact without a row is a
`MachineError`: the engine has broken the rules, and the response fails.

Most rows follow from two smaller tables. What is open in a state has one way to be closed (`CLOSE`), and what a fact
begins has one way to be opened (`OPEN`); so the row of a state and a fact is `CLOSE[state] + OPEN[fact]`. Facts that
do not close everything stand in `EXCEPTIONS`: more text continues the open text, and text after a refusal is another
part of the same message. Facts that may not come in a state although they could be derived stand in `IMPOSSIBLE`.
Before an answer begins (NEW, QUEUED) and while another server makes it (RELAYED) nothing of ours is open, so those
rows are written out. A new type of item is one entry in each of the two tables, and its exceptions.
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
    """Where a response stands: which item, and which part of it, is open. BETWEEN: none, after a whole item.

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
    BETWEEN = auto()
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

#: What each fact opens: the state after it, and the actions that lead there once nothing is open any more.
OPEN: Final[dict[Fact, _Row]] = {
    _F.TEXT: (_S.TEXT, ("open_message", "open_text", "text")),
    _F.REFUSAL: (_S.REFUSAL, ("open_message", "open_refusal", "refusal")),
    _F.REASONING: (_S.REASONING, ("open_reasoning", "open_thought", "thought")),
    _F.CALL: (_S.CALL, ("open_call",)),
    _F.CUSTOM: (_S.CUSTOM, ("open_custom",)),
    _F.ITEM: (_S.BETWEEN, ("item",)),
    _F.FINISH: (_S.ENDED, ("finish",)),
    _F.FAULT: (_S.ENDED, ("fail",)),
    _F.CANCEL: (_S.ENDED, ("cancel",)),
    _F.STEER: (_S.ENDED, ("steer",)),
}
#: What is open in each state, and the actions that close it.
CLOSE: Final[dict[State, tuple[str, ...]]] = {
    _S.OPEN: (),
    _S.BETWEEN: (),
    _S.TEXT: ("close_text", "close_message"),
    _S.REFUSAL: ("close_refusal", "close_message"),
    _S.REASONING: ("close_thought", "close_reasoning"),
    _S.CALL: ("close_call",),
    _S.CUSTOM: ("close_custom",),
}
#: Facts that go on with what is open, or change only its part; and those of a response that says nothing yet.
EXCEPTIONS: Final[dict[State, dict[Fact, _Row]]] = {
    _S.OPEN: {
        _F.RELAY: (_S.RELAYED, ("relay",)),
        # An answer without a single token is an empty message, not an empty output.
        _F.FINISH: (_S.ENDED, ("open_message", "open_text", "close_text", "close_message", "finish")),
        # A warm-up says nothing.
        _F.WARM: (_S.ENDED, ("finish",)),
    },
    _S.BETWEEN: {_F.RELAY: (_S.RELAYED, ("relay",)), _F.WARM: (_S.ENDED, ("finish",))},
    _S.TEXT: {
        _F.TEXT: (_S.TEXT, ("text",)),
        _F.REFUSAL: (_S.REFUSAL, ("close_text", "open_refusal", "refusal")),
    },
    _S.REFUSAL: {
        _F.TEXT: (_S.TEXT, ("close_refusal", "open_text", "text")),
        _F.REFUSAL: (_S.REFUSAL, ("refusal",)),
    },
    _S.REASONING: {_F.REASONING: (_S.REASONING, ("thought",))},
    _S.CALL: {_F.ARGUMENTS: (_S.CALL, ("arguments",))},
    _S.CUSTOM: {_F.ARGUMENTS: (_S.CUSTOM, ("input",))},
}
#: Facts that have no row, though something could be closed and opened: a call must be answered before anything else.
IMPOSSIBLE: Final[dict[State, frozenset[Fact]]] = {
    _S.CALL: frozenset({_F.STEER}),
    _S.CUSTOM: frozenset({_F.STEER}),
}


def _row(state: State) -> dict[Fact, _Row]:
    """What can happen in a state in which an answer is being made."""
    facts = OPEN.keys() - IMPOSSIBLE.get(state, frozenset())
    closed = {fact: (after, (*CLOSE[state], *actions)) for fact, (after, actions) in OPEN.items() if fact in facts}
    return closed | EXCEPTIONS[state]


TRANSITIONS: Final[dict[State, dict[Fact, _Row]]] = {
    _S.NEW: {
        _F.QUEUE: (_S.QUEUED, ("created", "queued")),
        _F.START: (_S.OPEN, ("created", "begin")),
        _F.FAULT: OPEN[_F.FAULT],
        _F.CANCEL: OPEN[_F.CANCEL],
    },
    _S.QUEUED: {
        _F.START: (_S.OPEN, ("begin",)),
        _F.FAULT: OPEN[_F.FAULT],
        _F.CANCEL: OPEN[_F.CANCEL],
    },
    **{state: _row(state) for state in CLOSE},
    # An answer is relayed from its beginning to its end, or not at all.
    _S.RELAYED: {
        _F.RELAY: (_S.RELAYED, ("relay",)),
        _F.FINISH: OPEN[_F.FINISH],
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
