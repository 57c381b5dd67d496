"""The objects of the Responses API, built field by field as both published specifications require them.

Every function makes new objects: an event keeps the state it was made in, however the response goes on.
"""

from __future__ import annotations

from typing import Any, Final

from antiphon.protocol.generation import Usage

Json = dict[str, Any]

#: Codes of a failed response (published specification, `ResponseErrorCode`: closed).
ERROR_CODES: Final = frozenset(
    {
        *("server_error", "rate_limit_exceeded", "invalid_prompt", "data_residency_mismatch", "bio_policy"),
        *("vector_store_timeout", "invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url"),
        *("image_too_large", "image_too_small", "image_parse_error", "image_content_policy_violation"),
        *("invalid_image_mode", "image_file_too_large", "unsupported_image_media_type", "empty_image_file"),
        *("failed_to_download_image", "image_file_not_found"),
    }
)


def text_part(text: str, logprobs: list[Json]) -> Json:
    """A content part of visible text (schema `OutputTextContent`)."""
    return {"type": "output_text", "annotations": [], "logprobs": logprobs, "text": text}


def refusal_part(text: str) -> Json:
    """A content part that refuses (schema `RefusalContent`)."""
    return {"type": "refusal", "refusal": text}


def reasoning_part(text: str) -> Json:
    """A content part of a reasoning item (schema `ReasoningTextContent`)."""
    return {"type": "reasoning_text", "text": text}


def message(item_id: str, status: str, content: list[Json]) -> Json:
    """The assistant's message (schema `OutputMessage`)."""
    return {"id": item_id, "type": "message", "status": status, "content": content, "role": "assistant"}


def reasoning(item_id: str, status: str, content: list[Json], encrypted_content: str | None = None) -> Json:
    """A reasoning item (schema `ReasoningItem`)."""
    sealed = {} if encrypted_content is None else {"encrypted_content": encrypted_content}
    return {"id": item_id, "type": "reasoning", "status": status, "summary": [], "content": content, **sealed}


def function_call(item_id: str, status: str, call_id: str, name: str, arguments: str, namespace: str | None) -> Json:
    """A call of a function (schema `FunctionToolCall`). `namespace`: that of the function, if it has one."""
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": call_id,
        "name": name,
        **({} if namespace is None else {"namespace": namespace}),
    }


def custom_call(item_id: str, status: str, call_id: str, name: str, text: str, namespace: str | None) -> Json:
    """A call of a custom tool (schema `CustomToolCall`). `namespace`: that of the tool, if it has one."""
    return {
        "id": item_id,
        "type": "custom_tool_call",
        "status": status,
        "input": text,
        "call_id": call_id,
        "name": name,
        **({} if namespace is None else {"namespace": namespace}),
    }


def usage(counts: Usage) -> Json:
    """Token counts (schema `ResponseUsage`)."""
    return {
        "input_tokens": counts.input_tokens,
        "input_tokens_details": {"cached_tokens": counts.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": counts.output_tokens,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning_tokens},
        "total_tokens": counts.input_tokens + counts.output_tokens,
    }
