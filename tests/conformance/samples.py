"""A legal Response, stream and chat answer, for tests that break them."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]


def text_part(text: str, logprobs: list[Body] | None = None) -> Body:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def logprob(token: str) -> Body:
    return {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}


def message(text: str = "Hello", **members: Any) -> Body:
    return {
        "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text_part(text)],
    } | members  # fmt: skip


def call(arguments: str = '{"a": 1}', **members: Any) -> Body:
    return {
        "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": arguments,
        "status": "completed",
    } | members  # fmt: skip


def reasoning(**members: Any) -> Body:
    content = [{"type": "reasoning_text", "text": "Hm."}]
    summary = [{"type": "summary_text", "text": "H."}]
    return {"type": "reasoning", "id": "rs_1", "summary": summary, "content": content, "status": "completed"} | members


def usage() -> Body:
    return {
        "input_tokens": 5, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 12,
    }  # fmt: skip


def response(**members: Any) -> Body:
    """A completed Response with every member that either specification requires."""
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "completed_at": 2, "status": "completed", "error": None,
        "incomplete_details": None, "model": "m", "previous_response_id": None, "instructions": None,
        "output": [message()], "tools": [], "tool_choice": "auto", "truncation": "disabled",
        "parallel_tool_calls": True, "text": {"format": {"type": "text"}}, "top_p": 1.0, "temperature": 1.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "top_logprobs": 0, "reasoning": None, "usage": usage(),
        "max_output_tokens": None, "max_tool_calls": None, "store": True, "background": False,
        "service_tier": "default", "metadata": {}, "safety_identifier": None, "prompt_cache_key": None,
    } | members  # fmt: skip


def stream() -> list[Body]:
    """A legal stream: reasoning with a summary, a message in two deltas with logprobs, and a call."""
    begun = response(status="in_progress", output=[], usage=None, completed_at=None)
    said = message(content=[text_part("Hello", [logprob("Hel"), logprob("lo")])])
    rs, msg, fc = (
        {"item_id": item_id, "output_index": index} for index, item_id in enumerate(["rs_1", "msg_1", "fc_1"])
    )
    summed, thought, spoken = rs | {"summary_index": 0}, rs | {"content_index": 0}, msg | {"content_index": 0}
    events: list[tuple[str, Body]] = [
        ("created", {"response": begun}),
        ("in_progress", {"response": begun}),
        ("output_item.added", {"output_index": 0, "item": reasoning(status="in_progress", summary=[], content=[])}),
        ("reasoning_summary_part.added", summed | {"part": {"type": "summary_text", "text": ""}}),
        ("reasoning_summary_text.delta", summed | {"delta": "H."}),
        ("reasoning_summary_text.done", summed | {"text": "H."}),
        ("reasoning_summary_part.done", summed | {"part": reasoning()["summary"][0]}),
        ("content_part.added", thought | {"part": {"type": "reasoning_text", "text": ""}}),
        ("reasoning_text.delta", thought | {"delta": "Hm."}),
        ("reasoning_text.done", thought | {"text": "Hm."}),
        ("content_part.done", thought | {"part": reasoning()["content"][0]}),
        ("output_item.done", {"output_index": 0, "item": reasoning()}),
        ("output_item.added", {"output_index": 1, "item": message(status="in_progress", content=[])}),
        ("content_part.added", spoken | {"part": text_part("")}),
        ("output_text.delta", spoken | {"delta": "Hel", "logprobs": [logprob("Hel")]}),
        ("output_text.delta", spoken | {"delta": "lo", "logprobs": [logprob("lo")]}),
        ("output_text.done", spoken | {"text": "Hello", "logprobs": [logprob("Hel"), logprob("lo")]}),
        ("content_part.done", spoken | {"part": said["content"][0]}),
        ("output_item.done", {"output_index": 1, "item": said}),
        ("output_item.added", {"output_index": 2, "item": call("", status="in_progress")}),
        ("function_call_arguments.delta", fc | {"delta": '{"a"'}),
        ("function_call_arguments.delta", fc | {"delta": ": 1}"}),
        ("function_call_arguments.done", fc | {"arguments": '{"a": 1}', "name": "f"}),
        ("output_item.done", {"output_index": 2, "item": call()}),
        ("completed", {"response": response(output=[reasoning(), said, call()])}),
    ]
    return [
        {"type": f"response.{kind}", "sequence_number": number} | event for number, (kind, event) in enumerate(events)
    ]


def chat() -> Body:
    """A legal chat completion."""
    answer = {"role": "assistant", "content": "Hello", "refusal": None, "annotations": []}
    choice = {"index": 0, "message": answer, "logprobs": None, "finish_reason": "stop"}
    counts = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
        "usage": counts,
    }  # fmt: skip


def chunk() -> Body:
    """A legal chunk of a chat completion."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": "Hel"}, "logprobs": None, "finish_reason": None}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
