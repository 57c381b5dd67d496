"""Repairs what a Chat Completions server has left out of its answer, or written wrongly. Sans-IO."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from antiphon.domain.ids import new_id
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.chat.chunks import (
    Call,
    Completion,
    MessagePart,
    name_of,
    reason_of,
    text_of,
    texts_of,
)
from antiphon.engines.upstream.chat.placement import CallPlacement, OpenCall

Json = dict[str, Any]

#: The published reasons.
REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_CUT = frozenset({"length", "content_filter"})


def published(word: str | None) -> str | None:
    """A server's word for why the answer ended, as the API has it."""
    return word if word is None or word in REASONS else reason_of(word)


def cut_off(word: str | None) -> bool:
    """Whether the answer was ended before it was whole."""
    return word is not None and reason_of(word) in _CUT


class Envelope:
    """What all chunks of one answer say: its id, when it was begun, and the model's name."""

    def __init__(self, model: str, clock: Callable[[], float] = time.time) -> None:
        """`model`: what was asked for, where the server does not say."""
        self._id = ""
        self._created: int | None = None
        self._model = ""
        self._asked = model
        self._clock = clock

    def note(self, completion: Completion) -> None:
        """Remember what the server says."""
        self._id = self._id or completion.id or ""
        self._model = self._model or completion.model or ""
        self._created = completion.created if self._created is None else self._created

    def members(self, kind: str) -> Json:
        """For an object of this kind; what the server has not said is made up, once."""
        self._id = self._id or new_id("chatcmpl-")
        if self._created is None:
            self._created = int(self._clock())
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model or self._asked}


class CallPieces:
    """Tool calls as a client gets them: with places, ids and whole names, and arguments that are JSON."""

    def __init__(self, tools: Collection[str] = ()) -> None:
        """`tools`: names that calls may have."""
        self._placement = CallPlacement(tools)
        #: Whether the one call of the deprecated `function_call` has arguments; None: there is none.
        self._legacy: bool | None = None

    @property
    def any(self) -> bool:
        """Whether there was a call."""
        return bool(self._placement.open) or self._legacy is not None

    @property
    def cut_off(self) -> bool:
        """Whether the arguments of some call end in the middle: the answer is not whole, whatever its server says."""
        return self._placement.cut_off

    def take(self, part: MessagePart) -> tuple[list[Json], bool]:
        """The pieces of calls as the client gets them now; and whether these are the very ones that came."""
        if part.function_call is not None:
            arguments = part.function_call.arguments
            self._legacy = bool(self._legacy) or bool(text_of(arguments).strip())
            return [], isinstance(arguments, str)
        pieces: list[Json] = []
        same = True
        for call in part.tool_calls or ():
            piece, as_it_came = self._take(call)
            same = same and as_it_came
            if piece is not None:
                pieces.append(piece)
        return pieces, same

    def _take(self, call: Call) -> tuple[Json | None, bool]:
        placed = self._placement.place(call)
        if placed is None:
            return None, False
        opened, text = placed
        inner = call.custom.input if call.custom is not None else call.function and call.function.arguments
        same = call.index == opened.number and isinstance(inner, str | None)
        if opened.started:
            opened.waiting.clear()
            piece = _piece(opened, text) if text else None
            return piece, same and not call.id and not name_of(call)
        if not self._placement.settled(opened):
            return None, False
        waited = len(opened.waiting) > bool(text)
        piece = self._first_piece(opened)
        same = same and not waited and call.id == opened.call_id and call.type == piece["type"]
        return piece, same and name_of(call) == opened.name

    def _first_piece(self, opened: OpenCall) -> Json:
        """The first piece of a call."""
        self._placement.start(opened)
        piece = _piece(opened, "".join(opened.waiting))
        opened.waiting.clear()
        kind = "custom" if opened.custom else "function"
        return {"index": opened.number, "id": opened.call_id, "type": kind, kind: {"name": opened.name, **piece[kind]}}

    def rest(self, *, cut: bool) -> list[Json]:
        """What is to be said before the end: calls that have waited for their names, and arguments that are none.

        `cut`: the answer was cut off, so that what is missing is not known. Raises `UpstreamFailed` for calls without a
        name.
        """
        pieces: list[Json] = []
        for opened in self._placement.open:
            if not opened.name:
                raise errors.invalid("a tool call without a name")
            if not opened.custom and not opened.balance.began and not cut:
                opened.balance.feed("{}")
                opened.waiting = ["{}"]
                pieces.append(_piece(opened, "{}") if opened.started else self._first_piece(opened))
            elif not opened.started:
                pieces.append(self._first_piece(opened))
        return pieces

    def rest_of_legacy(self, *, cut: bool) -> Json | None:
        """The same for `function_call`."""
        if self._legacy is not False or cut:
            return None
        self._legacy = True
        return {"arguments": "{}"}


def _piece(opened: OpenCall, text: str) -> Json:
    """More arguments of a call."""
    inner = {"custom": {"input": text}} if opened.custom else {"function": {"arguments": text}}
    return {"index": opened.number, **inner}


def message_of(given: Json, part: MessagePart, calls: list[Json]) -> Json:
    """A message or a delta as it should be, with the unknown members of `given`, and with these calls."""
    message = {name: value for name, value in given.items() if name not in ("role", "tool_calls")}
    if message.get("function_call") is None:
        message.pop("function_call", None)
    if isinstance(part.content, list):
        reasoning, message["content"] = texts_of(part)
        if reasoning:
            message["reasoning_content"] = reasoning
    if part.function_call is not None:
        message["function_call"] = {**given["function_call"], "arguments": text_of(part.function_call.arguments)}
    if calls:
        message["tool_calls"] = calls
    return message


def separate(part: MessagePart) -> None:
    """The calls of a whole message are as many as they are, whatever their ids and indices say.

    Raises `UpstreamFailed` for one without a name.
    """
    ids: set[str] = set()
    for place, call in enumerate(part.tool_calls or ()):
        if not name_of(call):
            raise errors.invalid("a tool call without a name")
        call.index = place
        if call.id in ids:
            call.id = None
        elif call.id:
            ids.add(call.id)


def joined(pieces: list[Json]) -> list[Json]:
    """Pieces of calls, with those of one call put together."""
    calls: dict[int, Json] = {}
    for piece in pieces:
        known = calls.setdefault(piece["index"], piece)
        if known is not piece:
            kind, name = ("custom", "input") if "custom" in piece else ("function", "arguments")
            known[kind][name] += piece[kind][name]
    return list(calls.values())
