"""What a server with hosted tools streams: a search on the web, and a message that cites what it found."""

from __future__ import annotations

from typing import Any

from conformance.samples import message, response, text_part

Body = dict[str, Any]

CITATION: Body = {"type": "url_citation", "url": "https://cats.example", "title": "Cats", "start_index": 0,
                  "end_index": 4}  # fmt: skip
SEARCH: Body = {"type": "web_search_call", "id": "ws_up1", "status": "completed",
                "action": {"type": "search", "query": "cats"}}  # fmt: skip
SEALED: Body = {
    "type": "reasoning",
    "id": "rs_up1",
    "summary": [],
    "encrypted_content": "theirs",
    "status": "completed",
}
CITED = {**text_part("Cats sleep."), "annotations": [CITATION]}


def said(text: str = "Cats sleep.", **members: Any) -> Body:
    """The message."""
    part = CITED if text == "Cats sleep." else text_part(text)
    return message(**{"id": "msg_up1", "content": [part], **members})


def numbered(events: list[Body]) -> list[Body]:
    """Events with the numbers of a stream of their own."""
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def searching(**members: Any) -> list[Body]:
    """The whole stream, of a response with id `resp_up`. `members` of its last Response may be others."""
    begun = response(id="resp_up", status="in_progress", output=[], usage=None, completed_at=None, model="up-1")
    ws = {"item_id": "ws_up1", "output_index": 1}
    part = {"item_id": "msg_up1", "output_index": 2, "content_index": 0}
    events: list[tuple[str, Body]] = [
        ("created", {"response": begun}),
        ("in_progress", {"response": begun}),
        ("output_item.added", {"output_index": 0, "item": {**SEALED, "status": "in_progress"}}),
        ("output_item.done", {"output_index": 0, "item": SEALED}),
        ("output_item.added", {"output_index": 1, "item": {**SEARCH, "status": "in_progress"}}),
        ("web_search_call.in_progress", ws),
        ("web_search_call.searching", ws),
        ("web_search_call.completed", ws),
        ("output_item.done", {"output_index": 1, "item": SEARCH}),
        ("output_item.added", {"output_index": 2, "item": said(status="in_progress", content=[])}),
        ("content_part.added", part | {"part": text_part("")}),
        ("output_text.delta", part | {"delta": "Cats ", "logprobs": [], "obfuscation": "abc"}),
        ("output_text.delta", part | {"delta": "sleep.", "logprobs": []}),
        ("output_text.annotation.added", part | {"annotation_index": 0, "annotation": CITATION}),
        ("output_text.done", part | {"text": "Cats sleep.", "logprobs": []}),
        ("content_part.done", part | {"part": CITED}),
        ("output_item.done", {"output_index": 2, "item": said()}),
        ("completed", {"response": response(**{
            "id": "resp_up", "model": "up-1", "output": [SEALED, SEARCH, said()], "service_tier": "priority", **members,
        })}),
    ]  # fmt: skip
    return numbered([{"type": f"response.{kind}", **event} for kind, event in events])
