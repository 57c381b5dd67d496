"""Hand-written hostile bodies, each with the one answer it must get."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.rawhttp import Wire

from . import valid
from .judge import judge_refusal

Case = tuple[Any, int, str | None, str | None]

USER = {"role": "user", "content": "hi"}
FUNCTION = {"type": "function", "name": "f"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "x"}
CHAT_CALL = {
    "role": "assistant",
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
MISSING, TYPE, VALUE, UNKNOWN = "missing_required_parameter", "invalid_type", "invalid_value", "unknown_parameter"
NO_VALUE, NO_PARAMETER = "unsupported_value", "unsupported_parameter"


def r(**members: Any) -> dict[str, Any]:
    return {"model": "gpt-5-mini", "input": "hi", "store": False, **members}


def items(*given: Any) -> dict[str, Any]:
    return r(input=list(given))


def parts(*content: Any, role: str = "user") -> dict[str, Any]:
    return items(USER, USER, {"role": role, "content": list(content)})


def c(**members: Any) -> dict[str, Any]:
    return {"model": "gpt-5-mini", "messages": [USER], **members}


def messages(*given: Any) -> dict[str, Any]:
    return c(messages=list(given))


def tool(**members: Any) -> dict[str, Any]:
    return c(tools=[{"type": "function", "function": {"name": "f", **members}}])


RESPONSES: list[Case] = [
    # the body as a whole
    ([], 400, TYPE, None),
    ("text", 400, TYPE, None),
    (7, 400, TYPE, None),
    (None, 400, TYPE, None),
    ({}, 400, MISSING, "model"),
    ({"model": "gpt-5-mini"}, 400, MISSING, "input"),
    ({"input": "hi"}, 400, MISSING, "model"),
    # the model
    (r(model=None), 400, MISSING, "model"),
    (r(model=""), 400, MISSING, "model"),
    (r(model=7), 400, TYPE, "model"),
    (r(model=["gpt-5-mini"]), 400, TYPE, "model"),
    (r(model="gpt-6"), 404, "model_not_found", "model"),
    (r(model="GPT-5-MINI"), 404, "model_not_found", "model"),
    (r(model="gpt-5-mini "), 404, "model_not_found", "model"),
    (r(model="gpt-5-mini\x00"), 404, "model_not_found", "model"),
    (r(model="../../../etc/passwd"), 404, "model_not_found", "model"),
    (r(model="http://127.0.0.1:9/"), 404, "model_not_found", "model"),
    (r(model="m" * 100_000), 404, "model_not_found", "model"),
    # the input
    (r(input=None), 400, MISSING, "input"),
    (r(input=7), 400, TYPE, "input"),
    (r(input={}), 400, TYPE, "input"),
    (r(input=True), 400, TYPE, "input"),
    (items(None), 400, TYPE, "input[0]"),
    (items("hi"), 400, TYPE, "input[0]"),
    (items(USER, 3), 400, TYPE, "input[1]"),
    (items({}), 400, MISSING, "input[0].type"),
    (items({"type": "mesage", "role": "user", "content": ""}), 400, VALUE, "input[0].type"),
    (items({"role": "user"}), 400, MISSING, "input[0].content"),
    (items({"role": "robot", "content": "hi"}), 400, VALUE, "input[0].role"),
    (items({"role": 1, "content": "hi"}), 400, TYPE, "input[0].role"),
    (items({"role": "user", "content": 7}), 400, TYPE, "input[0].content"),
    (items({"role": "user", "content": None}), 400, TYPE, "input[0].content"),
    (items({**USER, "extra": 1}), 400, UNKNOWN, "input[0].extra"),
    (items({**USER, "type": "message", "status": "lost"}), 400, VALUE, "input[0].status"),
    (parts({"type": "input_text", "text": 7}), 400, TYPE, "input[2].content[0].text"),
    (parts({"type": "input_text"}), 400, MISSING, "input[2].content[0].text"),
    (parts({"type": "input_text", "text": None}), 400, TYPE, "input[2].content[0].text"),
    (parts({"text": "x"}), 400, MISSING, "input[2].content[0].type"),
    (parts("text"), 400, TYPE, "input[2].content[0]"),
    (parts({"type": "output_text", "text": "x"}), 400, VALUE, "input[2].content[0].type"),
    (parts({"type": "input_text", "text": "x", "a": 1}), 400, UNKNOWN, "input[2].content[0].a"),
    (parts({"type": "input_text", "text": "x"}, {"type": "text"}), 400, VALUE, "input[2].content[1].type"),
    (parts({"type": "input_image", "image_url": 7}), 400, TYPE, "input[2].content[0].image_url"),
    (parts({"type": "input_image", "image_url": "data:,", "detail": "max"}), 400, VALUE, "input[2].content[0].detail"),
    (items({"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search", "query": "q"}}),
     400, NO_VALUE, "input[0].type"),
    (items({"type": "item_reference"}), 400, MISSING, "input[0].id"),
    (items({"type": "item_reference", "id": 7}), 400, TYPE, "input[0].id"),
    (items({"type": "item_reference", "id": "msg_unknown"}), 400, "item_not_found", "input[0].id"),
    (items(USER, {"type": "item_reference", "id": "a\x00b"}), 400, "item_not_found", "input[1].id"),
    (items(USER, {"type": "item_reference", "id": "m" * 9999}), 400, "item_not_found", "input[1].id"),
    (items({**USER, "type": "message", "id": "a\x00b"}), 400, VALUE, "input[0].id"),
    (items(USER, {**USER, "type": "message", "id": "m" * 513}), 400, VALUE, "input[1].id"),
    (items({**USER, "type": "message", "id": "ü" * 300}), 400, VALUE, "input[0].id"),
    (items({"type": "function_call", "name": "f", "arguments": "{}"}), 400, MISSING, "input[0].call_id"),
    (items({**CALL, "arguments": {}}), 400, TYPE, "input[0].arguments"),
    (items({**CALL, "call_id": 7}), 400, TYPE, "input[0].call_id"),
    (items({**RESULT, "call_id": ""}), 400, "empty_string", "input[0].call_id"),
    (items({**RESULT, "call_id": "c" * 65}), 400, "string_above_max_length", "input[0].call_id"),
    (items({**RESULT, "output": None}), 400, TYPE, "input[0].output"),
    (items({**RESULT, "output": [{"type": "input_text"}]}), 400, MISSING, "input[0].output[0].text"),
    (items(CALL, {**RESULT, "output": [{"type": "input_image", "image_url": "data:,"}]}),
     400, NO_VALUE, "input[1].output[0].type"),
    (items(USER, RESULT), 400, VALUE, "input"),
    (items(USER, CALL), 400, VALUE, "input"),
    (items(RESULT, CALL), 400, VALUE, "input"),
    (items(*[USER] * 10_001), 400, "array_above_max_length", "input"),
    # numbers
    (r(temperature="1"), 400, TYPE, "temperature"),
    (r(temperature=True), 400, TYPE, "temperature"),
    (r(temperature=[1]), 400, TYPE, "temperature"),
    (r(temperature=2.0001), 400, "decimal_above_max_value", "temperature"),
    (r(temperature=-0.1), 400, "decimal_below_min_value", "temperature"),
    (r(temperature=10**400), 400, "decimal_above_max_value", "temperature"),
    (r(temperature=-(10**30)), 400, "decimal_below_min_value", "temperature"),
    (r(top_p=1.1), 400, "decimal_above_max_value", "top_p"),
    (r(top_p=-1), 400, "decimal_below_min_value", "top_p"),
    (r(top_logprobs=21), 400, "integer_above_max_value", "top_logprobs"),
    (r(top_logprobs=-1), 400, "integer_below_min_value", "top_logprobs"),
    (r(top_logprobs=1.5), 400, TYPE, "top_logprobs"),
    (r(max_output_tokens=15), 400, "integer_below_min_value", "max_output_tokens"),
    (r(max_output_tokens=0), 400, "integer_below_min_value", "max_output_tokens"),
    (r(max_output_tokens=-(2**63)), 400, "integer_below_min_value", "max_output_tokens"),
    (r(max_output_tokens="16"), 400, TYPE, "max_output_tokens"),
    (r(max_output_tokens=16.5), 400, TYPE, "max_output_tokens"),
    # words
    (r(truncation="on"), 400, VALUE, "truncation"),
    (r(service_tier="gold"), 400, VALUE, "service_tier"),
    (r(reasoning="low"), 400, TYPE, "reasoning"),
    (r(reasoning={"effort": "a lot"}), 400, VALUE, "reasoning.effort"),
    (r(reasoning={"depth": 1}), 400, UNKNOWN, "reasoning.depth"),
    (r(include="message.output_text.logprobs"), 400, TYPE, "include"),
    (r(include=["everything"]), 400, VALUE, "include[0]"),
    (r(include=["message.output_text.logprobs", 1]), 400, TYPE, "include[1]"),
    (r(instructions=["a"]), 400, TYPE, "instructions"),
    (r(user=7), 400, TYPE, "user"),
    (r(safety_identifier="s" * 129), 400, "string_above_max_length", "safety_identifier"),
    # true and false
    (r(stream="true"), 400, TYPE, "stream"),
    (r(stream=1), 400, TYPE, "stream"),
    (r(store="no"), 400, TYPE, "store"),
    (r(parallel_tool_calls=0), 400, TYPE, "parallel_tool_calls"),
    (r(stream_options=True), 400, TYPE, "stream_options"),
    (r(stream_options={"include_usage": True}), 400, UNKNOWN, "stream_options.include_usage"),
    # metadata
    (r(metadata=[]), 400, TYPE, "metadata"),
    (r(metadata="a"), 400, TYPE, "metadata"),
    (r(metadata={"a": 1}), 400, TYPE, "metadata.a"),
    (r(metadata={"a": None}), 400, TYPE, "metadata.a"),
    (r(metadata={"a": {"b": "c"}}), 400, TYPE, "metadata.a"),
    (r(metadata={"a": "v" * 513}), 400, "string_above_max_length", "metadata.a"),
    (r(metadata={str(n): "" for n in range(17)}), 400, "object_above_max_properties", "metadata"),
    # tools and their choice
    (r(tools={}), 400, TYPE, "tools"),
    (r(tools=[None]), 400, TYPE, "tools[0]"),
    (r(tools=[{}]), 400, MISSING, "tools[0].type"),
    (r(tools=[{"type": "fun", "name": "f"}]), 400, VALUE, "tools[0].type"),
    (r(tools=[{"type": "function"}]), 400, MISSING, "tools[0].name"),
    (r(tools=[{**FUNCTION, "name": "a b"}]), 400, VALUE, "tools[0].name"),
    (r(tools=[{**FUNCTION, "name": "f" * 129}]), 400, "string_above_max_length", "tools[0].name"),
    (r(tools=[{**FUNCTION, "parameters": "{}"}]), 400, TYPE, "tools[0].parameters"),
    (r(tools=[{**FUNCTION, "function": {"name": "f"}}]), 400, UNKNOWN, "tools[0].function"),
    (r(tools=[FUNCTION, FUNCTION]), 400, VALUE, "tools[1].name"),
    (r(tools=[{**FUNCTION, "name": f"f{n}"} for n in range(129)]), 400, "array_above_max_length", "tools"),
    (r(tools=[{"type": "web_search"}]), 400, NO_VALUE, "tools[0].type"),
    (r(tools=[{"type": "custom", "name": "x", "format": {"type": "grammar", "syntax": "lark", "definition": "s: A"}}]),
     400, NO_VALUE, "tools[0].format.type"),
    (r(tool_choice="always"), 400, VALUE, "tool_choice"),
    (r(tool_choice=7), 400, TYPE, "tool_choice"),
    (r(tool_choice="required"), 400, VALUE, "tool_choice"),
    (r(tool_choice={"type": "function"}), 400, MISSING, "tool_choice.name"),
    (r(tool_choice={"type": "function", "name": "g"}, tools=[FUNCTION]), 400, VALUE, "tool_choice"),
    (r(tool_choice={"type": "allowed_tools", "mode": "auto", "tools": []}, tools=[FUNCTION]),
     400, VALUE, "tool_choice.tools"),
    (r(tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [FUNCTION, {"type": "function", "name": [1]}]},
       tools=[FUNCTION]), 400, TYPE, "tool_choice.tools[1].name"),
    (r(tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function"}]}, tools=[FUNCTION]),
     400, MISSING, "tool_choice.tools[0].name"),
    (r(tool_choice={"type": "allowed_tools", "mode": "maybe", "tools": [FUNCTION]}, tools=[FUNCTION]),
     400, VALUE, "tool_choice.mode"),
    # the answer's format
    (r(text="json"), 400, TYPE, "text"),
    (r(text={"format": "json"}), 400, TYPE, "text.format"),
    (r(text={"format": {}}), 400, MISSING, "text.format.type"),
    (r(text={"format": {"type": "xml"}}), 400, VALUE, "text.format.type"),
    (r(text={"format": {"type": "json_schema"}}), 400, MISSING, None),
    (r(text={"format": {"type": "json_schema", "name": "n", "schema": []}}), 400, TYPE, "text.format.schema"),
    (r(text={"format": {"type": "json_schema", "name": "a b", "schema": {}}}), 400, VALUE, "text.format.name"),
    (r(text={"verbosity": "loud"}), 400, VALUE, "text.verbosity"),
    # what the API has and this server has not
    (r(background=True), 400, NO_PARAMETER, "background"),
    (r(conversation="conv_1"), 400, NO_PARAMETER, "conversation"),
    (r(prompt={"id": "pmpt_1"}), 404, "prompt_not_found", "prompt.id"),
    # what the API has not
    (r(foo=1), 400, UNKNOWN, "foo"),
    (r(messages=[USER]), 400, UNKNOWN, "messages"),
    (r(max_tokens=5), 400, UNKNOWN, "max_tokens"),
    (r(**{"__proto__": {}}), 400, UNKNOWN, "__proto__"),
    (r(**{"u" * 5000: 1}), 400, UNKNOWN, None),
    # what came before
    (r(previous_response_id="resp_unknown"), 400, "previous_response_not_found", "previous_response_id"),
    (r(previous_response_id=""), 400, "previous_response_not_found", "previous_response_id"),
    (r(previous_response_id="a\x00b"), 400, "previous_response_not_found", "previous_response_id"),
    (r(previous_response_id="r" * 100_000), 400, "previous_response_not_found", "previous_response_id"),
    (r(previous_response_id="' OR 1=1 --"), 400, "previous_response_not_found", "previous_response_id"),
    (r(previous_response_id=7), 400, TYPE, "previous_response_id"),
]  # fmt: skip

CHAT: list[Case] = [
    ([], 400, TYPE, None),
    ({}, 400, MISSING, "model"),
    ({"model": "gpt-5-mini"}, 400, MISSING, "messages"),
    (c(model=None), 400, TYPE, "model"),
    (c(model="gpt-6"), 404, "model_not_found", "model"),
    (c(messages="hi"), 400, TYPE, "messages"),
    (c(messages=None), 400, TYPE, "messages"),
    (c(messages=[]), 400, "empty_array", "messages"),
    (c(messages={}), 400, TYPE, "messages"),
    (messages("hi"), 400, TYPE, "messages[0]"),
    (messages({}), 400, MISSING, "messages[0].role"),
    (messages({"role": "robot", "content": "hi"}), 400, VALUE, "messages[0].role"),
    (messages({"role": "user"}), 400, MISSING, "messages[0].content"),
    (messages({"role": "user", "content": 7}), 400, TYPE, "messages[0].content"),
    (messages({"role": "user", "content": {}}), 400, TYPE, "messages[0].content"),
    (messages({"role": "user", "content": []}), 400, "empty_array", "messages[0].content"),
    (messages(USER, {"role": "user", "content": [{"type": "text", "text": 7}]}), 400, TYPE, "messages[1].content[0].text"),
    (messages({"role": "user", "content": [{"type": "txt"}]}), 400, VALUE, "messages[0].content[0].type"),
    (messages({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}),
     400, TYPE, "messages[0].content[0].image_url"),
    (messages({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
     400, MISSING, "messages[0].content[0].image_url.url"),
    (messages({**USER, "extra": 1}), 400, UNKNOWN, "messages[0].extra"),
    (messages({"role": "tool", "content": "x"}), 400, MISSING, "messages[0].tool_call_id"),
    (messages(USER, {"role": "tool", "content": "x", "tool_call_id": "c"}), 400, VALUE, "messages[1]"),
    (messages(USER, CHAT_CALL), 400, VALUE, "messages[1].tool_calls[0].id"),
    (messages(USER, CHAT_CALL, USER), 400, VALUE, "messages[1].tool_calls[0].id"),
    (messages(CHAT_CALL, {"role": "tool", "content": [{"type": "image_url", "text": ""}], "tool_call_id": "c"}),
     400, VALUE, "messages[1].content[0].type"),
    (messages({"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}]}),
     400, MISSING, "messages[0].tool_calls[0].function.arguments"),
    (messages({"role": "assistant", "tool_calls": [{"id": 1}]}), 400, MISSING, "messages[0].tool_calls[0].type"),
    (messages({"role": "function", "name": "f", "content": "x"}), 400, VALUE, "messages[0]"),
    (c(n=0), 400, "integer_below_min_value", "n"),
    (c(n=129), 400, "integer_above_max_value", "n"),
    (c(n=1.5), 400, TYPE, "n"),
    (c(n="2"), 400, TYPE, "n"),
    (c(n=10**400), 400, "integer_above_max_value", "n"),
    (c(temperature=3), 400, "decimal_above_max_value", "temperature"),
    (c(top_p=2), 400, "decimal_above_max_value", "top_p"),
    (c(frequency_penalty=2.1), 400, "decimal_above_max_value", "frequency_penalty"),
    (c(presence_penalty=-2.1), 400, "decimal_below_min_value", "presence_penalty"),
    (c(seed=2**63), 400, "integer_above_max_value", "seed"),
    (c(seed=-(2**63) - 1), 400, "integer_below_min_value", "seed"),
    (c(seed="7"), 400, TYPE, "seed"),
    (c(max_tokens=0), 400, "integer_below_min_value", "max_tokens"),
    (c(max_completion_tokens=-1), 400, "integer_below_min_value", "max_completion_tokens"),
    (c(stop=[]), 400, "empty_array", "stop"),
    (c(stop=["a"] * 5), 400, "array_above_max_length", "stop"),
    (c(stop=[7]), 400, TYPE, "stop[0]"),
    (c(stop=7), 400, TYPE, "stop"),
    (c(logit_bias={"a": 1}), 400, VALUE, "logit_bias.a"),
    (c(logit_bias={"1": 101}), 400, "integer_above_max_value", "logit_bias.1"),
    (c(logit_bias={"1": "a"}), 400, TYPE, "logit_bias.1"),
    (c(logit_bias={"9" * 500: 1}), 400, VALUE, "logit_bias"),
    (c(logit_bias=[]), 400, TYPE, "logit_bias"),
    (c(logprobs=1), 400, TYPE, "logprobs"),
    (c(top_logprobs=2), 400, VALUE, "top_logprobs"),
    (c(logprobs=True, top_logprobs=21), 400, "integer_above_max_value", "top_logprobs"),
    (c(stream="yes"), 400, TYPE, "stream"),
    (c(stream_options={"include_usage": True}), 400, VALUE, "stream_options"),
    (c(stream=True, stream_options={"a": 1}), 400, UNKNOWN, "stream_options.a"),
    (c(response_format="json"), 400, TYPE, "response_format"),
    (c(response_format={"type": "object"}), 400, VALUE, "response_format.type"),
    (c(response_format={"type": "json_schema"}), 400, MISSING, "response_format.json_schema"),
    (c(response_format={"type": "json_schema", "json_schema": {"schema": {}}}),
     400, MISSING, "response_format.json_schema.name"),
    (c(response_format={"type": "json_schema", "json_schema": {"name": "a b"}}),
     400, VALUE, "response_format.json_schema.name"),
    (tool(name=""), 400, "empty_string", "tools[0].function.name"),
    (tool(name="f" * 65), 400, "string_above_max_length", "tools[0].function.name"),
    (tool(name="a.b"), 400, VALUE, "tools[0].function.name"),
    (tool(parameters=[]), 400, TYPE, "tools[0].function.parameters"),
    (tool(strict="yes"), 400, TYPE, "tools[0].function.strict"),
    (c(tools=[{"type": "function", "function": {"name": "f"}}] * 2), 400, VALUE, "tools[1].function.name"),
    (c(tools=[{"type": "function", "function": {"name": "f"}}] * 129), 400, "array_above_max_length", "tools"),
    (c(tools=[{"type": "function", "name": "f"}]), 400, MISSING, "tools[0].function"),
    (c(tool_choice="required"), 400, VALUE, "tool_choice"),
    (c(tool_choice={"type": "function", "function": {}}), 400, MISSING, "tool_choice.function.name"),
    (c(tool_choice={"type": "function", "function": {"name": "g"}}), 400, VALUE, "tool_choice"),
    (c(tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": [1]}]}}),
     400, MISSING, "tool_choice.allowed_tools.tools[0].function.name"),
    (c(functions=[]), 400, "empty_array", "functions"),
    (c(functions=[{"name": "f"}, {"name": "f"}]), 400, VALUE, "functions[1].name"),
    (c(function_call={"name": "g"}), 400, VALUE, "tool_choice"),
    (c(metadata={"a": 1}), 400, TYPE, "metadata.a"),
    (c(modalities=["text", "smell"]), 400, VALUE, "modalities[1]"),
    (c(modalities=["text", "audio"]), 400, NO_VALUE, "modalities"),
    (c(audio={"voice": "alloy", "format": "wav"}), 400, NO_PARAMETER, "audio"),
    (c(foo=1), 400, UNKNOWN, "foo"),
    (c(input="hi"), 400, UNKNOWN, "input"),
]  # fmt: skip


def check(wire: Wire, path: str, case: Case) -> None:
    body, status, code, param = case
    answer = wire.ask("POST", path, json.dumps(body).encode())
    error = judge_refusal(answer)
    assert answer.status == status, error
    assert code is None or error["code"] == code, error
    if param is not None or isinstance(body, list | str | int | None):
        assert error["param"] == param, error


@pytest.mark.parametrize("case", RESPONSES, ids=[f"{n}-{case[3]}" for n, case in enumerate(RESPONSES)])
def test_responses(wire: Wire, case: Case) -> None:
    check(wire, valid.RESPONSES_PATH, case)


@pytest.mark.parametrize("case", CHAT, ids=[f"{n}-{case[3]}" for n, case in enumerate(CHAT)])
def test_chat(wire: Wire, case: Case) -> None:
    check(wire, valid.CHAT_PATH, case)


MALFORMED: list[tuple[bytes, str]] = [
    (b"{", "line 1, column 2"),
    (b'{"model": "m",\n "input": }', "line 2, column 11"),
    (b'{"model": "m",\n\n  "input": "x",}', "line 3, column"),
    (b'{"a":1} x', "line 1, column 9"),
    (b'{"a":1}{"a":1}', "line 1, column 8"),
    (b'\xef\xbb\xbf{"a":1}', "line 1, column 1"),
    (b'{"\xc3\xbc":\xff}', "line 1, column 6"),
    (b'{"model":"\xed\xa0\x80"}', "line 1, column 11"),
    (b'{"model":"\xc0\xaf"}', "line 1, column 11"),
    (b'{"model":"a\x00"}', "line 1, column 12"),
    (b'{"model":"a\nb"}', "line 1, column 12"),
    (b'{"model":"\\ud800"}', "line 1, column 11"),
    (b'{"model":NaN}', "line 1, column 10"),
    (b'{"model":-Infinity}', "line 1, column"),
    (b"{'model':1}", "line 1, column 2"),
    (b'{"a":1e999}', "out of range"),
    (b"[" * 129 + b"]" * 129, "line 1, column 129"),
    (b"[" * 1_000_000, "line 1, column"),
    (b'{"a":' * 100_000, "line 1, column"),
    (b"model=gpt-5-mini&input=hi", "line 1, column 1"),
    (b"<xml/>", "line 1, column 1"),
    (b"   ", ""),
    (b"\x00", "line 1, column 1"),
]


@pytest.mark.parametrize(("body", "where"), MALFORMED, ids=range(len(MALFORMED)))
@pytest.mark.parametrize("path", [valid.RESPONSES_PATH, valid.CHAT_PATH])
def test_malformed_json_is_refused_with_its_place(wire: Wire, path: str, body: bytes, where: str) -> None:
    answer = wire.ask("POST", path, body)
    error = judge_refusal(answer)
    assert (answer.status, error["code"], error["param"]) == (400, "invalid_json", None)
    assert where in error["message"]


@pytest.mark.parametrize("path", [valid.RESPONSES_PATH, valid.CHAT_PATH])
def test_no_body(wire: Wire, path: str) -> None:
    assert judge_refusal(wire.ask("POST", path, b""))["code"] == "missing_body"
    assert judge_refusal(wire.ask("POST", path, content_type="application/json"))["code"] == "missing_body"


def test_millions_of_values_in_few_bytes(wire: Wire) -> None:
    body = b'{"model":"gpt-5-mini","input":[' + b"[]," * 2_000_000 + b"[]]}"
    assert judge_refusal(wire.ask("POST", valid.RESPONSES_PATH, body))["code"] == "invalid_json"


def test_of_members_with_one_name_the_last_counts(wire: Wire) -> None:
    body = b'{"model":"nobody","model":"gpt-5-mini","input":7,"input":"said","store":false}'
    answer = wire.ask("POST", valid.RESPONSES_PATH, body)
    assert answer.json()["output"][0]["content"][0]["text"] == "said"


STRANGE_TEXTS = [
    "\x00",
    "\x1b[2J\x7f",
    "\u202eabc\ufeff",
    "\uffff\ufffe",
    "😀" * 100,
    "\r\n\r\ndata: [DONE]\n\n",
    "e\u0301" * 50,
]


@pytest.mark.parametrize("text", STRANGE_TEXTS, ids=range(len(STRANGE_TEXTS)))
def test_strange_text_comes_back_unchanged(wire: Wire, text: str) -> None:
    made = wire.ask("POST", valid.RESPONSES_PATH, r(input=text, metadata={"k": text}, user=text, store=True)).json()
    assert made["output"][0]["content"][0]["text"] == text
    kept = wire.ask("GET", f"{valid.RESPONSES_PATH}/{made['id']}").json()
    assert kept == made
    assert (kept["metadata"], kept["user"]) == ({"k": text}, text)
    given = wire.ask("GET", f"{valid.RESPONSES_PATH}/{made['id']}/input_items").json()["data"]
    assert given[0]["content"] == [{"type": "input_text", "text": text}]
    body = c(messages=[{"role": "user", "content": text}], store=True, metadata={"k": text})
    chat = wire.ask("POST", valid.CHAT_PATH, body).json()
    assert chat["choices"][0]["message"]["content"] == text
    kept = wire.ask("GET", f"{valid.CHAT_PATH}/{chat['id']}/messages").json()["data"]
    assert kept[0]["content"] == text


def test_whole_numbers_may_be_written_with_a_point(wire: Wire) -> None:
    made = wire.ask("POST", valid.RESPONSES_PATH, r(max_output_tokens=16.0, top_logprobs=2.0, max_tool_calls=1.0))
    assert b'"max_output_tokens":16,' in made.body
    assert b'"top_logprobs":2,' in made.body
    assert len(wire.ask("POST", valid.CHAT_PATH, c(n=2.0, seed=7.0, max_tokens=5.0)).json()["choices"]) == 2
