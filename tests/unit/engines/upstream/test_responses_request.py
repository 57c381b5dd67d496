"""What a Responses server is asked: everything fits the published schema."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.domain.errors import InvalidRequest
from antiphon.engines.upstream.profiles import PROFILES
from antiphon.engines.upstream.responses.request import body_of, counted, passthrough_body
from antiphon.protocol.generation import (
    AudioPart,
    FilePart,
    Generation,
    Grammar,
    ImagePart,
    Message,
    OutputFormat,
    ReasoningTurn,
    RefusalPart,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from antiphon.protocol.responses.items import normalize_input
from antiphon.protocol.responses.passthrough import passthrough
from antiphon.protocol.responses.request import parse
from antiphon.wire import schema
from support.item_samples import FUNCTION, HOSTED

Body = dict[str, Any]
ADD = Tool("add", "Adds.", {"type": "object"})
NOTE = Tool("note", kind="custom", grammar=Grammar("regex", "[a-z]+"))
OPENAI, ANTIPHON = PROFILES["openai"], PROFILES["antiphon"]
USER = Message("user", (TextPart("hi"),))


def asked(*turns: Any, profile: Any = ANTIPHON, **more: Any) -> Body:
    body = body_of(Generation("m", tuple(turns) or (USER,), **more), profile, "up-1")
    result = schema.check("CreateResponse", body)
    assert result.problem is None, result.problem
    assert result.unknown == ()
    assert (body["model"], body["store"]) == ("up-1", False)
    return body


def test_a_conversation() -> None:
    body = asked(
        Message("system", (TextPart("Be brief."),)),
        Message("user", (TextPart("Look."), ImagePart("https://a.example/a.png"), ImagePart("file_1"))),
        Message("user", (FilePart(file_id="file_2"), FilePart("data:x", filename="a.txt"))),
        ReasoningTurn("Hm."),
        Message("assistant", (TextPart("Well."), RefusalPart("No."))),
        ToolCall("c1", "add", "{}"),
        ToolCall("c2", "note", "hi", "custom"),
        ToolResult("c2", "noted"),
        ToolResult("c1", "2"),
    )
    assert [item["type"] for item in body["input"]] == [
        *("message", "message", "message", "reasoning", "message", "function_call", "custom_tool_call"),
        *("custom_tool_call_output", "function_call_output"),
    ]
    assert [part.get("file_id") for part in body["input"][1]["content"]] == [None, None, "file_1"]


def test_openai_takes_no_text_of_reasoning() -> None:
    body = asked(USER, ReasoningTurn("Hm."), profile=OPENAI)
    assert [item["type"] for item in body["input"]] == ["message"]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice(), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("required", frozenset({"add"})), {"type": "function", "name": "add"}),
        (ToolChoice("required", frozenset({"note"})), {"type": "custom", "name": "note"}),
        (
            ToolChoice("auto", frozenset({"note"})),
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "note"}]},
        ),
    ],
)
def test_tools(choice: ToolChoice, sent: Any) -> None:
    body = asked(tools=(ADD, NOTE), tool_choice=choice)
    assert body["tool_choice"] == sent
    assert body["tools"][0]["strict"] is False
    assert body["tools"][1]["format"] == {"type": "grammar", "syntax": "regex", "definition": "[a-z]+"}


def test_output_and_sampling() -> None:
    sampling = Sampling(temperature=0.5, top_p=1.0, max_tokens=3, top_logprobs=2, seed=1, stop=("x",))
    body = asked(sampling=sampling, output=OutputFormat("json_schema", "x", {"type": "object"}, True), effort="low")
    assert body["text"]["format"]["strict"] is True
    assert (body["temperature"], body["max_output_tokens"], body["top_logprobs"]) == (0.5, 16, 2)
    assert body["include"] == ["message.output_text.logprobs"]
    assert body["reasoning"] == {"effort": "low"}
    assert not {"seed", "stop"} & body.keys()


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"sampling": Sampling(logit_bias={1: 1.0})}, "logit_bias"),
        ({"turns": (Message("user", (AudioPart("", "wav", "messages[0].content[0]"),)),)}, "messages[0].content[0]"),
    ],
)
def test_what_the_api_does_not_have_is_refused(more: Body, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        body_of(Generation(**{"model": "m", "turns": (USER,), **more}), OPENAI, "up-1")
    assert refused.value.param == param


# --- the client's own words -------------------------------------------------------------------------------------------
def sent(body: Body, items: list[Body] | None = None, profile: Any = ANTIPHON) -> Body:
    request = parse({"model": "mine", "input": "hi", **body}, {"brand_new": 1})
    given = passthrough(request, request.items if items is None else items, only=False)
    return passthrough_body(given.body, profile, "up-1", streamed=True)


def test_every_type_of_item_goes_back_as_the_schema_has_it() -> None:
    known = [item for item in HOSTED if item["type"] != "item_reference"]
    stored = normalize_input([*known, {"role": "assistant", "content": "Well."}, {"role": "user", "content": "hi"}])
    body = sent({"tools": [FUNCTION, {"type": "web_search"}]}, stored)
    result = schema.check("CreateResponse", body)
    assert result.problem is None, result.problem
    assert result.unknown == ("brand_new",)
    assert [item["type"] for item in body["input"]] == [item["type"] for item in stored]


def test_what_is_ours_is_left_out() -> None:
    ours = {
        *("previous_response_id", "metadata", "background", "stream_options", "context_management", "prompt"),
    }
    body = sent(
        {
            "previous_response_id": "resp_1",
            "metadata": {"a": "b"},
            "background": True,
            "store": True,
            "stream_options": {"include_obfuscation": False},
            "instructions": "Be brief.",
            "temperature": 0.2,
            "context_management": [{"type": "compaction"}],
            "prompt": {"id": "p"},
        }
    )
    assert not ours & body.keys()
    assert (body["store"], body["stream"], body["model"]) == (False, True, "up-1")
    assert (body["instructions"], body["temperature"], body["brand_new"]) == ("Be brief.", 0.2, 1)
    assert body["include"] == ["reasoning.encrypted_content"]
    assert "brand_new" not in counted(body)


def test_reasoning_goes_back_as_its_server_takes_it() -> None:
    text = [{"type": "reasoning_text", "text": "Hm."}]
    thoughts = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": text, "status": "completed"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "content": text, "encrypted_content": "x"},
        {"type": "reasoning", "id": "rs_3", "summary": []},
    ]
    assert [item["id"] for item in sent({}, thoughts)["input"]] == ["rs_1", "rs_2"]
    (kept,) = sent({}, thoughts, OPENAI)["input"]
    assert (kept["id"], kept["content"]) == ("rs_2", [])


def test_a_prompts_messages_come_first() -> None:
    orders = [{"type": "message", "id": "msg_1", "role": "developer", "content": [{"type": "input_text", "text": "a"}]}]
    body = sent({"instructions": orders})
    assert "instructions" not in body
    assert [item["role"] for item in body["input"]] == ["developer", "user"]
