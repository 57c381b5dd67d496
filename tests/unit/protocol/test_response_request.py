"""What a Responses request becomes."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.domain.errors import InvalidRequest
from antiphon.protocol.generation import Message, ReasoningTurn, RefusalPart, TextPart, ToolCall, ToolChoice, ToolResult
from antiphon.protocol.responses import items
from antiphon.protocol.responses.request import ResponseRequest, new_response, parse
from conformance.spec import check_response

NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
FUNCTION = {"type": "function", "name": "add", "parameters": NOTHING, "strict": True}
OTHER = {"type": "custom", "name": "run", "description": "Runs a command."}


def parsed(**body: Any) -> ResponseRequest:
    return parse({"model": "m", "input": "hi", **body}, {})


def refused(**body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parsed(**body)
    return caught.value


def test_a_string_is_one_user_message() -> None:
    [item] = parsed().items
    assert item["id"].startswith("msg_")
    assert {**item, "id": ""} == {
        "id": "",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": "hi"}],
    }


def test_easy_messages_become_full_ones() -> None:
    given = [{"role": "developer", "content": "Be brief."}, {"role": "assistant", "content": "Yes."}]
    first, second = parsed(input=given).items
    assert first["content"] == [{"type": "input_text", "text": "Be brief."}]
    assert second["content"] == [{"type": "output_text", "text": "Yes.", "annotations": [], "logprobs": []}]


def test_replayed_output_items_keep_their_ids() -> None:
    given = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "add", "arguments": "{}", "status": None},
        {"type": "function_call_output", "call_id": "c", "output": "3"},
    ]
    made = parsed(input=given).items
    assert [item["id"][:3] for item in made] == ["rs_", "fc_", "fco"]
    assert made[1]["id"] == "fc_1"
    assert made[1]["status"] == "completed"
    assert items.turns(made) == [ReasoningTurn("Hm"), ToolCall("c", "add", "{}"), ToolResult("c", "3")]


def test_instructions_come_first_and_verbosity_is_put_to_the_model() -> None:
    request = parsed(instructions="Speak French.", text={"verbosity": "low"})
    generation = request.generation("engine-model", items.turns(request.items))
    assert generation.model == "engine-model"
    system = generation.turns[0]
    assert isinstance(system, Message)
    assert system.role == "system"
    assert system.text.startswith("Speak French.")
    hint = generation.spoken()[0]
    assert isinstance(hint, Message)
    assert "briefly" in hint.text
    assert generation.turns[1] == Message("user", (TextPart("hi"),))


def test_without_instructions_there_is_no_system_message() -> None:
    request = parsed()
    assert len(request.generation("m", items.turns(request.items)).turns) == 1


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        (None, ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "add"}, ToolChoice("required", frozenset({"add"}))),
        ({"type": "custom", "name": "run"}, ToolChoice("required", frozenset({"run"}))),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "add"}]},
            ToolChoice("auto", frozenset({"add"})),
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "add"}]},
            ToolChoice("required", frozenset({"add"})),
        ),
    ],
)
def test_tool_choice(given: Any, choice: ToolChoice) -> None:
    assert parsed(tools=[FUNCTION, OTHER], tool_choice=given).tool_choice == choice


def test_tool_choice_without_tools_is_none() -> None:
    assert parsed(tool_choice="auto").tool_choice.mode == "none"


def test_one_call_at_a_time() -> None:
    assert parsed(tools=[FUNCTION], parallel_tool_calls=False).tool_choice.parallel is False


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{**FUNCTION, "parameters": {"type": "object"}}]}, "tools[0].parameters"),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {}, "strict": True}}},
            "text.format.schema",
        ),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools[1].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "sub"}}, "tool_choice"),
        (
            {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
            "tool_choice.tools",
        ),
        ({"input": None}, "input"),
        ({"model": None}, "model"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    error = refused(**body)
    assert error.param == param
    assert error.status == 400


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [FUNCTION, {"type": "web_search"}]}, "tools[1].type"),
        ({"tools": [{**FUNCTION, "async": True}]}, "tools[0].async"),
        ({"tools": [{**OTHER, "allowed_callers": ["programmatic"]}]}, "tools[0].allowed_callers"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "web_search_preview"}}, "tool_choice.type"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tools[0].type"),
    ],
)
def test_what_only_another_server_can_do_is_known_by_name(body: dict[str, Any], param: str) -> None:
    unserved = parsed(**body).offered.refusal()
    assert unserved is not None
    assert (unserved.param, unserved.status) == (param, 400)


def test_what_can_be_done_here_needs_no_other_server() -> None:
    assert parsed(tools=[FUNCTION, OTHER], tool_choice="required").offered.refusal() is None


def test_images_and_files_reach_the_engine_with_their_path() -> None:
    given = [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "x"}]}
    ]
    [message] = items.turns(parsed(input=given).items)
    assert isinstance(message, Message)
    assert message.parts[1].path == "input[0].content[1]"  # type: ignore[union-attr]  # it is the image


def test_refusals_of_the_past_are_kept_apart() -> None:
    given = [{"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
              "content": [{"type": "refusal", "refusal": "No."}]}]  # fmt: skip
    [message] = items.turns(parsed(input=given).items)
    assert message == Message("assistant", (RefusalPart("No."),))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([{"type": "function_call_output", "call_id": "c", "output": "3"}], "No tool call found"),
        ([{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}], "No tool output found"),
    ],
)
def test_calls_and_outputs_must_match(given: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        items.check_calls(items.turns(parsed(input=given).items))


def test_references_are_resolved_or_named() -> None:
    request = parsed(input=[{"type": "item_reference", "id": "msg_9"}, {"role": "user", "content": "go on"}])
    assert items.references(request.items) == ["msg_9"]
    known = {"msg_9": {"type": "message", "id": "msg_9", "role": "user", "content": []}}
    assert items.resolve_references(request.items, known)[0]["id"] == "msg_9"
    with pytest.raises(InvalidRequest) as caught:
        items.resolve_references(request.items, {})
    assert (caught.value.code, caught.value.param) == ("item_not_found", "input[0].id")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"instructions": "x", "metadata": {"a": "b"}, "temperature": 0, "top_p": 0.5, "user": "u"},
        {"tools": [FUNCTION, OTHER, {"type": "function", "name": "bare", "parameters": None, "strict": None}]},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "verbosity": "low"}},
        {"text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "low", "summary": "auto"}},
        {"previous_response_id": "resp_1", "max_output_tokens": 16, "top_logprobs": 3, "truncation": "auto"},
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "add"}, "prompt_cache_key": "k"},
    ],
)
def test_the_object_that_answers_has_what_both_specifications_require(body: dict[str, Any]) -> None:
    response = new_response(parsed(**body), "engine-model", 1_795_000_000)
    check_response(response)
    assert response["model"] == "engine-model"
    assert response["id"].startswith("resp_")


def test_functions_are_strict_unless_they_say_otherwise() -> None:
    request = parsed(tools=[{"type": "function", "name": "f", "parameters": {}}, {**FUNCTION, "strict": False}])
    assert [tool["strict"] for tool in new_response(request, "m", 1)["tools"]] == [True, False]


def test_a_conversation_and_a_previous_response_exclude_each_other() -> None:
    error = refused(conversation={"id": "conv_1"}, previous_response_id="resp_1")
    assert (error.code, error.param) == ("mutually_exclusive_parameters", "conversation")


def test_a_conversation_has_two_forms_and_stands_in_for_input() -> None:
    for form in ("conv_1", {"id": "conv_1"}):
        understood = parse({"model": "m", "conversation": form}, {})
        assert (understood.conversation, understood.items) == ("conv_1", [])
        assert new_response(understood, "m", 1)["conversation"] == {"id": "conv_1"}
    assert "conversation" not in new_response(parse({"model": "m", "input": "x"}, {}), "m", 1)
