"""Parts and texts of a relayed response: each piece is passed on, and what was left out of an end is put in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from antiphon.domain import limits
from antiphon.protocol.events import Obfuscator
from antiphon.protocol.responses.foreign import PLAIN, checked_logprobs, checked_part, invalid_event, named, position
from antiphon.protocol.responses.streamed import (
    ANNOTATION,
    ITEM_OF,
    ITEM_TEXTS,
    PART_EVENTS,
    PART_OF,
    PART_TEXTS,
    PARTS,
    WITH_PARTS,
    Item,
    Items,
    Json,
    Member,
    Part,
    Text,
)

#: Arguments of a function that is called without any, as the published API has them.
_NONE = "{}"


class Texts:
    """The parts and texts of `items`. Each method raises `UpstreamFailed` for what contradicts what was said before."""

    def __init__(self, emit: Callable[..., None], items: Items, padding: Obfuscator | None) -> None:
        self._emit = emit
        self._items = items
        self._padding = padding

    # --- events out ---------------------------------------------------------------------------------------------------
    def say(self, kind: str, fields: Json) -> None:
        """Emit an event and note what it tells of the open items."""
        self._emit(kind, **fields)
        self._items.note(kind, fields)

    def _delta(self, stem: str, where: Json, piece: str, logprobs: list[Json], more: Json) -> None:
        fields = {**more, **where, "delta": piece}
        fields.pop("obfuscation", None)
        if stem == "response.output_text":
            fields["logprobs"] = logprobs
        if self._padding is not None:
            theirs = more.get("obfuscation")
            fields["obfuscation"] = theirs if isinstance(theirs, str) else self._padding.pad(piece)
        self.say(f"{stem}.delta", fields)

    # --- the whole of an item -----------------------------------------------------------------------------------------
    def finish(self, item: Item, done: Json) -> None:
        """Bring all texts of an item to their ends. `done`: the finished item, which gets them as they were said."""
        for member, parts in item.parts.items():
            listed = (done.get(member) or []) if member in WITH_PARTS.get(item.kind, ()) else []
            for number in range(max(len(parts), len(listed))):
                self._whole_part(item, member, number, listed[number] if number < len(listed) else None)
            if parts or (member in done and item.kind in WITH_PARTS):
                done[member] = [part.body for part in parts]
        self._whole_text(item, done)

    def _whole_part(self, item: Item, member: Member, number: int, body: Json | None) -> None:
        """Bring a part to its end, whatever was said of it."""
        parts = item.parts[member]
        if number == len(parts):
            assert body is not None
            self._add_part(item, member, body)
        if not parts[number].done:
            self._finish_part(item, member, number, body)

    def _whole_text(self, item: Item, done: Json) -> None:
        stem, name = ITEM_TEXTS.get(item.kind, ("", ""))
        text = item.text
        if not stem or (done.get(name) is None and not text.pieces and not text.done):
            return
        full = done.get(name)
        if item.kind == "function_call" and not text.joined and done.get("status") != "incomplete":
            full = full or _NONE
        if text.done:
            if full and full != text.joined:
                raise invalid_event()
        elif item.kind in PLAIN or full or text.pieces:
            self._finish_text(stem, name, item.where(), text, full, named(item))
        done[name] = text.joined

    # --- parts --------------------------------------------------------------------------------------------------------
    def part(self, item: Item, stem: str, step: str, event: Json) -> None:
        """A part of an item begins (`step` "added") or ends ("done"). `stem`: its event's type without the step."""
        member, index_name = PARTS[stem]
        number = position(event.get(index_name, 0))
        if step == "added":
            if number != len(item.parts[member]):
                raise invalid_event()
            self._add_part(item, member, checked_part(event.get("part")))
            return
        self._open_part(item, member, number)
        self._finish_part(item, member, number, checked_part(event.get("part")))

    def _open_part(self, item: Item, member: Member, number: int) -> Part:
        parts = item.parts[member]
        if number >= len(parts) or parts[number].done:
            raise invalid_event()
        return parts[number]

    def _add_part(self, item: Item, member: Member, body: Json) -> None:
        kind = body["type"]
        if (kind == "summary_text") != (member == "summary") or len(item.parts[member]) >= limits.MAX_RELAYED_ITEMS:
            raise invalid_event()
        part = dict(body)
        if kind in PART_TEXTS:
            part[PART_TEXTS[kind][1]] = ""
        if kind == "output_text":
            part |= {"annotations": [], "logprobs": []}
        where = item.where_part(member, len(item.parts[member]))
        self.say(f"{PART_EVENTS[member]}.added", {**where, "part": part})

    def _finish_part(self, item: Item, member: Member, number: int, body: Json | None) -> None:
        """`body`: as they have it now; None if they have not said."""
        part = item.parts[member][number]
        where = item.where_part(member, number)
        done = dict(part.body if body is None else body)
        if done["type"] != part.kind:
            raise invalid_event()
        if part.kind in PART_TEXTS:
            stem, name = PART_TEXTS[part.kind]
            full = None if body is None else done[name]
            if not part.text.done:
                self._finish_text(stem, name, where, part.text, full, {}, done.get("logprobs"))
            elif full is not None and full != part.text.joined:
                raise invalid_event()
            done[name] = part.text.joined
        if part.kind == "output_text":
            listed = (body or {}).get("annotations") or []
            for annotation in listed[len(part.annotations) :]:
                self.say(ANNOTATION, {**where, "annotation_index": len(part.annotations), "annotation": annotation})
            done |= {"annotations": list(part.annotations), "logprobs": list(part.text.logprobs)}
        self.say(f"{PART_EVENTS[member]}.done", {**where, "part": done})

    def annotation(self, item: Item, event: Json) -> None:
        """A note on the text that is being said."""
        number = position(event.get("content_index"))
        part = self._open_part(item, "content", number)
        if part.kind != "output_text" or "annotation" not in event:
            raise invalid_event()
        where = {**item.where_part("content", number), "annotation_index": len(part.annotations)}
        self.say(ANNOTATION, {**event, **where})

    # --- texts --------------------------------------------------------------------------------------------------------
    def text(self, item: Item, stem: str, step: str, event: Json) -> None:
        """More of a text (`step` "delta"), or all of it ("done"). `stem`: its event's type without the step."""
        if stem in ITEM_OF:
            if item.kind != ITEM_OF[stem]:
                raise invalid_event()
            text, where, name, more = item.text, item.where(), ITEM_TEXTS[item.kind][1], named(item)
        else:
            kind = PART_OF[stem]
            member: Member = "summary" if kind == "summary_text" else "content"
            number = position(event.get(PARTS[PART_EVENTS[member]][1], 0))
            name, more = PART_TEXTS[kind][1], {}
            if number == len(item.parts[member]):
                self._add_part(item, member, {"type": kind, name: ""})
            part = self._open_part(item, member, number)
            if part.kind != kind:
                raise invalid_event()
            text, where = part.text, item.where_part(member, number)
        if text.done or step not in {"delta", "done"}:
            raise invalid_event()
        if stem != "response.output_text":
            event.pop("logprobs", None)
        if step == "done":
            full = event.get(name)
            if full is not None and not isinstance(full, str):
                raise invalid_event()
            if item.kind == "function_call":
                full = full or text.joined or _NONE
            self._finish_text(stem, name, where, text, full, {**event, **more}, event.get("logprobs"))
            return
        piece = event.get("delta")
        if not isinstance(piece, str):
            raise invalid_event()
        self._delta(stem, where, piece, checked_logprobs(event.get("logprobs")), event)

    def next_piece(self, item: Item, event: Json) -> bool:
        """Pass on the next piece of the text that is open, which most events are, without detours. False: it is not."""
        number, piece = event.get("content_index"), event.get("delta")
        if event.get("logprobs") or not isinstance(piece, str):
            return False
        parts = item.parts["content"]
        if type(number) is not int or number != len(parts) - 1:
            return False
        part = parts[number]
        if part.done or part.text.done or part.kind != "output_text":
            return False
        event["item_id"] = item.body["id"]
        event["output_index"] = item.index
        event["logprobs"] = []
        theirs = event.pop("obfuscation", None)
        if self._padding is not None:
            event["obfuscation"] = theirs if isinstance(theirs, str) else self._padding.pad(piece)
        part.text.pieces.append(piece)
        self._emit("response.output_text.delta", **event)
        return True

    def _finish_text(
        self, stem: str, name: str, where: Json, text: Text, full: str | None, more: Json, logprobs: Any = None
    ) -> None:
        """Say what of `full` was not said yet, then the whole."""
        joined = text.joined
        if full is not None and full != joined:
            if not full.startswith(joined):
                raise invalid_event()
            rest = checked_logprobs(logprobs)[len(text.logprobs) :]
            self._delta(stem, where, full[len(joined) :], rest, {})
        fields = {**more, **where, name: text.joined}
        if stem == "response.output_text":
            fields["logprobs"] = list(text.logprobs)
        self.say(f"{stem}.done", fields)
