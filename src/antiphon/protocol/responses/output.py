"""The items of a response as they are made, and the events that say so: one item is open at a time.

What may come after what is not decided here, but by the rows of `table.TRANSITIONS`, whose actions these are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from antiphon.protocol.events import Event, Obfuscator
from antiphon.protocol.generation import (
    AnswerDelta,
    CallArguments,
    CallStart,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
)
from antiphon.protocol.responses import objects
from antiphon.protocol.responses.objects import Json
from antiphon.protocol.responses.table import ItemDelta, ResponseDelta
from antiphon.protocol.shared import logprob


class Output:
    """Finished items (`output`), the one that is open, and events that nobody has taken yet."""

    def __init__(
        self,
        ids: Callable[[str], str],
        padding: Obfuscator | None,
        *,
        show_logprobs: bool,
        seal: Callable[[str], str] | None,
    ) -> None:
        """`ids` makes item ids from a prefix; `seal`: `encrypted_content` of a reasoning text."""
        self.unsaved = False
        self.output: list[Json] = []
        self._ids = ids
        self._padding = padding
        self._show_logprobs = show_logprobs
        self._seal = seal
        self._events: list[Event] = []
        self._sequence = 0
        self._item_id = ""
        self._pieces: list[str] = []
        self._logprobs: list[Json] = []
        self._parts: list[Json] = []
        self._call = CallStart("", "")
        # The item that is open when a response ends early was not finished.
        self._item_status = "completed"

    def _emit(self, event_type: str, /, **fields: Any) -> None:
        body = {"type": event_type, **fields, "sequence_number": self._sequence}
        self._sequence += 1
        self._events.append(Event(event_type, body))

    # --- items --------------------------------------------------------------------------------------------------------
    def _open_item(self, prefix: str) -> str:
        self._item_id = self._ids(prefix)
        self._parts = []
        self._pieces = []
        return self._item_id

    def _add_item(self, item: Json) -> None:
        self._emit("response.output_item.added", output_index=len(self.output), item=item)

    def _close_item(self, item: Json) -> None:
        self._emit("response.output_item.done", output_index=len(self.output), item=item)
        self.output.append(item)
        self.unsaved = True

    def _item(self, delta: ResponseDelta | None) -> None:
        assert isinstance(delta, ItemDelta)
        item = dict(delta.item)
        self._add_item(item)
        self._close_item(item)

    def _open_message(self, _: AnswerDelta | None) -> None:
        self._add_item(objects.message(self._open_item("msg_"), "in_progress", []))

    def _close_message(self, _: AnswerDelta | None) -> None:
        self._close_item(objects.message(self._item_id, self._item_status, self._parts))

    def _open_reasoning(self, _: AnswerDelta | None) -> None:
        self._add_item(objects.reasoning(self._open_item("rs_"), "in_progress", []))

    def _close_reasoning(self, _: AnswerDelta | None) -> None:
        sealed = self._seal("\n".join(part["text"] for part in self._parts)) if self._seal is not None else None
        self._close_item(objects.reasoning(self._item_id, self._item_status, self._parts, sealed))

    # --- parts --------------------------------------------------------------------------------------------------------
    def _where(self) -> Json:
        return {"item_id": self._item_id, "output_index": len(self.output), "content_index": len(self._parts)}

    def _add_part(self, part: Json) -> None:
        self._pieces = []
        self._logprobs = []
        self._emit("response.content_part.added", **self._where(), part=part)

    def _close_part(self, part: Json) -> None:
        self._emit("response.content_part.done", **self._where(), part=part)
        self._parts.append(part)

    def _delta(self, event_type: str, where: Json, piece: str, **fields: Any) -> None:
        self._pieces.append(piece)
        if self._padding is not None:
            fields["obfuscation"] = self._padding.pad(piece)
        self._emit(event_type, **where, delta=piece, **fields)

    def _open_text(self, _: AnswerDelta | None) -> None:
        self._add_part(objects.text_part("", []))

    def _text(self, delta: AnswerDelta | None) -> None:
        assert isinstance(delta, TextDelta)
        logprobs: list[Json] = []
        if self._show_logprobs:
            logprobs = [logprob(token) for token in delta.logprobs]
            self._logprobs += logprobs
        # Most events are of this kind, so it is made without detours.
        text = delta.text
        self._pieces.append(text)
        body: Json = {
            "type": "response.output_text.delta",
            "item_id": self._item_id,
            "output_index": len(self.output),
            "content_index": len(self._parts),
            "delta": text,
            "logprobs": logprobs,
            "sequence_number": self._sequence,
        }
        if self._padding is not None:
            body["obfuscation"] = self._padding.pad(text)
        self._sequence += 1
        self._events.append(Event("response.output_text.delta", body))

    def _close_text(self, _: AnswerDelta | None) -> None:
        text, logprobs = "".join(self._pieces), self._logprobs
        self._emit("response.output_text.done", **self._where(), text=text, logprobs=logprobs)
        self._close_part(objects.text_part(text, logprobs))

    def _open_refusal(self, _: AnswerDelta | None) -> None:
        self._add_part(objects.refusal_part(""))

    def _refusal(self, delta: AnswerDelta | None) -> None:
        assert isinstance(delta, RefusalDelta)
        self._delta("response.refusal.delta", self._where(), delta.text)

    def _close_refusal(self, _: AnswerDelta | None) -> None:
        text = "".join(self._pieces)
        self._emit("response.refusal.done", **self._where(), refusal=text)
        self._close_part(objects.refusal_part(text))

    def _open_thought(self, _: AnswerDelta | None) -> None:
        self._add_part(objects.reasoning_part(""))

    def _thought(self, delta: AnswerDelta | None) -> None:
        assert isinstance(delta, ReasoningDelta)
        self._delta("response.reasoning_text.delta", self._where(), delta.text)

    def _close_thought(self, _: AnswerDelta | None) -> None:
        text = "".join(self._pieces)
        self._emit("response.reasoning_text.done", **self._where(), text=text)
        self._close_part(objects.reasoning_part(text))

    # --- calls --------------------------------------------------------------------------------------------------------
    def _where_item(self) -> Json:
        return {"item_id": self._item_id, "output_index": len(self.output)}

    def _open_call(self, delta: AnswerDelta | None) -> None:
        assert isinstance(delta, CallStart)
        self._call = delta
        item_id = self._open_item("fc_")
        self._add_item(objects.function_call(item_id, "in_progress", delta.call_id, delta.name, ""))

    def _arguments(self, delta: AnswerDelta | None) -> None:
        assert isinstance(delta, CallArguments)
        self._delta("response.function_call_arguments.delta", self._where_item(), delta.text)

    def _close_call(self, _: AnswerDelta | None) -> None:
        call, arguments = self._call, "".join(self._pieces)
        self._emit(
            "response.function_call_arguments.done",
            **self._where_item(),
            name=call.name,
            arguments=arguments,
        )
        self._close_item(objects.function_call(self._item_id, self._item_status, call.call_id, call.name, arguments))

    def _open_custom(self, delta: AnswerDelta | None) -> None:
        assert isinstance(delta, CallStart)
        self._call = delta
        item_id = self._open_item("ctc_")
        self._add_item(objects.custom_call(item_id, "in_progress", delta.call_id, delta.name, ""))

    def _input(self, delta: AnswerDelta | None) -> None:
        assert isinstance(delta, CallArguments)
        self._delta("response.custom_tool_call_input.delta", self._where_item(), delta.text)

    def _close_custom(self, _: AnswerDelta | None) -> None:
        call, text = self._call, "".join(self._pieces)
        self._emit("response.custom_tool_call_input.done", **self._where_item(), input=text)
        self._close_item(objects.custom_call(self._item_id, self._item_status, call.call_id, call.name, text))
