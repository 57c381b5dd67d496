"""What a Chat Completions request becomes."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.domain.errors import InvalidRequest
from antiphon.protocol.chat.request import ChatRequest, check_neutral, parse
from antiphon.protocol.generation import Message, TextPart, ToolCall, ToolChoice, ToolResult

USER = {"role": "user", "content": "hi"}
FUNCTION = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def parsed(**body: Any) -> ChatRequest:
    return parse({"model": "m", "messages": [USER], **body}, {})


def refused(**body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        check(body)
    return caught.value


def check(body: dict[str, Any]) -> None:
    request = parsed(**body)
    check_neutral(request.body)
    if request.unserved is not None:
        raise request.unserved


def test_messages_of_every_role() -> None:
    request = parsed(
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
            {**USER, "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "3"}]},
            {"role": "assistant", "content": "Three."},
        ]
    )
    assert request.turns == [
        Message("developer", (TextPart("Be "), TextPart("brief."))),
        Message("user", (TextPart("hi"),), "ann"),
        ToolCall("c1", "add", "{}"),
        ToolResult("c1", "3"),
        Message("assistant", (TextPart("Three."),)),
    ]


def test_the_older_function_messages() -> None:
    request = parsed(
        messages=[
            USER,
            {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": "{}"}},
            {"role": "function", "name": "add", "content": "3"},
        ],
        functions=[{"name": "add", "parameters": {"type": "object"}}],
        function_call={"name": "add"},
    )
    call, result = request.turns[1:]
    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    assert call.call_id == result.call_id
    assert request.legacy_functions
    assert request.tool_choice == ToolChoice("required", frozenset({"add"}), parallel=False)


def test_each_choice_has_its_own_seed() -> None:
    request = parsed(seed=7, n=2)
    assert [request.generation("m", index).sampling.seed for index in (0, 1)] == [7, 8]


def test_sampling() -> None:
    request = parsed(
        stop="x", max_tokens=5, logit_bias={"42": -100}, logprobs=True, top_logprobs=3, temperature=0, seed=1
    )
    sampling = request.sampling
    assert sampling.stop == ("x",)
    assert sampling.max_tokens == 5
    assert sampling.logit_bias == {42: -100.0}
    assert sampling.top_logprobs == 3
    assert sampling.temperature == 0
    assert parsed(max_tokens=9, max_completion_tokens=9).sampling.max_tokens == 9
    with pytest.raises(InvalidRequest) as refused:
        parsed(max_tokens=5, max_completion_tokens=9)
    assert (refused.value.param, refused.value.code) == ("max_tokens", "mutually_exclusive_parameters")
    assert parsed().sampling.top_logprobs is None


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "add"}}, ToolChoice("required", frozenset({"add"}))),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [FUNCTION]}},
            ToolChoice("auto", frozenset({"add"})),
        ),
    ],
)
def test_tool_choice(given: Any, choice: ToolChoice) -> None:
    assert parsed(tools=[FUNCTION], tool_choice=given).tool_choice == choice


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"audio": {"voice": "alloy", "format": "mp3"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {"search_context_size": "low"}}, "web_search_options"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": {"hello": 1}}, "logit_bias"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools[1].function.name"),
        ({"messages": [USER, {"role": "tool", "tool_call_id": "c9", "content": "3"}]}, "messages[1]"),
        ({"messages": [{"role": "assistant", "tool_calls": [CALL]}, USER]}, "messages[0].tool_calls[0].id"),
        ({"messages": [{"role": "assistant", "tool_calls": [CALL]}]}, "messages[0].tool_calls[0].id"),
        ({"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, "messages[0].audio"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    assert refused(**body).param == param
