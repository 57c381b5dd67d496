"""Every type of item: stored as the published schemas want it, and shown to a model where it says something."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.domain.errors import InvalidRequest
from antiphon.domain.sealing import Sealer
from antiphon.protocol.generation import OutputFormat, ToolCall, ToolChoice, ToolResult
from antiphon.protocol.responses import items, reasoning, updates
from antiphon.protocol.responses.item_types import TYPES
from antiphon.protocol.responses.request import parse
from antiphon.wire import schema
from conformance import spec
from support.item_samples import FUNCTION, HOSTED

Json = dict[str, Any]


def normalized(*given: Json) -> list[Json]:
    return items.normalize_input(list(given))


def test_the_samples_are_what_clients_may_send_and_leave_nothing_out() -> None:
    assert schema.check("CreateResponse", {"model": "m", "input": HOSTED}).problem is None
    plain = {
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "reasoning",
    }
    assert {item["type"] for item in HOSTED} | plain | {"compaction"} == set(TYPES)


@pytest.mark.parametrize("sample", HOSTED, ids=lambda item: item["type"])
def test_an_item_is_kept_as_it_was_sent_and_complete(sample: Json) -> None:
    [kept] = normalized(sample)
    if sample["type"] == "configuration_update":  # the published schema of stored items has forgotten it
        from openai.types.responses import ResponseItem

        spec.check_type(ResponseItem, kept)
    else:
        spec.check_item(kept)
    for name, value in sample.items():
        if name not in {"tools", "action"}:
            assert kept[name] == value
        elif name == "action":
            assert kept[name].items() >= value.items()
    assert kept["id"].startswith(TYPES[sample["type"]].prefix) or "id" in sample


def test_what_says_something_is_shown() -> None:
    turns = items.turns(normalized(*HOSTED))
    results = {turn.call_id: turn.output for turn in turns if isinstance(turn, ToolResult)}
    assert results == {
        "fs_1": "[cats.txt]\nCats sleep.",
        "ci_1": "42\n",
        "call_lsh": '{"stdout": "a.txt"}',
        "call_sh": "/home\n(exit code 0)",
        "call_ap": "Deleted a.txt",
        "mcp_1": "Done by t",
        "call_cm": "Program ran",
    }
    calls = {turn.call_id: turn.name for turn in turns if isinstance(turn, ToolCall)}
    assert calls.keys() == results.keys()
    assert calls["call_sh"] == "shell"
    items.check_calls(turns)


def test_half_of_a_hosted_call_is_not_shown_but_its_half_may_stand_elsewhere() -> None:
    shell, output = normalized(HOSTED[10], HOSTED[11])
    assert items.turns([shell]) == items.turns([output]) == []
    pairs = frozenset({"call_sh"})
    assert [*items.turns([shell], pairs=pairs), *items.turns([output], pairs=pairs)] == items.turns([shell, output])


def test_types_that_are_newer_are_kept_and_not_shown() -> None:
    kept = normalized({"type": "newer_call", "anything": [1]})
    assert kept == [{"type": "newer_call", "anything": [1], "id": kept[0]["id"]}]
    assert items.turns(kept) == []


def test_other_types_are_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="compaction_trigger") as refused:
        normalized({"type": "compaction_trigger"})
    assert (refused.value.param, refused.value.code) == ("input[0].type", "unsupported_value")


def test_phases_and_annotations_pass_through() -> None:
    note = {"type": "url_citation", "start_index": 0, "end_index": 1, "title": "T", "url": "http://x"}
    said = {"type": "output_text", "text": "a", "annotations": [note]}
    given = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "commentary",
             "content": [said]}  # fmt: skip
    [kept] = normalized(given)
    assert kept == {**given, "content": [{**said, "logprobs": []}]}
    spec.check_item(kept)


# --- items that change how it goes on ---------------------------------------------------------------------------------
def applied(given: list[Json], **body: Any) -> Any:
    request = parse({"model": "m", "input": given, **body}, {})
    return updates.applied(request, request.items)


ADDED: Json = {"type": "additional_tools", "role": "developer", "tools": [FUNCTION, {"type": "web_search"}]}


def test_added_tools_can_be_called() -> None:
    request = applied([ADDED])
    assert [tool.name for tool in request.offered.tools] == ["later"]
    assert request.tool_choice == ToolChoice("auto")
    assert applied([ADDED], tool_choice="none").tool_choice.mode == "none"
    own = {**FUNCTION, "description": "Mine."}
    assert [tool.description for tool in applied([ADDED], tools=[own]).offered.tools] == ["Mine."]
    found = {"type": "tool_search_output", "tools": [{**FUNCTION, "defer_loading": True}]}
    assert [tool.name for tool in applied([found]).offered.tools] == ["later"]


def test_the_last_update_counts_where_the_request_says_nothing() -> None:
    given = [{"type": "configuration_update", "reasoning": {"effort": effort}} for effort in ("low", "high")]
    assert applied(given).effort == "high"
    assert applied(given, reasoning={"effort": "none"}).effort == "none"
    form = {"type": "json_schema", "name": "x", "schema": {"type": "object"}}
    given = [{"type": "configuration_update", "text": {"format": form}}]
    assert applied(given).output == OutputFormat("json_schema", "x", {"type": "object"})
    assert applied(given, text={"format": {"type": "text"}}).output.kind == "text"


# --- sealed reasoning -------------------------------------------------------------------------------------------------
def test_sealed_reasoning_is_opened_for_its_project_only() -> None:
    sealer = Sealer(b"s" * 32)
    sealed = reasoning.seal_for(sealer, "proj_1")("Hm, yes.")
    item: Json = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}
    shown = reasoning.opened(sealer, "proj_1", item, "input", 0)
    assert shown["content"] == [{"type": "reasoning_text", "text": "Hm, yes."}]
    open_too = {**item, "content": [{"type": "reasoning_text", "text": "kept"}]}
    assert reasoning.opened(sealer, "proj_1", open_too, "input", 0) == open_too
    changed = {**open_too, "encrypted_content": sealed[:-2]}
    assert reasoning.opened(sealer, "proj_1", changed, "previous_response_id", 0) == changed
    for project, broken in (("proj_2", item), ("proj_1", changed)):
        with pytest.raises(InvalidRequest) as refused:
            reasoning.opened(sealer, project, broken, "input", 3)
        assert refused.value.code == "invalid_encrypted_content"
        assert refused.value.param == "input[3].encrypted_content"
