"""What a compaction item takes the place of, and what is shown instead."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain.errors import InvalidRequest
from antiphon.domain.sealing import SealBroken, Sealer
from antiphon.protocol.generation import FilePart, ImagePart, Message, ReasoningTurn, TextPart, ToolCall, ToolResult
from antiphon.protocol.responses import compaction
from antiphon.protocol.responses.compaction import Compacted, CompactionPolicy, Placed

SEALER = Sealer(bytes(32))
Json = dict[str, Any]


def message(text: str, role: str = "user") -> Json:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def call(call_id: str) -> Json:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}


def output(call_id: str) -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": "1"}


def sealed(content: Compacted, project: str = "p") -> Json:
    return compaction.item("cmp_1", SEALER.seal(project, compaction.PURPOSE, msgspec.json.encode(content)))


def unseal(text: str) -> bytes:
    return SEALER.open("p", compaction.PURPOSE, text)


def shown(*items: Json, path: str = "input") -> list[str]:
    window = compaction.window(compaction.placed(items, path), unseal)
    return [
        place.item["content"][0]["text"] if place.item["type"] == "message" else place.item["type"] for place in window
    ]


def test_without_a_compaction_item_all_is_shown() -> None:
    assert shown(message("a"), call("c"), output("c"), message("b")) == [
        "a",
        "function_call",
        "function_call_output",
        "b",
    ]


def test_what_stands_before_the_newest_item_is_not_shown() -> None:
    texts = shown(
        message("old"), sealed(Compacted("first")), message("older"), sealed(Compacted("second")), message("new")
    )
    assert len(texts) == 2
    assert "second" in texts[0]
    assert "first" not in texts[0]
    assert texts[1] == "new"


def test_orders_outlive_it_and_are_shown_once() -> None:
    before = [message("be brief", "developer"), message("old"), message("be kind", "system")]
    content = Compacted("s", orders=before[:1])
    texts = shown(*before, sealed(content), message("new"))
    assert [text for text in texts if "summary" not in text] == ["be brief", "be kind", "new"]
    # Whoever leaves out what stands before an item loses nothing that it was made of.
    assert shown(sealed(content), message("new"))[0] == "be brief"


def test_kept_items_and_quotes_are_shown_after_the_summary() -> None:
    content = Compacted("the summary", quotes=["one", "two"], items=[message("asked"), call("c"), output("c")])
    texts = shown(sealed(content))
    assert "the summary" in texts[0]
    assert texts[0].index("one") < texts[0].index("two")
    assert texts[1:] == ["asked", "function_call", "function_call_output"]


def test_the_summary_is_told_apart_from_the_users_messages() -> None:
    window = compaction.window(compaction.placed([sealed(Compacted("s")), message("new")], "input"), unseal)
    assert [place.summary for place in window] == [True, False]
    assert [place.number for place in window] == [0, 1]


@pytest.mark.parametrize(
    "item",
    [
        sealed(Compacted("s"), project="another"),
        compaction.item("cmp_1", SEALER.seal("p", "reasoning", b'{"summary":"s"}')),
        compaction.item("cmp_1", SEALER.seal("p", compaction.PURPOSE, b"no JSON")),
        compaction.item("cmp_1", "gAAAAABo"),
        compaction.item("cmp_1", ""),
    ],
)
def test_foreign_and_broken_items_are_refused_with_their_place(item: Json) -> None:
    with pytest.raises(InvalidRequest) as refused:
        shown(message("a"), item, sealed(Compacted("a newer one")))
    assert (refused.value.code, refused.value.param) == ("invalid_encrypted_content", "input[1].encrypted_content")


def test_an_older_item_of_the_chain_is_not_even_opened() -> None:
    broken = compaction.item("cmp_0", "broken")
    assert len(shown(broken, sealed(Compacted("s")), path="previous_response_id")) == 1
    with pytest.raises(InvalidRequest) as refused:
        shown(broken, path="previous_response_id")
    assert refused.value.param == "previous_response_id"


# --- wishes -----------------------------------------------------------------------------------------------------------
def test_wishes() -> None:
    entry = {"type": "compaction", "compact_threshold": 5000}
    assert compaction.compaction_policy({"input": "hi"}) is None
    assert compaction.compaction_policy({"input": "hi", "context_management": []}) is None
    assert compaction.compaction_policy({"input": "hi", "context_management": [entry]}) == CompactionPolicy(5000)
    assert compaction.compaction_policy(
        {"input": "hi", "context_management": [entry, {**entry, "compact_threshold": 2000}]}
    ) == CompactionPolicy(2000)
    assert compaction.compaction_policy(
        {"input": "hi", "context_management": [{"type": "compaction"}]}
    ) == CompactionPolicy(None)
    trigger = {"type": "compaction_trigger"}
    assert compaction.compaction_policy({"input": [message("a"), trigger]}) == CompactionPolicy(now=True)
    assert compaction.without_trigger([message("a"), trigger]) == [message("a")]


def test_bad_wishes() -> None:
    with pytest.raises(InvalidRequest) as refused:
        compaction.compaction_policy({"input": [{"type": "compaction_trigger"}, message("a")]})
    assert (refused.value.code, refused.value.param) == ("invalid_value", "input[0].type")
    with pytest.raises(InvalidRequest) as refused:
        compaction.compaction_policy({"input": "a", "context_management": [{"type": "amnesia"}]})
    assert (refused.value.code, refused.value.param) == ("unsupported_value", "context_management[0].type")


def test_a_forced_request_ends_with_one_trigger() -> None:
    trigger = {"type": "compaction_trigger"}
    assert compaction.forced({"model": "m", "input": "hi"})["input"] == [{"role": "user", "content": "hi"}, trigger]
    assert compaction.forced({"input": [message("a"), trigger]})["input"] == [message("a"), trigger]
    assert compaction.forced({"previous_response_id": "resp_1"})["input"] == [trigger]


# --- cutting and telling ----------------------------------------------------------------------------------------------
@given(st.lists(st.sampled_from(["user", "a", "A", "b", "B"]), max_size=30))
def test_no_boundary_parts_a_call_from_its_result(script: list[str]) -> None:
    items = [message("m") if s == "user" else call(s) if s.islower() else output(s.lower()) for s in script]
    for cut in compaction.boundaries(compaction.placed(items, "input")):
        waiting: set[str] = set()
        for item in items[:cut]:
            if item["type"] == "function_call":
                waiting.add(item["call_id"])
            elif item["type"] == "function_call_output":
                waiting.discard(item["call_id"])
        assert not waiting


def test_the_transcript_names_who_says_what() -> None:
    turns = [
        Message("user", (TextPart("Look:"), ImagePart("data:,"), FilePart(filename="a.pdf"))),
        ReasoningTurn("secret thoughts"),
        ToolCall("c", "add", '{"a": 1}'),
        ToolResult("c", "3"),
        Message("assistant", (TextPart("It is 3."),)),
    ]
    text = compaction.transcript(turns)
    assert text == (
        "User: Look: [an image] [the file a.pdf]\n\n"
        'Assistant called the tool add: {"a": 1}\n\n'
        "The tool answered: 3\n\n"
        "Assistant: It is 3."
    )


@given(st.text(alphabet="ab \n", max_size=300), st.integers(0, 300))
def test_pieces_end_within_their_size_and_go_on(text: str, size: int) -> None:
    end = compaction.piece_end(text, size)
    assert end <= max(size, 0) or end == len(text) <= size
    assert end > 0 or size == 0 or not text


def test_a_seal_that_is_broken_says_so() -> None:
    with pytest.raises(SealBroken):
        unseal(sealed(Compacted("s"), project="q")["encrypted_content"])


def test_places_are_those_of_the_request() -> None:
    assert compaction.placed([message("a")], "input") == [Placed(message("a"), "input", 0)]
