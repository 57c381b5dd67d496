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
from antiphon.protocol.balance import cut_off
from antiphon.protocol.events import Obfuscator
from antiphon.protocol.responses.foreign import (
    PLAIN,
    WORD,
    checked_item,
    decoded,
    invalid_event,
    is_usage,
    matches,
    position,
)
from antiphon.protocol.responses.item_types import TYPES
from antiphon.protocol.responses.relayed_texts import Texts
from antiphon.protocol.responses.streamed import (
    ADDED,
    ANNOTATION,
    DONE,
    ITEM_OF,
    ITEM_TEXTS,
    PART_OF,
    PARTS,
    WITH_PARTS,
    Item,
    Items,
    Json,
)

#: A type as it may stand in the `event:` line of a stream.
_TYPE = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_ID = re.compile(rf"[\x21-\x7e]{{1,{limits.MAX_ID}}}")
#: Said by us, when we know it.
_OURS = frozenset({"response.created", "response.queued", "response.in_progress"})
_ITEMS = frozenset({ADDED, DONE})
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

    `output`: our finished items, to which those that get done are added. `reserved_ids`: ids that no item may have.
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
        reserved_ids: Collection[str] = (),
    ) -> None:
        self.final: Json | None = None
        self._emit = emit
        self._output = output
        self._ids = ids
        self._snapshot = snapshot
        self._reserved_ids = reserved_ids
        self._used = {item["id"] for item in output}
        self._items = Items()
        self._texts = Texts(emit, self._items, padding)
        #: The open items, and all that ever were, by their index in the other server's output.
        self._theirs: dict[int, Item] = {}
        self._seen: set[int] = set()
        #: Of these, items that were begun here, since their beginning was left out.
        self._made_up: set[int] = set()
        self._call_ids: set[str] = set()

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
            raise invalid_event()
        for name in _ENVELOPE:
            event.pop(name, None)
        if kind == "response.output_text.delta" and self._next_piece(event):
            return
        stem, _, step = kind.rpartition(".")
        stem = _ALIASES.get(stem, stem) if step in {"delta", "done"} else stem
        if kind in _OURS:
            return
        # Only events of a whole response have one, and what is newer than this may.
        response = event.pop("response", None)
        if kind in TERMINAL:
            self._end(response)
        elif kind in _ITEMS:
            self._whole_item(kind, event)
        elif stem in PARTS and step in {"added", "done"}:
            self._texts.part(self._item(event, stem), stem, step, event)
        elif stem in ITEM_OF or stem in PART_OF:
            # An item with a text of its own that was not begun comes with its end.
            if stem in PART_OF or self._place(event) in self._seen:
                self._texts.text(self._item(event, stem), stem, step, event)
        elif kind == ANNOTATION:
            self._texts.annotation(self._item(event), event)
        else:
            self._other(kind, stem, event, shows=response is not None)

    def conclude(self) -> None:
        """The generation has ended. Raises `UpstreamFailed` if its response has not."""
        if self.final is None:
            raise invalid_event()
        if self._items.open:
            if self.final.get("status") == "completed":
                raise invalid_event()
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

    def end(self, *, counted: bool = False) -> Json:
        """Members of our Response that the other one decides. `counted`: its usage was not believed."""
        final = self.final or {}
        usage: Any = None if counted else final.get("usage")
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

    def _next_piece(self, event: Json) -> bool:
        """Pass on a piece of an open text, as most events are. False: this is not one, or not as they usually are."""
        index = event.get("output_index")
        item = self._theirs.get(index) if type(index) is int else None
        return item is not None and self._texts.next_piece(item, event)

    # --- items --------------------------------------------------------------------------------------------------------
    def _place(self, event: Json) -> int:
        """Which of the other server's items an event is about: by its index; else by its id; else the last one."""
        if event.get("output_index") is not None:
            return position(event["output_index"])
        body = event.get("item")
        name = body.get("id") if isinstance(body, dict) else event.get("item_id")
        for index, item in self._theirs.items():
            if name is not None and name in (item.theirs, item.body["id"]):
                return index
        fresh = max(self._seen, default=-1) + 1
        return fresh if isinstance(body, dict) or name is not None else max(self._theirs, default=fresh)

    def _item(self, event: Json, stem: str = "") -> Item:
        """The item that an event is about. One whose beginning was left out begins with its first event."""
        index = self._place(event)
        item = self._theirs.get(index)
        if item is None and index not in self._seen and (kind := _kind_of(stem, event)) is not None:
            item = self._add(index, {"type": kind, "id": event.get("item_id")})
            self._made_up.add(index)
        if item is None:
            raise invalid_event()
        return item

    def _whole_item(self, kind: str, event: Json) -> None:
        """An item begins, or ends."""
        index, body = self._place(event), event.get("item")
        if kind == ADDED and index in self._made_up:
            self._made_up.discard(index)  # it comes late
            return
        item = self._theirs.get(index)
        if item is None or kind == ADDED:
            item = self._add(index, body)
        if kind == DONE:
            self._finish_item(item, body)

    def _add(self, index: Any, body: Any) -> Item:
        index = position(index)
        if index in self._seen or len(self._seen) >= limits.MAX_RELAYED_ITEMS:
            raise invalid_event()
        item = checked_item(body)
        theirs = item.get("id") if isinstance(item.get("id"), str) else None
        call_id = item.get("call_id")
        if isinstance(call_id, str) and item["type"] in PLAIN:
            while item["call_id"] in self._call_ids:
                item["call_id"] = self._ids("call_")  # results are told apart by it
            self._call_ids.add(item["call_id"])
        item["id"] = self._id(theirs, item["type"])
        if "status" in item or item["type"] in PLAIN:
            item["status"] = "in_progress"
        for member in WITH_PARTS.get(item["type"], ()):
            if item.get(member) is not None or member != "content":
                item[member] = []
        if item["type"] in ITEM_TEXTS and item.get(ITEM_TEXTS[item["type"]][1]) is not None:
            item[ITEM_TEXTS[item["type"]][1]] = ""
        ours = len(self._output) + len(self._items.open)
        self._texts.say(ADDED, {"output_index": ours, "item": item})
        self._seen.add(index)
        added = self._theirs[index] = self._items.open[ours]
        added.theirs, added.called = theirs, call_id
        return added

    def _id(self, theirs: str | None, kind: str) -> str:
        """Their id of an item, if it can be ours."""
        if (
            theirs is not None
            and _ID.fullmatch(theirs)
            and theirs not in self._used
            and theirs not in self._reserved_ids
        ):
            self._used.add(theirs)
            return theirs
        prefix = TYPES[kind].prefix if kind in TYPES else "item_"
        while (made := self._ids(prefix)) in self._used:
            pass
        self._used.add(made)
        return made

    def _finish_item(self, item: Item, body: Any) -> None:
        done = checked_item(body)
        if item.called is not None and done.get("call_id") == item.called:
            done["call_id"] = item.body["call_id"]
        if done["type"] != item.kind or any(done.get(name) != item.body.get(name) for name in _FIXED):
            raise invalid_event()
        if item.theirs is not None and done.get("id") not in (item.theirs, item.body["id"]):
            raise invalid_event()
        self._texts.finish(item, done)
        done["id"] = item.body["id"]
        if done.get("status") == "in_progress" or (item.kind in PLAIN and not isinstance(done.get("status"), str)):
            done["status"] = "completed"
        if item.kind == "function_call" and cut_off(done["arguments"]):
            done["status"] = "incomplete"
        item.finished = done
        self._theirs = {index: other for index, other in self._theirs.items() if other is not item}
        self._flush()

    def _flush(self) -> None:
        """Items are done in order, so that their positions in the output are those they were announced with."""
        while self._items.open:
            item = next(iter(self._items.open.values()))
            if item.finished is None:
                return
            self._texts.say(DONE, {"output_index": item.index, "item": item.finished})
            self._output.append(item.finished)

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

    # --- the rest -----------------------------------------------------------------------------------------------------
    def _other(self, kind: str, stem: str, event: Json, *, shows: bool) -> None:
        """An event that changes nothing here: a step of a hosted tool, or what is newer than this."""
        index = event.get("output_index")
        item = self._theirs.get(index) if isinstance(index, int) else None
        if stem in _STEPS and (item is None or item.kind != _STEPS[stem]):
            raise invalid_event()
        if kind in {"error", "response.failed"}:
            raise invalid_event()
        if item is not None:
            event["output_index"] = item.index
            if "item_id" in event or stem in _STEPS:
                event["item_id"] = item.body["id"]
        ours = self._snapshot()
        if shows and stem not in _STEPS:
            event["response"] = ours
        if "response_id" in event:
            event["response_id"] = ours["id"]
        self._emit(kind, **event)

    def _end(self, response: Any) -> None:
        if not isinstance(response, dict):
            raise invalid_event()
        output = response.get("output")
        for index, body in enumerate(output if isinstance(output, list) else ()):
            if index in self._theirs:
                self._finish_item(self._theirs[index], body)
            elif index not in self._seen:
                self._finish_item(self._add(index, body), body)
        self.final = response


def _kind_of(stem: str, event: Json) -> str | None:
    """The type of the item that an event of a part or a text belongs to; None: it does not tell."""
    part = event.get("part")
    kind = PART_OF.get(stem) or (part.get("type") if stem in PARTS and isinstance(part, dict) else None)
    if kind is None:
        return None
    return "reasoning" if kind in ("reasoning_text", "summary_text") else "message"
