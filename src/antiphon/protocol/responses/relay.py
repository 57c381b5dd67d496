"""Events of another server's response as events of ours, without I/O.

Its items, texts and events keep their content; ids of the response, positions and sequence numbers are ours. What is
missing between the beginning of an item and its end is put in, since servers differ in what they leave out; what
contradicts itself is refused (`UpstreamFailed`, code "upstream_invalid"). So whatever comes, what is emitted is legal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from antiphon.domain import limits
from antiphon.protocol.events import Obfuscator
from antiphon.protocol.responses.foreign import (
    PLAIN,
    WORD,
    checked_item,
    checked_logprobs,
    checked_part,
    decoded,
    is_usage,
    matches,
    named,
    nonsense,
    position,
)
from antiphon.protocol.responses.item_types import TYPES
from antiphon.protocol.responses.streamed import (
    ADDED,
    ANNOTATION,
    DONE,
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

#: A type as it may stand in the `event:` line of a stream.
_TYPE = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_ID = re.compile(rf"[\x21-\x7e]{{1,{limits.MAX_ID}}}")
#: Said by us, when we know it.
_OURS = frozenset({"response.created", "response.queued", "response.in_progress"})
TERMINAL = frozenset({"response.completed", "response.incomplete"})
#: Open Responses' name for events of reasoning, and OpenAI's.
_ALIASES = {"response.reasoning": "response.reasoning_text"}
#: Steps of hosted tools, which belong to an item of that type.
_STEPS = {
    f"response.{kind}": kind
    for kind in (
        *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
        *("mcp_call", "mcp_list_tools"),
    )
}
#: Members of events that are ours to give.
_ENVELOPE = ("sequence_number", "stream_id")
#: What items that were cut off have as status, where their type has no "incomplete".
_CUT = {"web_search_call": "failed", "image_generation_call": "failed"}
#: Members that never change while an item is made.
_FIXED = ("role", "call_id", "name")


class Relay:
    """Takes another server's events, one after the other, and emits ours.

    `output`: our finished items, to which those that get done are added. `taken`: ids that no item may have.
    `snapshot` gives our Response as it stands. `final`: their Response once it has ended.
    """

    def __init__(
        self,
        emit: Callable[..., None],
        output: list[Json],
        *,
        ids: Callable[[str], str],
        padding: Obfuscator | None,
        snapshot: Callable[[], Json],
        taken: Collection[str] = (),
    ) -> None:
        self.final: Json | None = None
        self._emit = emit
        self._output = output
        self._ids = ids
        self._padding = padding
        self._snapshot = snapshot
        self._taken = taken
        self._used = {item["id"] for item in output}
        self._items = Items()
        #: The open items, and all that ever were, by their index in the other server's output.
        self._theirs: dict[int, Item] = {}
        self._seen: set[int] = set()

    # --- facts in -----------------------------------------------------------------------------------------------------
    def take(self, data: bytes) -> None:
        """One event, or a whole response, as JSON. Raises `UpstreamFailed` if it is neither, or may not come now."""
        event = decoded(data)
        if event.get("object") == "response" and self.final is None:
            # The whole, as it is without streaming.
            self._end(event)
            return
        kind = event.pop("type", None)
        if not isinstance(kind, str) or not _TYPE.fullmatch(kind) or self.final is not None:
            raise nonsense()
        for name in _ENVELOPE:
            event.pop(name, None)
        stem, _, step = kind.rpartition(".")
        stem = _ALIASES.get(stem, stem) if step in {"delta", "done"} else stem
        if kind in _OURS:
            return
        if kind in TERMINAL:
            self._end(event.get("response"))
        elif kind == ADDED:
            self._add(event.get("output_index"), event.get("item"))
        elif kind == DONE:
            self._finish_item(self._item(event), event.get("item"))
        elif stem in PARTS and step in {"added", "done"}:
            self._part(stem, step, event)
        elif stem in ITEM_OF or stem in PART_OF:
            self._text(stem, step, event)
        elif kind == ANNOTATION:
            self._annotation(event)
        else:
            self._other(kind, stem, event)

    def conclude(self) -> None:
        """The generation has ended. Raises `UpstreamFailed` if its response has not."""
        if self.final is None:
            raise nonsense()
        if self._items.open:
            if self.final.get("status") == "completed":
                raise nonsense()
            self.cut()

    def cut(self) -> None:
        """End what is open, as incomplete."""
        for item in list(self._items.open.values()):
            if item.finished is None:
                self._finish_item(item, self._cut_off(item))
        self._flush()

    @property
    def calling(self) -> bool:
        """Whether something is open, or done, that waits for an answer."""
        waits = [*self._output, *(item.body for item in self._items.open.values())]
        return any(item["type"].endswith(("_call", "_approval_request")) for item in waits)

    def end(self) -> Json:
        """Members of our Response that the other one decides."""
        final = self.final or {}
        usage: Any = final.get("usage")
        if is_usage(usage):
            usage["input_tokens_details"] = {"cache_write_tokens": 0, **usage["input_tokens_details"]}
        tier = final.get("service_tier")
        details = final.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return {
            **({"service_tier": tier} if matches(tier, WORD) else {}),
            **({"usage": usage} if is_usage(usage) else {}),
            **({"incomplete_details": {"reason": reason}} if matches(reason, WORD) else {}),
        }

    # --- after a crash ------------------------------------------------------------------------------------------------
    def restore(self, kind: str, event: Json) -> None:
        """This was emitted before."""
        self._items.note(kind, event)
        if kind == ADDED:
            self._used.add(event["item"]["id"])

    @property
    def plain(self) -> bool:
        """Whether what is open may as well be a neutral generation's."""
        return self._items.plain

    # --- events out ---------------------------------------------------------------------------------------------------
    def _say(self, kind: str, fields: Json) -> None:
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
        self._say(f"{stem}.delta", fields)

    # --- items --------------------------------------------------------------------------------------------------------
    def _item(self, event: Json) -> Item:
        item = self._theirs.get(position(event.get("output_index")))
        if item is None:
            raise nonsense()
        return item

    def _add(self, index: Any, body: Any) -> Item:
        index = position(index)
        if index in self._seen or len(self._seen) >= limits.MAX_RELAYED_ITEMS:
            raise nonsense()
        item = checked_item(body)
        theirs = item.get("id") if isinstance(item.get("id"), str) else None
        item["id"] = self._id(theirs, item["type"])
        if "status" in item or item["type"] in PLAIN:
            item["status"] = "in_progress"
        for member in WITH_PARTS.get(item["type"], ()):
            if item.get(member) is not None or member != "content":
                item[member] = []
        if item["type"] in ITEM_TEXTS and item.get(ITEM_TEXTS[item["type"]][1]) is not None:
            item[ITEM_TEXTS[item["type"]][1]] = ""
        ours = len(self._output) + len(self._items.open)
        self._say(ADDED, {"output_index": ours, "item": item})
        self._seen.add(index)
        added = self._theirs[index] = self._items.open[ours]
        added.theirs = theirs
        return added

    def _id(self, theirs: str | None, kind: str) -> str:
        """Their id of an item, if it can be ours."""
        if theirs is not None and _ID.fullmatch(theirs) and theirs not in self._used and theirs not in self._taken:
            self._used.add(theirs)
            return theirs
        made = self._ids(TYPES[kind].prefix if kind in TYPES else "item_")
        self._used.add(made)
        return made

    def _finish_item(self, item: Item, body: Any) -> None:
        done = checked_item(body)
        if done["type"] != item.kind or any(done.get(name) != item.body.get(name) for name in _FIXED):
            raise nonsense()
        if item.theirs is not None and done.get("id") not in (item.theirs, item.body["id"]):
            raise nonsense()
        for member, parts in item.parts.items():
            listed = (done.get(member) or []) if member in WITH_PARTS.get(item.kind, ()) else []
            for number in range(max(len(parts), len(listed))):
                self._whole_part(item, member, number, listed[number] if number < len(listed) else None)
            if parts or (member in done and item.kind in WITH_PARTS):
                done[member] = [part.body for part in parts]
        self._whole_text(item, done)
        done["id"] = item.body["id"]
        if done.get("status") == "in_progress" or (item.kind in PLAIN and not isinstance(done.get("status"), str)):
            done["status"] = "completed"
        item.finished = done
        self._theirs = {index: other for index, other in self._theirs.items() if other is not item}
        self._flush()

    def _flush(self) -> None:
        """Items are done in order, so that their positions in the output are those they were announced with."""
        while self._items.open:
            item = next(iter(self._items.open.values()))
            if item.finished is None:
                return
            self._say(DONE, {"output_index": item.index, "item": item.finished})
            self._output.append(item.finished)

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
        if text.done:
            if full is not None and full != text.joined:
                raise nonsense()
        elif item.kind in PLAIN or full or text.pieces:
            self._finish_text(stem, name, item.where(), text, full, named(item))
        done[name] = text.joined

    def _cut_off(self, item: Item) -> Json:
        done = {key: value for key, value in item.body.items() if key not in ("content", "summary")}
        if "status" in done:
            done["status"] = _CUT.get(item.kind, "incomplete")
        if item.kind == "reasoning":
            done["summary"] = []
        if item.kind == "message":
            done["content"] = []
        if item.kind in ITEM_TEXTS and (item.text.pieces or item.kind in PLAIN):
            done[ITEM_TEXTS[item.kind][1]] = item.text.joined
        return done

    # --- parts --------------------------------------------------------------------------------------------------------
    def _part(self, stem: str, step: str, event: Json) -> None:
        item = self._item(event)
        member, index_name = PARTS[stem]
        number = position(event.get(index_name))
        if step == "added":
            if number != len(item.parts[member]):
                raise nonsense()
            self._add_part(item, member, checked_part(event.get("part")))
            return
        self._open_part(item, member, number)
        self._finish_part(item, member, number, checked_part(event.get("part")))

    def _open_part(self, item: Item, member: Member, number: int) -> Part:
        parts = item.parts[member]
        if number >= len(parts) or parts[number].done:
            raise nonsense()
        return parts[number]

    def _add_part(self, item: Item, member: Member, body: Json) -> None:
        kind = body["type"]
        if (kind == "summary_text") != (member == "summary") or len(item.parts[member]) >= limits.MAX_RELAYED_ITEMS:
            raise nonsense()
        part = dict(body)
        if kind in PART_TEXTS:
            part[PART_TEXTS[kind][1]] = ""
        if kind == "output_text":
            part |= {"annotations": [], "logprobs": []}
        where = item.where_part(member, len(item.parts[member]))
        self._say(f"{PART_EVENTS[member]}.added", {**where, "part": part})

    def _finish_part(self, item: Item, member: Member, number: int, body: Json | None) -> None:
        """`body`: as they have it now; None if they have not said."""
        part = item.parts[member][number]
        where = item.where_part(member, number)
        done = dict(part.body if body is None else body)
        if done["type"] != part.kind:
            raise nonsense()
        if part.kind in PART_TEXTS:
            stem, name = PART_TEXTS[part.kind]
            full = None if body is None else done[name]
            if not part.text.done:
                self._finish_text(stem, name, where, part.text, full, {}, done.get("logprobs"))
            elif full is not None and full != part.text.joined:
                raise nonsense()
            done[name] = part.text.joined
        if part.kind == "output_text":
            listed = (body or {}).get("annotations") or []
            for annotation in listed[len(part.annotations) :]:
                self._say(ANNOTATION, {**where, "annotation_index": len(part.annotations), "annotation": annotation})
            done |= {"annotations": list(part.annotations), "logprobs": list(part.text.logprobs)}
        self._say(f"{PART_EVENTS[member]}.done", {**where, "part": done})

    def _annotation(self, event: Json) -> None:
        item = self._item(event)
        number = position(event.get("content_index"))
        part = self._open_part(item, "content", number)
        if part.kind != "output_text" or "annotation" not in event:
            raise nonsense()
        where = {**item.where_part("content", number), "annotation_index": len(part.annotations)}
        self._say(ANNOTATION, {**event, **where})

    # --- texts --------------------------------------------------------------------------------------------------------
    def _text(self, stem: str, step: str, event: Json) -> None:
        item = self._item(event)
        if stem in ITEM_OF:
            if item.kind != ITEM_OF[stem]:
                raise nonsense()
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
                raise nonsense()
            text, where = part.text, item.where_part(member, number)
        if text.done or step not in {"delta", "done"}:
            raise nonsense()
        if step == "done":
            full = event.get(name)
            if full is not None and not isinstance(full, str):
                raise nonsense()
            self._finish_text(stem, name, where, text, full, {**event, **more}, event.get("logprobs"))
            return
        piece = event.get("delta")
        if not isinstance(piece, str):
            raise nonsense()
        self._delta(stem, where, piece, checked_logprobs(event.get("logprobs")), event)

    def _finish_text(
        self, stem: str, name: str, where: Json, text: Text, full: str | None, more: Json, logprobs: Any = None
    ) -> None:
        """Say what of `full` was not said yet, then the whole."""
        joined = text.joined
        if full is not None and full != joined:
            if not full.startswith(joined):
                raise nonsense()
            rest = checked_logprobs(logprobs)[len(text.logprobs) :]
            self._delta(stem, where, full[len(joined) :], rest, {})
        fields = {**more, **where, name: text.joined}
        if stem == "response.output_text":
            fields["logprobs"] = list(text.logprobs)
        self._say(f"{stem}.done", fields)

    # --- the rest -----------------------------------------------------------------------------------------------------
    def _other(self, kind: str, stem: str, event: Json) -> None:
        """An event that changes nothing here: a step of a hosted tool, or what is newer than this."""
        index = event.get("output_index")
        item = self._theirs.get(index) if isinstance(index, int) else None
        if stem in _STEPS and (item is None or item.kind != _STEPS[stem]):
            raise nonsense()
        if kind in {"error", "response.failed"}:
            raise nonsense()
        if item is not None:
            event["output_index"] = item.index
            if "item_id" in event or stem in _STEPS:
                event["item_id"] = item.body["id"]
        ours = self._snapshot()
        if "response" in event:
            event["response"] = ours
        if "response_id" in event:
            event["response_id"] = ours["id"]
        self._emit(kind, **event)

    def _end(self, response: Any) -> None:
        if not isinstance(response, dict):
            raise nonsense()
        output = response.get("output")
        for index, body in enumerate(output if isinstance(output, list) else ()):
            if index in self._theirs:
                self._finish_item(self._theirs[index], body)
            elif index not in self._seen:
                self._finish_item(self._add(index, body), body)
        self.final = response
