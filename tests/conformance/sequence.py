"""Check that a whole stream of Responses events is in a legal order and says one thing only.

The rules are those of both specifications' item lifecycles, made strict: positions are dense, everything that begins
ends, deltas join to the text that is then done, ids never change, and the terminal event repeats what was streamed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]

PHASES = ["response.created", "response.queued", "response.in_progress"]
#: Each terminal event and the statuses it may show. Neither specification has an event for a cancelled response; the
#: nearest one ends its stream.
TERMINAL = {
    "response.completed": ("completed",),
    "response.failed": ("failed",),
    "response.incomplete": ("incomplete", "cancelled"),
}
#: Texts that are streamed: event without ".delta" or ".done", to the member of the done event that holds the text.
TEXTS = {
    "response.output_text": "text",
    "response.refusal": "refusal",
    "response.reasoning_text": "text",
    "response.reasoning_summary_text": "text",
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
    "response.mcp_call_arguments": "arguments",
    "response.code_interpreter_call_code": "code",
}
#: Of those, the ones that belong to a whole item; the others belong to one of its parts.
OF_ITEMS = {"arguments", "input", "code"}
#: Events of a shell's commands.
COMMAND = "response.shell_call_command"
PARTS = {
    "response.content_part": ("content", "content_index"),
    "response.reasoning_summary_part": ("summary", "summary_index"),
}


def check_sequence(events: Iterable[Body]) -> None:
    """Check all events of one stream, first to last. Raises AssertionError that names the event that breaks a rule."""
    stream = _Stream()
    for number, event in enumerate(events):
        where = f"event {number} ({event.get('type')})"
        assert not stream.ended, f"{where}: comes after the terminal event"
        assert event.get("sequence_number") == number, f"{where}: sequence_number is {event.get('sequence_number')}"
        try:
            stream.take(event["type"], event)
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from None
        except KeyError as error:
            raise AssertionError(f"{where}: has no {error}") from None
    assert stream.ended, "the stream has no terminal event"


@dataclass
class _Text:
    """A text that is being streamed, with its tokens where they were asked for."""

    pieces: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    done: str | None = None


@dataclass
class _Part:
    """A part of an item. `done` is the part as its done event has it."""

    text: _Text = field(default_factory=_Text)
    annotations: list[Any] = field(default_factory=list)
    done: Body | None = None


@dataclass
class _Item:
    """An output item. `done` is the item as its done event has it."""

    added: Body
    text: _Text = field(default_factory=_Text)
    content: list[_Part] = field(default_factory=list)
    summary: list[_Part] = field(default_factory=list)
    commands: list[_Text] = field(default_factory=list)
    done: Body | None = None


class _Stream:
    def __init__(self) -> None:
        self.ended = False
        self._id: str | None = None
        self._phase = 0  # 1: created, 2: queued, 3: in progress
        self._items: list[_Item] = []

    def take(self, kind: str, event: Body) -> None:
        """Take one event."""
        if "response" in event:
            return self._lifecycle(kind, event["response"])
        assert self._phase == 3, "output before response.in_progress"
        if kind == "response.output_item.added":
            return self._added(event)
        item = self._open_item(event)
        stem, _, step = kind.rpartition(".")
        if kind == "response.output_item.done":
            return self._done(item, event["item"])
        if stem == COMMAND:
            return self._command(item, step, event)
        assert event["item_id"] == item.added["id"], f"item_id {event['item_id']} is not that of the item"
        if stem in PARTS:
            return self._part(item, *PARTS[stem], step, event)
        if stem in TEXTS:
            return self._text(item, stem, step, event)
        if kind == "response.output_text.annotation.added":
            annotations = self._open_part(item, "content", event["content_index"]).annotations
            assert event["annotation_index"] == len(annotations), "annotation_index is not dense"
            annotations.append(event["annotation"])
            return None
        # Steps of hosted tools, such as response.web_search_call.searching.
        assert stem == f"response.{item.added['type']}", "no event of such an item"
        return None

    # --- the response -------------------------------------------------------------------------------------------------
    def _lifecycle(self, kind: str, response: Body) -> None:
        if kind == "response.created":
            assert self._phase == 0, "created twice"
            self._id = response["id"]
        assert self._phase or kind == "response.created", "the first event is not response.created"
        assert response["id"] == self._id, f"the id has become {response['id']}"
        if kind in TERMINAL:
            # What still waits its turn can fail, and be cancelled.
            waiting = self._phase == 2 and response["status"] in ("failed", "cancelled")
            assert self._phase == 3 or waiting, "ends before response.in_progress"
            return self._terminal(TERMINAL[kind], response)
        assert kind in PHASES, "no event of a response"
        phase = PHASES.index(kind) + 1
        assert phase > self._phase or phase == 1, "out of order"
        assert response["output"] == [], "has output before any was streamed"
        assert response["status"] in ("queued", "in_progress"), f"status is {response['status']}"
        self._phase = phase
        return None

    def _terminal(self, statuses: tuple[str, ...], response: Body) -> None:
        status = response["status"]
        assert status in statuses, f"status is {status}"
        # A failure may cut an item off; anything else may not.
        open_ = [item.added["id"] for item in self._items if item.done is None]
        assert not open_ or status == "failed", f"items without output_item.done: {open_}"
        done = [item.done for item in self._items if item.done is not None]
        assert response["output"] == done, "output is not what was streamed"
        if status == "completed":
            unfinished = [item["id"] for item in done if item.get("status", "completed") != "completed"]
            assert not unfinished, f"items not completed: {unfinished}"
            assert response["usage"] is not None, "no usage"
        assert (response["error"] is not None) == (status == "failed"), f"error is {response['error']}"
        assert (response["incomplete_details"] is not None) == (status == "incomplete"), "incomplete_details do not fit"
        if response["usage"] is not None:
            check_usage(response["usage"])
        self.ended = True

    # --- items --------------------------------------------------------------------------------------------------------
    def _added(self, event: Body) -> None:
        item = event["item"]
        assert event["output_index"] == len(self._items), f"output_index is {event['output_index']}, not the next one"
        assert item["id"] not in [other.added["id"] for other in self._items], f"id {item['id']} is used twice"
        assert item.get("status", "in_progress") == "in_progress", f"status is {item['status']}"
        for member in ("content", "summary"):
            assert not item.get(member), f"{member} before it was streamed"
        for member in OF_ITEMS & item.keys():
            assert not item[member], f"{member} before they were streamed"
        self._items.append(_Item(item))

    def _open_item(self, event: Body) -> _Item:
        index = event["output_index"]
        assert 0 <= index < len(self._items), f"there is no item {index}"
        item = self._items[index]
        assert item.done is None, f"item {index} is done"
        return item

    def _done(self, item: _Item, done: Body) -> None:
        for member in ("id", "type", "role", "call_id", "name"):
            assert done.get(member) == item.added.get(member), f"{member} has become {done.get(member)}"
        assert done.get("status") != "in_progress", "status is still in_progress"
        for member, parts in (("content", item.content), ("summary", item.summary)):
            assert all(part.done is not None for part in parts), f"{member} has parts without done"
            assert (done.get(member) or []) == [part.done for part in parts], f"{member} is not what was streamed"
        if item.text.pieces:
            assert item.text.done is not None, "its text has deltas without done"
        if item.text.done is not None:
            assert item.text.done in [done.get(member) for member in OF_ITEMS], "its text is not what was streamed"
        elif done["type"] in ("function_call", "custom_tool_call"):
            raise AssertionError("a call without done arguments")
        if done["type"] == "shell_call":
            assert [text.done for text in item.commands] == done["action"]["commands"], (
                "not the commands that were streamed"
            )
        item.done = done

    def _command(self, item: _Item, step: str, event: Body) -> None:
        """A command of a shell, whose events name no item (published specification)."""
        assert item.added["type"] == "shell_call", "no event of such an item"
        index = event["command_index"]
        if step == "added":
            assert index == len(item.commands), f"command_index is {index}, not the next one"
            assert not event["command"], "a command before it was streamed"
            item.commands.append(_Text())
            return
        assert 0 <= index < len(item.commands), f"there is no command {index}"
        text = item.commands[index]
        assert text.done is None, "comes after the command was done"
        if step == "delta":
            text.pieces.append(event["delta"])
            return
        assert event["command"] == "".join(text.pieces), "the deltas do not join to the command"
        text.done = event["command"]

    # --- parts and texts ----------------------------------------------------------------------------------------------
    def _part(self, item: _Item, member: str, index_name: str, step: str, event: Body) -> None:
        parts: list[_Part] = getattr(item, member)
        if step == "added":
            assert event[index_name] == len(parts), f"{index_name} is {event[index_name]}, not the next one"
            text = event["part"].get("text") or event["part"].get("refusal")
            assert not text, "text before it was streamed"
            parts.append(_Part())
            return
        part = self._open_part(item, member, event[index_name])
        done = event["part"]
        assert part.text.done is not None, "the part's text is not done"
        text = done["refusal"] if done["type"] == "refusal" else done["text"]
        assert text == part.text.done, "its text is not what was streamed"
        assert done.get("annotations", []) == part.annotations, "annotations are not those streamed"
        assert tokens(done) == part.text.logprobs, "logprobs are not those streamed"
        part.done = done

    def _open_part(self, item: _Item, member: str, index: int) -> _Part:
        parts: list[_Part] = getattr(item, member)
        assert 0 <= index < len(parts), f"there is no {member} part {index}"
        assert parts[index].done is None, f"{member} part {index} is done"
        return parts[index]

    def _text(self, item: _Item, stem: str, step: str, event: Body) -> None:
        member = TEXTS[stem]
        if member in OF_ITEMS:
            text = item.text
        elif "summary" in stem:
            text = self._open_part(item, "summary", event["summary_index"]).text
        else:
            text = self._open_part(item, "content", event["content_index"]).text
        assert text.done is None, "comes after the text was done"
        if step == "delta":
            text.pieces.append(event["delta"])
            text.logprobs += tokens(event)
            return
        assert event[member] == "".join(text.pieces), "the deltas do not join to the text"
        assert tokens(event) == text.logprobs, "logprobs are not those of the deltas"
        if stem == "response.function_call_arguments":
            assert event["name"] == item.added["name"], "name is not that of the call"
        text.done = event[member]


def tokens(event: Body) -> list[tuple[str, float]]:
    """The tokens with their log probabilities, in the members that all objects which hold them have."""
    return [(entry["token"], entry["logprob"]) for entry in event.get("logprobs") or []]


def check_usage(usage: Body) -> None:
    """Token counts that add up."""
    given, made = usage["input_tokens"], usage["output_tokens"]
    assert usage["total_tokens"] == given + made, "total_tokens is not the sum"
    assert min(given, made) >= 0, "negative tokens"
    assert 0 <= usage["input_tokens_details"]["cached_tokens"] <= given, "more cached tokens than input tokens"
    assert 0 <= usage["output_tokens_details"]["reasoning_tokens"] <= made, "more reasoning tokens than output tokens"
