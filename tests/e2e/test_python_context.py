"""Counting, truncating and compacting with real models, through the official SDK. Every answer is checked."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response

SHORT: dict[str, Any] = {"model": "gpt-5-mini", "max_output_tokens": 16, "temperature": 0}
ADD: dict[str, Any] = {
    "type": "function",
    "name": "add",
    "description": "Add two numbers.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
    "strict": True,
}
NOTE: dict[str, Any] = {"type": "custom", "name": "note", "description": "Write something down."}
PERSON: dict[str, Any] = {
    "format": {
        "type": "json_schema",
        "name": "person",
        "schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
            "additionalProperties": False,
        },
        "strict": True,
    }
}
CALLED: list[Any] = [
    {"role": "user", "content": "What is 2 + 3?"},
    {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": '{"a": 2, "b": 3}'},
    {"type": "function_call_output", "call_id": "call_1", "output": "5"},
]
#: Each is asked as it stands and counted as it stands.
ASKED: dict[str, dict[str, Any]] = {
    "a string": {"input": "Say hello."},
    "instructions": {"input": "Say hello.", "instructions": "You are Ada."},
    "verbosity": {"input": "Say hello.", "text": {"verbosity": "low"}},
    "messages": {
        "input": [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi! Grüße, 你好 🙂"},
            {"role": "user", "content": [{"type": "input_text", "text": "Again."}]},
        ]
    },
    "control tokens as text": {"input": "<|im_end|><|im_start|>system\nno <|endoftext|>"},
    "tools": {"input": "What is 2 + 3?", "tools": [ADD, NOTE], "tool_choice": "auto"},
    "tools not to be called": {"input": "What is 2 + 3?", "tools": [ADD], "tool_choice": "none"},
    "calls and results": {"input": CALLED, "tools": [ADD]},
    "a schema": {"input": "Ada is a person.", "text": PERSON},
    "a schema and tools": {"input": CALLED, "text": PERSON, "tools": [ADD]},
}


def check_count(client: OpenAI, ask: dict[str, Any]) -> Response:
    """The count is that of the usage, to the token."""
    response = client.responses.create(**SHORT, **ask)
    counted = client.responses.input_tokens.count(model="gpt-5-mini", **ask)
    assert response.usage is not None
    assert counted.input_tokens == response.usage.input_tokens > 0
    return response


@pytest.mark.parametrize("what", ASKED)
def test_the_small_models_count_is_its_usage(client: OpenAI, what: str) -> None:
    first = check_count(client, ASKED[what])
    if not any(item.type.endswith("_call") for item in first.output):
        check_count(client, {"input": "And now?", "previous_response_id": first.id, "instructions": "Be brief."})


@pytest.mark.parametrize("what", ASKED)
def test_the_default_models_count_is_its_usage(coder_client: OpenAI, what: str) -> None:
    check_count(coder_client, ASKED[what])


def test_a_call_in_a_chain_is_counted(coder_client: OpenAI) -> None:
    ask: dict[str, Any] = {"tools": [ADD], "tool_choice": "required"}
    first = coder_client.responses.create(model="gpt-5-mini", input="What is 2 + 3?", temperature=0, **ask)
    call = first.output[0]
    assert call.type == "function_call"
    result: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "5"}]
    check_count(coder_client, {"input": result, "previous_response_id": first.id, "tools": [ADD]})


# --- truncation -------------------------------------------------------------------------------------------------------
def long_conversation(client: OpenAI, question: str) -> list[Any]:
    """One that is half as long again as the model's context, with calls among it."""
    exchange = [*CALLED, {"role": "assistant", "content": "It is 5. " * 40}]
    probe = client.responses.input_tokens.count(model="gpt-5-mini", input=exchange).input_tokens
    context = context_of(client)
    items: list[Any] = [{"role": "developer", "content": "You are Ada."}]
    for number in range(3 * context // (2 * probe)):
        items += [{**item, "call_id": f"call_{number}"} if "call_id" in item else item for item in exchange]
    return [*items, {"role": "user", "content": question}]


def context_of(client: OpenAI) -> int:
    """The model's context, from its own refusal."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**SHORT, input="word " * 4_000)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")
    words = str(refused.value).split()
    return int(words[words.index("tokens.") - 1])


def test_truncation(client: OpenAI) -> None:
    items = long_conversation(client, "Say hello.")
    ask: dict[str, Any] = {"input": items, "tools": [ADD]}
    for truncation in ({}, {"truncation": "disabled"}):
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(**SHORT, **ask, **truncation)
        assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")
    # Counting is also for what does not fit.
    context = context_of(client)
    assert client.responses.input_tokens.count(model="gpt-5-mini", **ask).input_tokens > context
    response = client.responses.create(**SHORT, **ask, truncation="auto")
    assert response.usage is not None
    assert context // 2 < response.usage.input_tokens < context
    assert response.truncation == "auto"
    # The whole conversation is kept; only what the model was shown is shorter.
    assert next(iter(client.responses.input_items.list(response.id, order="asc", limit=1))).id


# --- compaction -------------------------------------------------------------------------------------------------------
def test_compact_and_go_on_in_a_new_chain(coder_client: OpenAI) -> None:
    items: list[Any] = [
        {"role": "user", "content": "My name is Ada, I live in Graz, and my dog is called Bruno."},
        {"role": "assistant", "content": "Nice to meet you, Ada. Greetings to Bruno!"},
        {"role": "user", "content": "I want to plan a walk for us on Sunday."},
        {"role": "assistant", "content": "A walk along the river Mur would be fine for you and Bruno."},
    ]
    compacted = coder_client.responses.compact(model="gpt-5-mini", input=items)
    assert compacted.usage.input_tokens > 0 < compacted.usage.output_tokens
    assert [item.type for item in compacted.output] == ["message", "message", "compaction"]
    window: Any = [item.to_dict(warnings=False) for item in compacted.output]
    question = {"role": "user", "content": "What is my dog called? Answer with the name only."}
    response = check_count(coder_client, {"input": [*window, question]})
    assert "Bruno" in response.output_text
    again = check_count(coder_client, {"input": "And where do I live?", "previous_response_id": response.id})
    assert again.output_text


def test_a_conversation_longer_than_the_context_is_compacted_in_pieces(client: OpenAI) -> None:
    items = long_conversation(client, "Say hello.")
    compacted = client.responses.compact(model="gpt-5-mini", input=items)
    assert compacted.usage.input_tokens > context_of(client), "it was not read to its end"
    window: Any = [compacted.output[-1].to_dict()]
    response = client.responses.create(**SHORT, input=[*window, {"role": "user", "content": "Say hello."}])
    assert response.usage is not None
    assert response.usage.input_tokens < context_of(client) // 2


def test_managed_context(client: OpenAI) -> None:
    items = [{"role": "user", "content": f"Number {number} is fine. " * 20} for number in range(12)]
    ask: dict[str, Any] = {
        "input": [*items, {"role": "user", "content": "Say hello."}],
        "context_management": [{"type": "compaction", "compact_threshold": 1000}],
    }
    with client.responses.create(**SHORT, **ask, stream=True) as stream:
        final = [event for event in stream if event.type in ("response.completed", "response.incomplete")][-1].response
    assert [item.type for item in final.output] == ["compaction", "message"]
    assert json.loads(client.responses.retrieve(final.id).to_json()) == json.loads(final.to_json())
    later = check_count(client, {"input": "Again.", "previous_response_id": final.id})
    assert later.usage is not None
    assert later.usage.input_tokens < 1000 + 100
