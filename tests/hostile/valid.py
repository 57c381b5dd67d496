"""Valid requests that touch everything: what the mutations start from."""

from __future__ import annotations

from typing import Any

from support import item_samples

Body = dict[str, Any]

SCHEMA: Body = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["a", "b"]}, "days": {"type": ["integer", "null"]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}

RESPONSE: Body = {
    "model": "gpt-5-mini",
    "instructions": "be brief",
    "input": [
        {"role": "user", "content": "hello"},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}],
            "status": "completed",
        },
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "phase": "commentary",
            "content": [
                {"type": "output_text", "text": "hi", "annotations": [], "logprobs": []},
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "s"}],
            "content": [{"type": "reasoning_text", "text": "t"}],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "weather",
            "arguments": '{"city":"a"}',
            "status": "completed",
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "rain", "status": "completed"},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "shell", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "x"}]},
        {"role": "developer", "content": "now answer"},
        {"role": "user", "content": "go on"},
    ],
    "tools": [
        {"type": "function", "name": "weather", "description": "d", "parameters": SCHEMA, "strict": True},
        {"type": "custom", "name": "shell", "description": "d", "format": {"type": "text"}},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "weather"}, {"type": "custom", "name": "shell"}],
    },
    "parallel_tool_calls": False,
    "text": {
        "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True, "description": "d"},
        "verbosity": "low",
    },
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["message.output_text.logprobs"],
    "metadata": {"a": "b"},
    "temperature": 0.5,
    "top_p": 0.9,
    "top_logprobs": 2,
    "max_output_tokens": 100,
    "max_tool_calls": 3,
    "truncation": "auto",
    "store": False,
    "stream": False,
    "service_tier": "auto",
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "in_memory",
    "background": False,
}

SMALL_RESPONSE: Body = {
    "model": "gpt-5-mini",
    "input": "hello",
    "tools": [{"type": "function", "name": "f"}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {"format": {"type": "json_object"}},
    "stream": True,
    "stream_options": {"include_obfuscation": True},
    "store": False,
}

STORED_RESPONSE: Body = {
    "model": "gpt-5-mini",
    "input": [{"type": "message", "id": "msg_7", "role": "user", "content": "hello"}],
    "metadata": {"a": "b"},
    "user": "u",
    "store": True,
}

#: Items and tools of every type, beside those of `RESPONSE`.
AGENT_RESPONSE: Body = {
    "model": "gpt-5-mini",
    "input": [{"role": "user", "content": "hello"}, *item_samples.HOSTED, {"role": "user", "content": "go on"}],
    "store": False,
}
AGENT_TOOLS: Body = {
    "model": "gpt-5-mini",
    "input": "hello",
    "tools": [
        {
            "type": "namespace",
            "name": "docs",
            "description": "d",
            "tools": [
                {"type": "function", "name": "look", "description": "d", "parameters": {"type": "object"}},
                {"type": "custom", "name": "note", "format": {"type": "text"}},
            ],
        },
        {
            "type": "shell",
            "environment": {"type": "local", "skills": [{"name": "p", "description": "d", "path": "/p"}]},
        },
        {"type": "local_shell"},
        {"type": "apply_patch"},
        {"type": "tool_search", "execution": "client", "description": "d", "parameters": {"type": "object"}},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "namespace", "name": "docs"}]},
    "store": False,
}

COUNT: Body = {
    "model": "gpt-5-mini",
    **{
        name: RESPONSE[name]
        for name in (
            "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "truncation",
        )
    },
}  # fmt: skip

COMPACT: Body = {
    "model": "gpt-5-mini",
    "input": RESPONSE["input"],
    "instructions": "be brief",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "in_memory",
    "service_tier": "auto",
}

MANAGED_RESPONSE: Body = {
    "model": "gpt-5-mini",
    "input": [{"role": "user", "content": "hello"}, {"type": "compaction_trigger"}],
    "context_management": [{"type": "compaction", "compact_threshold": 1000}],
    "store": False,
}

CHAT: Body = {
    "model": "gpt-5-mini",
    "messages": [
        {"role": "system", "content": "be brief", "name": "n"},
        {"role": "developer", "content": [{"type": "text", "text": "be kind"}]},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "name": "u"},
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
                {"id": "c2", "type": "custom", "custom": {"name": "shell", "input": "ls"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "y"}, {"type": "refusal", "refusal": "no"}]},
        {"role": "user", "content": "go on"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "weather", "description": "d", "parameters": SCHEMA, "strict": True},
        },
        {"type": "custom", "custom": {"name": "shell", "description": "d", "format": {"type": "text"}}},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]},
    },
    "parallel_tool_calls": True,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
    "stop": ["a", "b"],
    "logit_bias": {"50": -100},
    "logprobs": True,
    "top_logprobs": 2,
    "n": 2,
    "seed": 7,
    "temperature": 0.5,
    "top_p": 0.5,
    "frequency_penalty": 0.1,
    "presence_penalty": -0.1,
    "max_completion_tokens": 10,
    "max_tokens": 10,
    "metadata": {"a": "b"},
    "store": False,
    "stream": False,
    "user": "u",
    "verbosity": "high",
    "reasoning_effort": "low",
    "modalities": ["text"],
    "service_tier": "default",
    "prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]},
}

LEGACY_CHAT: Body = {
    "model": "gpt-5-mini",
    "messages": [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "x"},
    ],
    "functions": [{"name": "f", "description": "d", "parameters": SCHEMA}],
    "function_call": {"name": "f"},
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
}

STORED_CHAT: Body = {
    "model": "gpt-5-mini",
    "messages": [{"role": "user", "content": "one", "name": "n"}],
    "metadata": {"a": "b"},
    "store": True,
}

UPDATE: Body = {"metadata": {"a": "b"}}

RESPONSES_PATH = "/v1/responses"
COUNT_PATH = "/v1/responses/input_tokens"
COMPACT_PATH = "/v1/responses/compact"
CHAT_PATH = "/v1/chat/completions"
