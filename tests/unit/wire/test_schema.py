"""What is said of wrong requests, and what is taken."""

# ruff: noqa: E501 - a table of cases reads best with each case on one line

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.wire import json, schema
from antiphon.wire.schema import Problem, Result
from support.examples import examples

RESPONSES = "CreateResponse"
CHAT = "CreateChatCompletionRequest"
FINE = Result(None, ())
USER = {"role": "user", "content": "hi"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
TOO_LONG = "string too long. Expected a string with maximum length"


def responses(**members: Any) -> Result:
    return schema.check(RESPONSES, {"model": "m", "input": "hi"} | members)


def items(*items: Any) -> Result:
    return responses(input=list(items))


def chat(**members: Any) -> Result:
    return schema.check(CHAT, {"model": "m", "messages": [USER]} | members)


def chat_tool(**function: Any) -> Result:
    return chat(tools=[{"type": "function", "function": function}])


def problem(result: Result) -> Problem:
    """What is wrong with it where nobody knows more than the published API."""
    found = result.problem or result.nested
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("result", "param", "code", "message"),
    [
        # missing
        (schema.check(CHAT, {"messages": [USER]}), "model", "missing_required_parameter", "Missing required parameter: 'model'."),
        (chat(messages=[{"content": "hi"}]), "messages[0].role", "missing_required_parameter", "Missing required parameter: 'messages[0].role'."),
        (chat(messages=[{"role": "user"}]), "messages[0].content", "missing_required_parameter", "Missing required parameter: 'messages[0].content'."),
        (items({"role": "user"}), "input[0].content", "missing_required_parameter", "Missing required parameter: 'input[0].content'."),
        (items({"content": "hi"}), "input[0].role", "missing_required_parameter", "Missing required parameter: 'input[0].role'."),
        (items({}), "input[0].type", "missing_required_parameter", "Missing required parameter: 'input[0].type'."),
        (items(USER, {"type": "function_call_output", "call_id": "c"}), "input[1].output", "missing_required_parameter", "Missing required parameter: 'input[1].output'."),
        (responses(text={"format": {"type": "json_schema", "name": "n"}}), "text.format.schema", "missing_required_parameter", "Missing required parameter: 'text.format.schema'."),
        (responses(tools=[{"type": "function"}]), "tools[0].name", "missing_required_parameter", "Missing required parameter: 'tools[0].name'."),
        # unknown
        (items({"role": "user", "content": "hi", "foo": 1}), "input[0].foo", "unknown_parameter", "Unknown parameter: 'input[0].foo'."),
        (responses(reasoning={"efort": "low"}), "reasoning.efort", "unknown_parameter", "Unknown parameter: 'reasoning.efort'."),
        (chat_tool(name="f", arguments={}), "tools[0].function.arguments", "unknown_parameter", "Unknown parameter: 'tools[0].function.arguments'."),
        # types
        (responses(temperature="hot"), "temperature", "invalid_type", "Invalid type for 'temperature': expected a decimal, but got a string instead."),
        (responses(stream=1), "stream", "invalid_type", "Invalid type for 'stream': expected a boolean, but got an integer instead."),
        (responses(max_output_tokens=True), "max_output_tokens", "invalid_type", "Invalid type for 'max_output_tokens': expected an integer, but got a boolean instead."),
        (responses(max_output_tokens=16.5), "max_output_tokens", "invalid_type", "Invalid type for 'max_output_tokens': expected an integer, but got a decimal instead."),
        (responses(instructions=["be nice"]), "instructions", "invalid_type", "Invalid type for 'instructions': expected a string, but got an array instead."),
        (responses(input=7), "input", "invalid_type", "Invalid type for 'input': expected one of a string or array of objects, but got an integer instead."),
        (items("hi"), "input[0]", "invalid_type", "Invalid type for 'input[0]': expected an object, but got a string instead."),
        (items({"role": "user", "content": {}}), "input[0].content", "invalid_type", "Invalid type for 'input[0].content': expected one of a string or array of objects, but got an object instead."),
        (items(USER, USER, {"role": "user", "content": [{"type": "input_text", "text": 5}]}), "input[2].content[0].text", "invalid_type", "Invalid type for 'input[2].content[0].text': expected a string, but got an integer instead."),
        (schema.check(CHAT, {"model": None, "messages": [USER]}), "model", "invalid_type", "Invalid type for 'model': expected a string, but got null instead."),
        (chat(messages="hi"), "messages", "invalid_type", "Invalid type for 'messages': expected an array of objects, but got a string instead."),
        (chat(stop=[1]), "stop[0]", "invalid_type", "Invalid type for 'stop[0]': expected a string, but got an integer instead."),
        (chat(logit_bias={"50256": "low"}), "logit_bias.50256", "invalid_type", "Invalid type for 'logit_bias.50256': expected an integer, but got a string instead."),
        (responses(metadata={"a": 1}), "metadata.a", "invalid_type", "Invalid type for 'metadata.a': expected a string, but got an integer instead."),
        (items({"type": 7, "role": "user"}), "input[0].type", "invalid_type", "Invalid type for 'input[0].type': expected a string, but got an integer instead."),
        (schema.check(RESPONSES, []), None, "invalid_type", "Invalid request body: expected an object, but got an array instead."),
        # values
        (responses(truncation="on"), "truncation", "invalid_value", "Invalid value: 'on'. Supported values are: 'auto' and 'disabled'."),
        (chat(messages=[{"role": "bot", "content": "hi"}]), "messages[0].role", "invalid_value", "Invalid value: 'bot'. Supported values are: 'assistant', 'developer', 'function', 'system', 'tool', and 'user'."),
        (items({"role": "bot", "content": "hi"}), "input[0].role", "invalid_value", "Invalid value: 'bot'. Supported values are: 'assistant', 'developer', 'system', and 'user'."),
        (items({"role": "user", "content": [{"type": "text", "text": "hi"}]}), "input[0].content[0].type", "invalid_value", "Invalid value: 'text'. Supported values are: 'input_file', 'input_image', and 'input_text'."),
        (chat(response_format={"type": "object"}), "response_format.type", "invalid_value", "Invalid value: 'object'. Supported values are: 'json_object', 'json_schema', and 'text'."),
        (responses(tool_choice="always"), "tool_choice", "invalid_value", "Invalid value: 'always'. Supported values are: 'auto', 'none', and 'required'."),
        (responses(include=["message.output_text.logprobs", "all"]), "include[1]", "invalid_value", None),
        (items({"type": "function_cal"}), "input[0].type", "invalid_value", None),
        (responses(tools=[{"type": "fun"}]), "tools[0].type", "invalid_value", None),
        # ranges
        (responses(temperature=3), "temperature", "decimal_above_max_value", "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead."),
        (responses(top_p=-0.1), "top_p", "decimal_below_min_value", "Invalid 'top_p': decimal below minimum value. Expected a value >= 0, but got -0.1 instead."),
        (responses(max_output_tokens=15), "max_output_tokens", "integer_below_min_value", "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 15 instead."),
        (chat(n=129), "n", "integer_above_max_value", "Invalid 'n': integer above maximum value. Expected a value <= 128, but got 129 instead."),
        (chat(n=0), "n", "integer_below_min_value", None),
        (chat(top_logprobs=21), "top_logprobs", "integer_above_max_value", None),
        (responses(top_logprobs=21), "top_logprobs", "integer_above_max_value", None),
        (chat(frequency_penalty=2.1), "frequency_penalty", "decimal_above_max_value", None),
        (chat(presence_penalty=-2.1), "presence_penalty", "decimal_below_min_value", None),
        (chat(logit_bias={"1": 101}), "logit_bias.1", "integer_above_max_value", None),
        (chat(logit_bias={"one": 1}), "logit_bias.one", "invalid_value", None),
        (chat(max_tokens=0), "max_tokens", "integer_below_min_value", None),
        (chat(max_completion_tokens=0), "max_completion_tokens", "integer_below_min_value", None),
        (chat(seed=2**63), "seed", "integer_above_max_value", None),
        (chat(seed=10**400), "seed", "integer_above_max_value", f"Invalid 'seed': integer above maximum value. Expected a value <= {2**63 - 1}, but got a much larger number instead."),
        (chat(temperature=-(10**400)), "temperature", "decimal_below_min_value", "Invalid 'temperature': decimal below minimum value. Expected a value >= 0, but got a much smaller number instead."),
        (chat(temperature=math.nan), "temperature", "decimal_above_max_value", None),
        (chat(temperature=math.inf), "temperature", "decimal_above_max_value", None),
        (chat(n=math.nan), "n", "invalid_type", None),
        # sizes
        (chat(messages=[]), "messages", "empty_array", "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."),
        (chat(stop=["a"] * 5), "stop", "array_above_max_length", "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 instead."),
        (chat(stop=[]), "stop", "empty_array", None),
        (chat(tools=[{"type": "function", "function": {"name": "f"}}] * 129), "tools", "array_above_max_length", None),
        (responses(tools=[FUNCTION] * 129), "tools", "array_above_max_length", "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 129 instead."),
        (responses(metadata={str(i): "" for i in range(17)}), "metadata", "object_above_max_properties", "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an object with 17 properties instead."),
        (responses(metadata={"k": "v" * 513}), "metadata.k", "string_above_max_length", f"Invalid 'metadata.k': {TOO_LONG} 512, but got a string with length 513 instead."),
        (responses(metadata={"k" * 65: "v"}), "metadata." + "k" * 64 + "...", "string_above_max_length", f"Invalid 'metadata.{'k' * 64}...': {TOO_LONG} 64, but got a string with length 65 instead."),
        (chat(metadata={"k": "v" * 513}), "metadata.k", "string_above_max_length", None),
        (schema.check("UpdateChatCompletionRequest", {"metadata": {"k": "v" * 513}}), "metadata.k", "string_above_max_length", None),
        (schema.check("UpdateChatCompletionRequest", {"metadata": {"k": None}}), "metadata.k", "invalid_type", None),
        (chat_tool(name=""), "tools[0].function.name", "empty_string", "Invalid 'tools[0].function.name': empty string. Expected a string with minimum length 1, but got an empty string instead."),
        (chat_tool(name="f" * 65), "tools[0].function.name", "string_above_max_length", None),
        (chat_tool(name="a.b"), "tools[0].function.name", "invalid_value", "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."),
        (chat_tool(name="f\n"), "tools[0].function.name", "invalid_value", None),
        (responses(tools=[FUNCTION | {"name": "f" * 129}]), "tools[0].name", "string_above_max_length", None),
        (responses(tools=[FUNCTION | {"name": "a b"}]), "tools[0].name", "invalid_value", None),
        (responses(text={"format": {"type": "json_schema", "name": "a b", "schema": {}}}), "text.format.name", "invalid_value", None),
        (items({"type": "function_call_output", "call_id": "c" * 65, "output": ""}), "input[0].call_id", "string_above_max_length", None),
        (items({"type": "function_call_output", "call_id": "", "output": ""}), "input[0].call_id", "empty_string", None),
        (responses(safety_identifier="s" * 129), "safety_identifier", "string_above_max_length", None),
        # names from the request are not repeated at length, nor if they cannot be encoded
        (responses(truncation="x" * 100_000), "truncation", "invalid_value", f"Invalid value: '{'x' * 64}...'. Supported values are: 'auto' and 'disabled'."),
        (responses(truncation="\ud800"), "truncation", "invalid_value", "Invalid value: '?'. Supported values are: 'auto' and 'disabled'."),
        (responses(reasoning={"\udfff": 1}), "reasoning.?", "unknown_parameter", "Unknown parameter: 'reasoning.?'."),
    ],
)  # fmt: skip
def test_what_is_wrong(result: Result, param: str | None, code: str, message: str | None) -> None:
    found = problem(result)
    assert (found.param, found.code) == (param, code)
    assert message is None or found.message == message
    json.encode(found.message)


@pytest.mark.parametrize(
    "item",
    [
        USER,
        {"type": "message", **USER},
        {"type": None, **USER},
        {"role": "assistant", "content": "hello"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "hello"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "phase": "final_answer"},
        {"role": "assistant", "content": []},
        {"role": "developer", "content": [{"type": "input_text", "text": "be nice"}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "phase": None,
         "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": None}]},
        {"id": "msg_1"},
        {"type": "item_reference", "id": "msg_1"},
        {"type": None, "id": "msg_1"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc_1", "status": "completed", "namespace": None},
        {"type": "function_call_output", "call_id": "c", "output": "42", "id": None, "status": None},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "42"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None, "status": None, "content": None},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}], "content": [{"type": "reasoning_text", "text": "t"}]},
        {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "async_": None},
    ],
)  # fmt: skip
def test_items_that_are_taken(item: dict[str, Any]) -> None:
    assert items(item) == FINE


@pytest.mark.parametrize(
    "result",
    [
        responses(temperature=0, top_p=1, top_logprobs=20.0, max_output_tokens=16.0),
        responses(temperature=None, tools=None, text=None, user=None, metadata=None, stream=None),
        responses(metadata={"k" * 64: "v" * 512} | {str(i): "" for i in range(15)}),
        responses(tools=[FUNCTION | {"name": "f" * 128, "strict": None, "description": None}] * 128),
        responses(tools=[{"type": "function", "name": "f"}], tool_choice={"type": "function", "name": "f"}),
        responses(tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}),
        responses(text={"format": {"type": "json_schema", "name": "n", "schema": {"x-any": [1]}, "strict": True}, "verbosity": "low"}),
        responses(conversation="conv_1"),
        responses(conversation={"id": "conv_1"}),
        schema.check(RESPONSES, {}),
        chat(stop="a", n=128, seed=-(2**63), logit_bias={"1": -100, "2": 100.0}),
        chat(stop=["a", "b", "c", "d"]),
        chat(tools=[{"type": "function", "function": {"name": "f" * 64, "parameters": {"type": "object", "x": {}}}}], tool_choice="required"),
        chat(tool_choice={"type": "function", "function": {"name": "f"}}),
        chat(messages=[{"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]),
        chat(messages=[{"role": "tool", "tool_call_id": "c", "content": "42"}]),
        chat(messages=[{"role": "user", "content": [{"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": "data:,"}}]}]),
        chat(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}),
        schema.check("UpdateChatCompletionRequest", {"metadata": None}),
    ],
)  # fmt: skip
def test_requests_that_are_taken(result: Result) -> None:
    assert result == FINE


def test_unknown_top_level_members_are_only_listed() -> None:
    assert responses(foo=1, bar=None) == Result(None, ("foo", "bar"))
    result = responses(foo=1, temperature="hot")
    assert problem(result).param == "temperature"
    assert result.unknown == ("foo",)


def test_a_schema_that_there_is_not() -> None:
    with pytest.raises(KeyError):
        schema.check("CreateNothing", {})


def filters(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "eq", "key": "k", "value": 1}
    for _ in range(depth):
        inner = {"type": "and", "filters": [inner]}
    return inner


def test_schemas_that_refer_to_themselves() -> None:
    def search(depth: int) -> Result:
        return responses(tools=[{"type": "file_search", "vector_store_ids": ["vs"], "filters": filters(depth)}])

    assert search(60) == FINE  # as deep as 128 levels of JSON can be
    assert problem(search(100_000)) == ("The request body is nested too deeply.", None, "invalid_value")
    assert search(3) == FINE, "a request that was too deep has an effect on the next"
    bad = filters(2)
    bad["filters"][0]["filters"][0]["type"] = "like"
    result = responses(tools=[{"type": "file_search", "vector_store_ids": [], "filters": bad}])
    assert problem(result).param == "tools[0].filters.filters[0].filters[0].type"


def test_free_objects_are_not_looked_into() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"properties": deep}
    try:
        assert responses(tools=[FUNCTION | {"parameters": deep}]) == FINE
    finally:
        while deep:  # taken apart by hand: comparing or freeing it in one go would recurse
            deep = deep["properties"]


words = [
    "type",
    "role",
    "content",
    "input",
    "model",
    "tools",
    "messages",
    "metadata",
    "function",
    "message",
    "user",
    "input_text",
    "text",
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(words) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(words) | st.text(max_size=3), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=examples(300))
@given(st.sampled_from([RESPONSES, CHAT, "UpdateChatCompletionRequest"]), anything)
def test_nothing_breaks_the_check(name: str, value: object) -> None:
    found = schema.check(name, value).problem
    if found is not None:
        json.encode(found)
        assert found.message.endswith(".")


@pytest.mark.parametrize("count", [2_000])
def test_time_grows_with_size_and_no_faster(count: int) -> None:
    from time import perf_counter

    def seconds(size: int) -> float:
        body = {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}] * size}
        times = []
        for _ in range(5):
            began = perf_counter()
            assert schema.check(RESPONSES, body) == FINE
            times.append(perf_counter() - began)
        return min(times)

    assert seconds(count * 8) < seconds(count) * 30


@pytest.mark.parametrize(
    "result",
    [
        items({**USER, "foo": 1}),
        items({"role": "user", "content": [{"type": "input_text", "text": "hi", "cache_control": {}}]}),
        items({"role": "user", "content": [{"type": "input_video", "url": "x"}]}),
        items({"type": "newer_call", "anything": 1}),
        responses(reasoning={"budget": 5}),
        responses(text={"format": {"type": "text"}, "foo": 1}),
        responses(tools=[{"type": "newer"}]),
        chat(messages=[{**USER, "foo": 1}]),
        chat(messages=[{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]}]),
        chat(stream_options={"continuous_usage_stats": True}),
        chat(response_format={"type": "grammar", "grammar": "x"}),
        chat_tool(name="f", cache=True),
    ],
)
def test_what_a_server_may_know_that_knows_more_is_told_apart(result: Result) -> None:
    assert result.problem is None
    assert result.nested is not None


@pytest.mark.parametrize(
    ("result", "param"),
    [
        (items({**USER, "foo": 1}, {"role": "user", "content": 5}), "input[1].content"),
        (chat(messages=[{**USER, "foo": 1, "content": 5}]), "messages[0].content"),
        (chat(messages=[{"role": "critic", "content": "hi"}]), "messages[0].role"),
        (chat(messages=[{**USER, "foo": 1}], reasoning_effort="huge"), "reasoning_effort"),
    ],
)
def test_what_is_known_is_checked_beside_what_is_not(result: Result, param: str) -> None:
    assert result.problem is not None
    assert result.problem.param == param
