"""A Chat Completions server's own words, passed on to a client of the same API. Sans-IO.

What is as it must be goes on byte by byte. What is not is put right first: clients fall over chunks without an index, a
role that is said again, or a call without an id. Unknown members are kept.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import msgspec

from antiphon.engines.upstream import errors, lenient_json
from antiphon.engines.upstream.chat.chunks import (
    Choice,
    Completion,
    MessagePart,
    call_texts,
    only_text,
    reason_of,
    texts_of,
)
from antiphon.engines.upstream.chat.ending import FinishState
from antiphon.engines.upstream.chat.pattern import ChunkPattern
from antiphon.engines.upstream.chat.reader import ChunkReader
from antiphon.engines.upstream.chat.repair import (
    REASONS,
    CallPieces,
    Envelope,
    cut_off,
    joined,
    message_of,
    published,
    separate,
)
from antiphon.engines.upstream.scrubber import Scrubber
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.protocol.chat.machine import usage_object
from antiphon.protocol.generation import Delta, PassthroughDelta

Json = dict[str, Any]

#: Members of calls that may be left out, and may not be null.
_NULLS = re.compile(rb'"(?:id|type|name|arguments|input)"\s*:\s*null')
_CHUNK, _WHOLE = "chat.completion.chunk", "chat.completion"


class ChatPassthroughParser:
    """Passes on what the server says, once it is known to be what it must be."""

    def __init__(
        self,
        scrubber: Scrubber,
        meter: OutputMeter,
        *,
        show_usage: bool,
        streamed: bool = True,
        model: str = "",
        tools: Collection[str] = (),
    ) -> None:
        """`show_usage`: the client wants to see the chunk that only holds the usage. `streamed`: it wants chunks.

        `model`: what was asked for, where the server does not name it. `tools`: names that calls may have.
        """
        self._scrubber = scrubber
        self._reader = ChunkReader(scrubber)
        self._pattern = ChunkPattern(scrubber)
        self._meter = meter
        self._ending = FinishState(meter)
        self._envelope = Envelope(model)
        self._calls = CallPieces(tools)
        #: Whether the server has said why it ended, or too much.
        self.finished = False
        self._show_usage = show_usage
        self._usage_shown = False
        self._streamed = streamed
        #: Whether the client was sent the role.
        self._introduced = False
        #: The index of the one choice, as the server has it.
        self._index: int | None = None

    def feed(self, data: bytes, name: str = "message") -> list[Delta]:
        """The chunk, if the client is to see it. `name`: the event's type."""
        text = self._pattern.text_of(data)
        if text is None:
            deltas = self._look_into(data, name)
        else:
            self._meter.characters += len(text)
            deltas = [PassthroughDelta(data, text)]
        if self._meter.characters > self._meter.most and not self.finished:
            self._ending.reason, self.finished = "length", True
            deltas.append(self._made({}, "length"))
        return deltas

    def _look_into(self, data: bytes, name: str) -> list[Delta]:
        """The chunk, once it is put right."""
        data = self._scrubber.masked(data)
        completion = self._reader.read(data, name)
        if completion is None:
            return []
        if completion.usage is not None:
            self._ending.used(completion)
        if not completion.choices:
            return self._without_choices(data, completion)
        deltas = self._with_choice(data, completion, completion.choices)
        self.finished = self._ending.reason is not None
        return deltas

    def whole(self, data: bytes) -> list[Delta]:
        """The completion. It has ended, whether or not it says why."""
        data = self._scrubber.masked(data)
        completion = self._reader.read(data)
        if completion is None or not completion.choices:
            raise errors.invalid("JSON that is no completion")
        self._ending.used(completion)
        if not self._streamed:
            return [self._completion(data, completion, completion.choices[0])]
        deltas = self._with_choice(data, completion, completion.choices)
        if self._ending.reason is None:
            self._ending.reason = "length" if self._calls.cut_off else "tool_calls" if self._calls.any else "stop"
            deltas += [*self._rest(self._ending.reason), self._made({}, self._ending.reason)]
        return deltas

    def finish(self) -> list[Delta]:
        """The end. Raises `UpstreamFailed` if the server has not said that it is one."""
        finish = self._ending.finish(calls=self._calls.any)
        if not self._streamed or not self._show_usage or self._usage_shown:
            return [finish]
        last = {**self._envelope.members(_CHUNK), "choices": [], "usage": usage_object(finish.usage)}
        return [PassthroughDelta(lenient_json.written(last)), finish]

    # --- chunks -------------------------------------------------------------------------------------------------------
    def _without_choices(self, data: bytes, completion: Completion) -> list[Delta]:
        """The chunk with the usage is shown once, to clients that asked for it; or one like it is made at the end."""
        shown = self._show_usage and not self._usage_shown and self.finished and self._reader.value is None
        if not shown or not self._has_envelope(completion, _CHUNK) or not self._is_exact(completion.usage):
            return []
        self._usage_shown = True
        return [PassthroughDelta(_line(data))]

    def _is_exact(self, usage: Any) -> bool:
        """Whether the usage, which was read last, has the published names, is plausible, and adds up."""
        counted = self._ending.usage
        if counted is None or not isinstance(usage, dict) or not (counted.output_tokens or not self._meter.characters):
            return False
        given, made, total = usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("total_tokens")
        same = given == counted.input_tokens and made == counted.output_tokens
        return same and type(given) is type(made) is type(total) is int and total == given + made

    def _with_choice(self, data: bytes, completion: Completion, choices: list[Choice]) -> list[Delta]:
        """A chunk with a choice; only one was asked for."""
        choice = choices[0]
        text = only_text(choices)
        if text and self._introduced and self._is_sound(completion, choice):
            self._meter.add(text)
            data = _line(data)
            if completion.usage is None and choice.finish_reason is None:
                self._pattern.learn(data, text)
            return [PassthroughDelta(data, text)]
        ours = self._ours(choices)
        return [] if ours is None else self._chunk(data, completion, *ours)

    def _ours(self, choices: list[Choice]) -> tuple[int, Choice] | None:
        """The choice that was asked for, and its place in the list: the one that came first."""
        if self._index is None:
            self._index = choices[0].index or 0
        for place, choice in enumerate(choices):
            if (choice.index or 0) == self._index:
                return place, choice
        return None

    def _chunk(self, data: bytes, completion: Completion, place: int, choice: Choice) -> list[Delta]:
        part = choice.delta or choice.message or MessagePart()
        if choice.delta is None:
            separate(part)
        self._ending.begun = True
        self._envelope.note(completion)
        text = "".join((*texts_of(part), part.refusal or "", *call_texts(part)))
        self._meter.add(text)
        pieces, same = self._calls.take(part)
        same = same and not (part.tool_calls and _NULLS.search(data))
        if choice.finish_reason is not None and self._calls.cut_off and not cut_off(choice.finish_reason):
            choice.finish_reason, same = "length", False
        before = self._rest(choice.finish_reason, pieces) if choice.finish_reason is not None else []
        if choice.finish_reason is not None:
            self._ending.reason = reason_of(choice.finish_reason)
        if same and self._is_sound(completion, choice):
            made = _line(data)
        elif self._says_nothing(choice, part, pieces):
            return before
        else:
            made = self._mended(data, completion, place, joined(pieces))
        self._introduced = True
        return [*before, PassthroughDelta(made, text)]

    def _is_sound(self, completion: Completion, choice: Choice) -> bool:
        """Whether the chunk is what it must be, but for its calls."""
        part = choice.delta
        return (
            part is not None
            and choice.index == 0
            and part.role == (None if self._introduced else "assistant")
            and self._has_envelope(completion, _CHUNK)
            and self._reader.value is None
            and (choice.finish_reason is None or choice.finish_reason in REASONS)
            and type(part.content) is not list
            and (completion.usage is None or not self._show_usage)
            and len(completion.choices or ()) == 1
        )

    @staticmethod
    def _has_envelope(completion: Completion, kind: str) -> bool:
        named = completion.id and completion.object == kind and completion.model is not None
        return bool(named) and completion.created is not None

    @staticmethod
    def _says_nothing(choice: Choice, part: MessagePart, pieces: list[Json]) -> bool:
        """Whether all that there was are pieces of calls that wait."""
        return bool(part.tool_calls) and not pieces and choice.finish_reason is None and not any(texts_of(part))

    def _rest(self, reason: str | None, pieces: list[Json] | None = None) -> list[Delta]:
        """What must be said of calls before the end, in a chunk of its own; what belongs to `pieces` is put there."""
        cut = cut_off(reason)
        rest = self._calls.rest(cut=cut)
        if pieces is not None and pieces:
            pieces += rest
            rest = []
        legacy = self._calls.rest_of_legacy(cut=cut)
        delta = {**({"tool_calls": rest} if rest else {}), **({"function_call": legacy} if legacy else {})}
        return [self._made(delta, None)] if delta else []

    def _made(self, delta: Json, reason: str | None) -> PassthroughDelta:
        """A chunk of ours."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return PassthroughDelta(lenient_json.written({**self._envelope.members(_CHUNK), "choices": [choice]}))

    # --- put right ----------------------------------------------------------------------------------------------------
    def _mended(self, data: bytes, completion: Completion, place: int, calls: list[Json]) -> bytes:
        """The chunk as it must be."""
        choice = (completion.choices or [])[place]
        value, given, part = self._given(data, place, choice)
        delta = message_of(given["delta"], part, calls)
        if not self._introduced:
            delta = {"role": "assistant", **delta}
        reason = published(choice.finish_reason)
        value |= self._members(completion, _CHUNK)
        value["choices"] = [{**given, "index": 0, "delta": delta, "finish_reason": reason}]
        if self._show_usage or choice.delta is None:
            value.pop("usage", None)  # it has a chunk of its own, for clients that ask for it
        return lenient_json.written(value)

    def _given(self, data: bytes, place: int, choice: Choice) -> tuple[Json, Json, MessagePart]:
        """The whole object as it came, its choice with a `delta`, and what that says."""
        value = self._reader.value or lenient_json.value_of(data)
        given: Json = dict(value["choices"][place])
        message = given.pop("message", None)
        given["delta"] = given.get("delta") or message or {}
        return value, given, choice.delta or choice.message or MessagePart()

    def _members(self, completion: Completion, kind: str) -> Json:
        """The envelope: as this object has it, where it has it."""
        given = {"id": completion.id, "created": completion.created, "model": completion.model}
        ours = self._envelope.members(kind)
        return ours | {name: value for name, value in given.items() if value is not None and value != ""}

    # --- a whole completion -------------------------------------------------------------------------------------------
    def _completion(self, data: bytes, completion: Completion, choice: Choice) -> Delta:
        part = choice.message or choice.delta or MessagePart()
        self._ending.begun = True
        plain = only_text([Choice(delta=part)])
        text = plain or "".join((*texts_of(part), part.refusal or "", *call_texts(part)))
        self._meter.add(text)
        exact = self._is_exact(completion.usage)
        if plain and exact and self._is_whole(completion, choice):
            self._ending.reason = reason_of(choice.finish_reason or "")
            return PassthroughDelta(data, text)
        separate(part)
        self._envelope.note(completion)
        calls, same = self._calls.take(part)
        same = same and not (part.tool_calls and _NULLS.search(data))
        if self._calls.cut_off and not cut_off(choice.finish_reason):
            choice.finish_reason, same = "length", False
        rest = self._calls.rest(cut=cut_off(choice.finish_reason))
        legacy = self._calls.rest_of_legacy(cut=cut_off(choice.finish_reason))
        self._ending.reason = reason_of(choice.finish_reason or ("tool_calls" if self._calls.any else "stop"))
        if same and exact and not rest and not legacy and self._is_whole(completion, choice):
            return PassthroughDelta(data, text)
        value, given, _ = self._given(data, 0, choice)
        message = message_of(given.pop("delta"), part, _without_index(joined([*calls, *rest])))
        if legacy:
            message["function_call"] |= legacy
        value |= self._members(completion, _WHOLE)
        reason = published(choice.finish_reason) or self._ending.reason
        message = {"role": "assistant", "content": None, **message}
        value["choices"] = [{**given, "index": 0, "message": message, "finish_reason": reason}]
        if not exact:
            value["usage"] = usage_object(self._ending.finish(calls=self._calls.any).usage)
        return PassthroughDelta(lenient_json.written(value), text)

    def _is_whole(self, completion: Completion, choice: Choice) -> bool:
        """Whether the completion is what it must be, but for its calls and its usage."""
        message = choice.message
        return (
            message is not None
            and message.role == "assistant"
            and choice.index == 0
            and self._has_envelope(completion, _WHOLE)
            and self._reader.value is None
            and choice.finish_reason in REASONS
            and type(message.content) is not list
            and len(completion.choices or ()) == 1
        )


def _without_index(calls: list[Json]) -> list[Json]:
    return [{name: value for name, value in call.items() if name != "index"} for call in calls]


def _line(data: bytes) -> bytes:
    """The JSON on one line, as the data of an event is; it has line feeds between values only."""
    return msgspec.json.format(data, indent=-1) if b"\n" in data else data
