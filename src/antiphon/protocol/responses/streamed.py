"""Items while they are streamed by somebody else: what has been said of each, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Json = dict[str, Any]
Member = Literal["content", "summary"]

#: The events of parts: the member of the item that holds them, and what they call their position in it.
PARTS: Final[dict[str, tuple[Member, str]]] = {
    "response.content_part": ("content", "content_index"),
    "response.reasoning_summary_part": ("summary", "summary_index"),
}
PART_EVENTS: Final[dict[Member, str]] = {member: stem for stem, (member, _) in PARTS.items()}
#: Of each type of part with a text: the events that stream it, and its member.
PART_TEXTS: Final = {
    "output_text": ("response.output_text", "text"),
    "refusal": ("response.refusal", "refusal"),
    "reasoning_text": ("response.reasoning_text", "text"),
    "summary_text": ("response.reasoning_summary_text", "text"),
}
PART_OF: Final = {stem: kind for kind, (stem, _) in PART_TEXTS.items()}
#: The same of items that have a text themselves.
ITEM_TEXTS: Final = {
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
    "mcp_call": ("response.mcp_call_arguments", "arguments"),
    "code_interpreter_call": ("response.code_interpreter_call_code", "code"),
}
ITEM_OF: Final = {stem: kind for kind, (stem, _) in ITEM_TEXTS.items()}
#: Items whose parts are streamed.
WITH_PARTS: Final[dict[str, tuple[Member, ...]]] = {"message": ("content",), "reasoning": ("summary", "content")}
ADDED, DONE = "response.output_item.added", "response.output_item.done"
ANNOTATION = "response.output_text.annotation.added"


@dataclass(slots=True)
class Text:
    """A text in pieces. `done`: it has been said as a whole."""

    pieces: list[str] = field(default_factory=list)
    logprobs: list[Json] = field(default_factory=list)
    done: bool = False

    @property
    def joined(self) -> str:
        """All of it."""
        return "".join(self.pieces)


@dataclass(slots=True)
class Part:
    """A part of an item: as it was added, or, once it is `done`, as it was then."""

    body: Json
    text: Text = field(default_factory=Text)
    annotations: list[Any] = field(default_factory=list)
    done: bool = False

    @property
    def kind(self) -> str:
        """Its type."""
        kind: str = self.body["type"]
        return kind


@dataclass(slots=True)
class Item:
    """An item that is not done. `index`: its place in our output; `theirs`: its id as whoever streams it calls it.

    `called`: its `call_id`, likewise. `finished`: as it will be when the items before it are done.
    """

    body: Json
    index: int
    theirs: str | None = None
    called: str | None = None
    text: Text = field(default_factory=Text)
    parts: dict[Member, list[Part]] = field(default_factory=lambda: {"content": [], "summary": []})
    finished: Json | None = None

    @property
    def kind(self) -> str:
        """Its type."""
        kind: str = self.body["type"]
        return kind

    def where(self) -> Json:
        """How events name it."""
        return {"item_id": self.body["id"], "output_index": self.index}

    def where_part(self, member: Member, number: int) -> Json:
        """How events name one of its parts."""
        return {**self.where(), PARTS[PART_EVENTS[member]][1]: number}


class Items:
    """All items that are open, by their place in the output, in order. It is told every event that is emitted."""

    def __init__(self) -> None:
        self.open: dict[int, Item] = {}

    def note(self, kind: str, event: Json) -> None:
        """An event was emitted."""
        stem, _, step = kind.rpartition(".")
        if kind == ADDED:
            self.open[event["output_index"]] = Item(event["item"], event["output_index"])
            return
        item = self.open.get(event["output_index"]) if "output_index" in event else None
        if item is None:
            return
        if kind == DONE:
            del self.open[item.index]
        elif stem in PARTS:
            member, index_name = PARTS[stem]
            if step == "added":
                item.parts[member].append(Part(event["part"]))
            else:
                part = item.parts[member][event[index_name]]
                part.body, part.done = event["part"], True
        elif kind == ANNOTATION:
            item.parts["content"][event["content_index"]].annotations.append(event["annotation"])
        elif stem in ITEM_OF or stem in PART_OF:
            text = item.text if stem in ITEM_OF else self._part_text(item, stem, event)
            text.done = step == "done"
            if step == "delta":
                text.pieces.append(event["delta"])
                text.logprobs += event.get("logprobs", ())

    @staticmethod
    def _part_text(item: Item, stem: str, event: Json) -> Text:
        member: Member = "summary" if PART_OF[stem] == "summary_text" else "content"
        return item.parts[member][event[PARTS[PART_EVENTS[member]][1]]].text

    @property
    def plain(self) -> bool:
        """Whether a neutral generation could have left it so: at most one item is open, and its last part is."""
        if not self.open:
            return True
        if len(self.open) > 1:
            return False
        (item,) = self.open.values()
        if item.kind in {"function_call", "custom_tool_call"}:
            return not item.text.done
        last = item.parts["content"][-1] if item.parts["content"] else None
        plain = last is not None and not last.done and not last.text.done and not last.annotations
        return item.kind in WITH_PARTS and plain and not item.parts["summary"]
