"""From a generation to the body that each kind of server takes."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from antiphon.domain.errors import InvalidRequest, SetupError
from antiphon.engines.upstream.chat.request import body_of, messages_of, passthrough_body, speaks, takes_content
from antiphon.engines.upstream.profiles import GENERIC, PROFILES, Profile, profile_named
from antiphon.protocol.generation import (
    AudioPart,
    FilePart,
    Generation,
    Grammar,
    ImagePart,
    Message,
    OutputFormat,
    Part,
    ReasoningTurn,
    RefusalPart,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)

OPENAI, VLLM, OLLAMA, LLAMA, MISTRAL, GROQ, DEEPSEEK = (
    PROFILES[name] for name in ("openai", "vllm", "ollama", "llama-server", "mistral", "groq", "deepseek")
)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = Tool("add", "Adds.", SCHEMA, strict=True)
NOTE = Tool("note", "Notes.", kind="custom")
JSON = OutputFormat("json_schema", "thing", SCHEMA, strict=True)


def said(*parts: Part | str, role: Role = "user", name: str | None = None) -> Message:
    return Message(role, tuple(TextPart(part) if isinstance(part, str) else part for part in parts), name)


def asking(*turns: Turn, **more: Any) -> Generation:
    return Generation("theirs", turns or (said("Hi"),), **more)


def body(profile: Profile, *turns: Turn, **more: Any) -> dict[str, Any]:
    made = body_of(asking(*turns, **more), profile, "up-model")
    assert msgspec.json.decode(msgspec.json.encode(made)) == made
    return made


# --- the conversation -------------------------------------------------------------------------------------------------
def test_the_least() -> None:
    assert body(GENERIC) == {
        "model": "up-model",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert body(GENERIC, streamed=False) == {
        "model": "up-model",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
    }
    assert "stream_options" not in body(MISTRAL)


def test_what_was_thought_said_and_called_in_one_go_is_one_message() -> None:
    turns = (
        said("What is 1 + 2?"),
        ReasoningTurn("Hm."),
        said("I add.", role="assistant"),
        ToolCall("c1", "add", '{"a":1}'),
        ToolCall("c2", "note", "x", "custom"),
        ToolResult("c1", "3"),
        ToolResult("c2", "noted"),
        ToolCall("c3", "add", "{}"),
        ToolResult("c3", "0"),
        said("3", RefusalPart("!"), role="assistant"),
    )
    c1 = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    c3 = {"id": "c3", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    note = {"id": "c2", "type": "custom", "custom": {"name": "note", "input": "x"}}
    disguised = {"id": "c2", "type": "function", "function": {"name": "note", "arguments": '{"input": "x"}'}}
    rest = [
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
        {"role": "tool", "tool_call_id": "c2", "content": "noted"},
        {"role": "assistant", "content": None, "tool_calls": [c3]},
        {"role": "tool", "tool_call_id": "c3", "content": "0"},
        {"role": "assistant", "content": "3!"},
    ]
    first = {"role": "user", "content": "What is 1 + 2?"}
    assert messages_of(asking(*turns), OPENAI) == [
        *(first, {"role": "assistant", "content": "I add.", "tool_calls": [c1, note]}, *rest)
    ]
    thought = {"role": "assistant", "content": "I add.", "reasoning_content": "Hm.", "tool_calls": [c1, disguised]}
    assert messages_of(asking(*turns), DEEPSEEK) == [first, thought, *rest]


def test_two_answers_are_two_messages_and_reasoning_belongs_to_the_next() -> None:
    turns = (
        *(said("a", role="assistant"), ReasoningTurn("Hm"), ReasoningTurn("so"), said("b", role="assistant")),
        *(ReasoningTurn("lost"), said("c")),
    )
    assert messages_of(asking(*turns), OLLAMA) == [
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning": "Hm\nso"},
        {"role": "user", "content": "c"},
    ]


def test_roles_and_names() -> None:
    turns = (said("Be brief.", role="developer"), said("Hi", name="ann"))
    assert messages_of(asking(*turns), OPENAI)[0]["role"] == "developer"
    assert messages_of(asking(*turns), GENERIC) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi", "name": "ann"},
    ]
    assert "name" not in messages_of(asking(*turns), GROQ)[1]


def test_ids_of_calls_as_mistral_wants_them() -> None:
    turns = (ToolCall("call_long", "add", "{}"), ToolCall("abcDEF123", "add", "{}"), ToolResult("call_long", "3"))
    message, result = messages_of(asking(*turns), MISTRAL)
    ids = [call["id"] for call in message["tool_calls"]]
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", call_id) for call_id in ids)
    assert ids[1] == "abcDEF123"
    assert result["tool_call_id"] == ids[0]


def test_images_audio_and_files() -> None:
    turn = said("See", ImagePart("data:x", "low"), AudioPart("AA", "wav"), FilePart("data:y", None, "a.pdf"))
    assert messages_of(asking(turn), OPENAI)[0]["content"] == [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:y", "filename": "a.pdf"}},
    ]
    assert takes_content(asking(turn), OPENAI)


@pytest.mark.parametrize(
    ("profile", "part", "what"),
    [
        (DEEPSEEK, ImagePart("data:x", path="messages[0].content[1]"), "images"),
        (GENERIC, AudioPart("AA", "wav", "messages[0].content[1]"), "audio"),
        (VLLM, FilePart("x", path="messages[0].content[1]"), "files"),
    ],
)
def test_content_that_the_server_does_not_take(profile: Profile, part: Part, what: str) -> None:
    with pytest.raises(InvalidRequest, match=f"does not support {what}") as caught:
        body(profile, said("See", part))
    assert caught.value.param == "messages[0].content[1]"
    assert not takes_content(asking(said("See", part)), profile)


# --- tools ------------------------------------------------------------------------------------------------------------
def test_tools() -> None:
    sent = body(OPENAI, tools=(ADD, NOTE, Tool("now")))["tools"]
    assert sent == [
        {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": SCHEMA, "strict": True}},
        {"type": "custom", "custom": {"name": "note", "description": "Notes."}},
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    ]
    function = body(VLLM, tools=(ADD, NOTE))["tools"][1]["function"]
    assert function["parameters"]["required"] == ["input"]
    assert "strict" not in body(VLLM, tools=(ADD,))["tools"][0]["function"]
    bound = Tool("note", kind="custom", grammar=Grammar("regex", "[a-z]+"))
    assert body(OPENAI, tools=(bound,))["tools"][0]["custom"]["format"] == {
        "type": "grammar",
        "grammar": {"syntax": "regex", "definition": "[a-z]+"},
    }


@pytest.mark.parametrize(
    ("profile", "choice", "sent"),
    [
        (OPENAI, ToolChoice(), None),
        (OPENAI, ToolChoice("required"), "required"),
        (MISTRAL, ToolChoice("required"), "any"),
        (OPENAI, ToolChoice("required", frozenset({"note"})), {"type": "custom", "custom": {"name": "note"}}),
        (VLLM, ToolChoice("required", frozenset({"add"})), {"type": "function", "function": {"name": "add"}}),
        (OPENAI, ToolChoice("required", frozenset({"add", "note"})), "required"),
        (GENERIC, ToolChoice("required"), None),
    ],
)
def test_tool_choice(profile: Profile, choice: ToolChoice, sent: Any) -> None:
    assert body(profile, tools=(ADD, NOTE), tool_choice=choice).get("tool_choice") == sent


def test_only_tools_that_may_be_called_are_sent() -> None:
    choice = ToolChoice("auto", frozenset({"note"}), parallel=False)
    sent = body(OPENAI, tools=(ADD, NOTE), tool_choice=choice)
    assert [tool["type"] for tool in sent["tools"]] == ["custom"]
    assert sent["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in body(OLLAMA, tools=(ADD,), tool_choice=choice)
    assert "tools" not in body(OPENAI, tools=(ADD,), tool_choice=ToolChoice("none"))


def test_a_server_that_cannot_force_a_call_is_told_in_words() -> None:
    sent = body(OLLAMA, said("Be brief.", role="system"), said("Hi"), tools=(ADD,), tool_choice=ToolChoice("required"))
    assert sent["messages"][0]["content"].startswith("Be brief.\n\n")
    assert "calling a tool" in sent["messages"][0]["content"]
    assert len(sent["messages"]) == 2


# --- output -----------------------------------------------------------------------------------------------------------
def test_a_schema() -> None:
    schema = {"name": "thing", "schema": SCHEMA, "strict": True}
    assert body(VLLM, output=JSON)["response_format"] == {"type": "json_schema", "json_schema": schema}
    # With tools, only some servers keep the two apart.
    assert "response_format" in body(OPENAI, output=JSON, tools=(ADD,))
    assert "response_format" not in body(VLLM, output=JSON, tools=(ADD,))


def test_a_schema_for_a_server_that_knows_none_is_in_the_prompt() -> None:
    sent = body(DEEPSEEK, output=JSON)
    assert sent["response_format"] == {"type": "json_object"}
    assert sent["messages"][0]["role"] == "system"
    assert '"integer"' in sent["messages"][0]["content"]
    sent = body(GENERIC, output=OutputFormat("json_object"))
    assert "response_format" not in sent
    assert "JSON object" in sent["messages"][0]["content"]


@pytest.mark.parametrize(
    ("profile", "asked", "kept"),
    [
        (GENERIC, {}, True),
        (GENERIC, {"tools": (ADD,)}, False),
        (GENERIC, {"tools": (ADD,), "tool_choice": ToolChoice("none")}, True),
        (GENERIC, {"output": JSON}, False),
        (OPENAI, {"tools": (ADD, NOTE), "tool_choice": ToolChoice("required", parallel=False), "output": JSON}, True),
        (OPENAI, {"tool_choice": ToolChoice("required")}, False),
        (VLLM, {"output": JSON}, True),
        (VLLM, {"output": JSON, "tools": (ADD,)}, False),
        (DEEPSEEK, {"output": OutputFormat("json_object")}, True),
        (DEEPSEEK, {"output": JSON}, False),
    ],
)
def test_what_servers_keep_to_by_themselves(profile: Profile, asked: dict[str, Any], kept: bool) -> None:
    assert profile.keeps(asking(**asked)) is kept


# --- sampling ---------------------------------------------------------------------------------------------------------
def test_sampling_in_each_servers_words() -> None:
    sampling = Sampling(
        temperature=1.0,
        top_p=0.5,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        seed=7,
        stop=("a",),
        logit_bias={5: -1.0},
        max_tokens=9,
        top_logprobs=2,
    )
    sent = body(OPENAI, sampling=sampling, effort="low", affinity="key")
    assert {name: sent[name] for name in sent if name not in {"model", "messages", "stream", "stream_options"}} == {
        "top_p": 0.5,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "seed": 7,
        "stop": ["a"],
        "logit_bias": {"5": -1.0},
        "max_completion_tokens": 9,
        "logprobs": True,
        "top_logprobs": 2,
        "reasoning_effort": "low",
        "prompt_cache_key": "key",
    }
    plain = msgspec.structs.replace(sampling, logit_bias={}, top_logprobs=None)
    sent = body(MISTRAL, sampling=plain, effort="low", affinity="key")
    assert (sent["temperature"], sent["max_tokens"], sent["random_seed"]) == (1.0, 9, 7)
    assert not {"reasoning_effort", "prompt_cache_key", "seed"} & set(sent)


@pytest.mark.parametrize("sampling", [Sampling(top_logprobs=0), Sampling(logit_bias={1: 2.0})])
def test_sampling_that_a_server_does_not_know(sampling: Sampling) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body(GROQ, sampling=sampling)
    assert caught.value.code == "unsupported_value"


def test_unknown_fields_are_passed_on_but_never_over_ours() -> None:
    extra = {"top_k": 4, "model": "theirs", "messages": [], "stream": False}
    sent = body(GENERIC, extra=extra)
    assert (sent["top_k"], sent["model"], sent["stream"]) == (4, "up-model", True)
    assert sent["messages"]


# --- a client's own words ---------------------------------------------------------------------------------------------
GIVEN: dict[str, Any] = {
    "model": "theirs",
    "messages": [{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}],
    "store": True,
    "metadata": {"a": "b"},
    "temperature": None,
    "max_completion_tokens": 5,
    "top_k": 3,
}


def test_what_is_for_us_is_not_sent_on() -> None:
    given = {**GIVEN, "stream": True, "stream_options": {"include_obfuscation": False}}
    before = msgspec.json.encode(given)
    assert passthrough_body(given, GENERIC, "up-model", streamed=True) == {
        "model": "up-model",
        "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}],
        "max_tokens": 5,
        "top_k": 3,
        "stream": True,
        "stream_options": {"include_obfuscation": False, "include_usage": True},
    }
    sent = passthrough_body(GIVEN, OPENAI, "up-model", streamed=False)
    assert sent == {
        "model": "up-model",
        "messages": GIVEN["messages"],
        "max_completion_tokens": 5,
        "top_k": 3,
    }
    assert msgspec.json.encode(given) == before, "the request is not ours to change"


def test_max_tokens_of_either_name() -> None:
    given = {"messages": [], "max_tokens": 4}
    assert passthrough_body(given, OPENAI, "m", streamed=False) == {
        "messages": [],
        "model": "m",
        "max_completion_tokens": 4,
    }
    assert passthrough_body(given, GENERIC, "m", streamed=False)["max_tokens"] == 4


@pytest.mark.parametrize(
    ("profile", "more", "can"),
    [
        (GENERIC, {"seed": 1, "logprobs": True, "logit_bias": {"1": 1}, "reasoning_effort": "low"}, True),
        (MISTRAL, {}, True),
        (MISTRAL, {"seed": 1}, False),
        (MISTRAL, {"reasoning_effort": "low"}, False),
        (MISTRAL, {"messages": [{"role": "tool", "tool_call_id": "x", "content": ""}]}, False),
        (GROQ, {"logprobs": True}, False),
        (GROQ, {"logprobs": False}, True),
        (GROQ, {"messages": [{"role": "user", "name": "ann", "content": ""}]}, False),
        (OLLAMA, {"logit_bias": {"1": 1}}, False),
    ],
)
def test_whose_words_a_server_understands(profile: Profile, more: dict[str, Any], can: bool) -> None:
    assert speaks({**GIVEN, **more}, profile) is can


def test_profiles_have_names() -> None:
    assert all(name == profile.name for name, profile in PROFILES.items())
    assert profile_named("vllm") is VLLM
    with pytest.raises(SetupError, match=r"'vlm'.*vllm"):
        profile_named("vlm")
