"""The items of a response as they are made, and the events that say so: one item is open at a time.

What may come after what is not decided here, but by the rows of `table.TRANSITIONS`, whose actions these are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from antiphon.domain.errors import OutputInvalid
from antiphon.protocol.events import Event, Obfuscator
from antiphon.protocol.generation import (
    AnswerDelta,
    CallArguments,
    CallStart,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
)
from antiphon.protocol.responses import client_tools, item_types, objects
from antiphon.protocol.responses.client_tools import Form
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
        #: How calls of the tools that were offered are shown, by the name that each was offered under.
        self.forms: Mapping[str, Form] = {}
        self._form = Form("function", "")
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

    def _begin_call(self, delta: AnswerDelta | None, prefix: str) -> tuple[str, str, Form]:
        """The call that is opened: the new item's id, the call's own, and how it is shown."""
        assert isinstance(delta, CallStart)
        self._call = delta
        self._form = self.forms.get(delta.name) or Form("function", delta.name)
        return self._open_item(prefix), delta.call_id, self._form

    def _open_call(self, delta: AnswerDelta | None) -> None:
        item_id, call_id, form = self._begin_call(delta, "fc_")
        if not form.whole:
            call = objects.function_call(item_id, "in_progress", call_id, form.name, "", form.namespace)
            self._add_item(call)

    def _arguments(self, delta: AnswerDelta | None) -> None:
        assert isinstance(delta, CallArguments)
        if self._form.whole:
            self._pieces.append(delta.text)
        else:
            self._delta("response.function_call_arguments.delta", self._where_item(), delta.text)

    def _close_call(self, _: AnswerDelta | None) -> None:
        form, arguments = self._form, "".join(self._pieces)
        if form.whole:
            self._whole_call(form, arguments)
            return
        self._emit(
            "response.function_call_arguments.done",
            **self._where_item(),
            name=form.name,
            arguments=arguments,
        )
        call = (self._item_id, self._item_status, self._call.call_id, form.name, arguments, form.namespace)
        self._close_item(objects.function_call(*call))

    def _whole_call(self, form: Form, arguments: str) -> None:
        """A call that is shown as a whole. What was cut off before it could be read is not shown at all."""
        said = client_tools.arguments_of(form.kind, arguments)
        if said is None or self._item_status != "completed":
            return
        kind = form.kind
        item_id = self._ids(item_types.TYPES[f"{kind}_call"].prefix)
        commands: list[str] = said["commands"] if kind == "shell" else []
        # What the published events stream, or clients take for a text that grows, is empty at first.
        begun = {"shell": {**said, "commands": []}, "tool_search": {}}.get(kind, said)
        self._add_item(client_tools.item(kind, item_id, "in_progress", self._call.call_id, begun))
        for index, command in enumerate(commands):
            where = {"output_index": len(self.output), "command_index": index}
            self._emit("response.shell_call_command.added", **where, command="")
            self._delta("response.shell_call_command.delta", where, command)
            self._emit("response.shell_call_command.done", **where, command=command)
        self._close_item(client_tools.item(kind, item_id, "completed", self._call.call_id, said))

    def _check_whole_call(self) -> None:
        """Raise `OutputInvalid` if the call that ends now is shown as a whole, and cannot be."""
        form = self._form
        if form.whole and client_tools.arguments_of(form.kind, "".join(self._pieces)) is None:
            raise OutputInvalid(f"The model called '{form.name}' with arguments that do not fit.")

    def _open_custom(self, delta: AnswerDelta | None) -> None:
        item_id, call_id, form = self._begin_call(delta, "ctc_")
        self._add_item(objects.custom_call(item_id, "in_progress", call_id, form.name, "", form.namespace))

    def _input(self, delta: AnswerDelta | None) -> None:
        assert isinstance(delta, CallArguments)
        self._delta("response.custom_tool_call_input.delta", self._where_item(), delta.text)

    def _close_custom(self, _: AnswerDelta | None) -> None:
        form, text = self._form, "".join(self._pieces)
        self._emit("response.custom_tool_call_input.done", **self._where_item(), input=text)
        call = (self._item_id, self._item_status, self._call.call_id, form.name, text, form.namespace)
        self._close_item(objects.custom_call(*call))
