"""A request as another server of the same API may get it, with our state put in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from antiphon.protocol.generation import Passthrough
from antiphon.protocol.responses.request import ResponseRequest

Json = dict[str, Any]

#: What only we have, or do: state, background, compaction, the padding of events.
_OURS = frozenset(
    {
        *("previous_response_id", "conversation", "prompt", "metadata", "store", "background", "background_options"),
        *("context_management", "stream", "stream_options", "generate", "input"),
    }
)
#: Members that are there for whoever lists items, and that requests do not have, or need not.
_STORED: dict[str, tuple[str, ...]] = {
    "function_call": ("id",),
    "function_call_output": ("id",),
    "custom_tool_call": ("id",),
    "custom_tool_call_output": ("id",),
    "reasoning": ("status",),
    "local_shell_call_output": ("call_id",),
    "mcp_approval_response": ("request_id",),
}
#: Without it, reasoning would not survive from one turn to the next: the other server is to keep nothing.
_SEALED = "reasoning.encrypted_content"


def passthrough(request: ResponseRequest, items: Iterable[Json], *, only: bool) -> Passthrough:
    """The request over these items: history and input, with every reference resolved. `only`: see `Passthrough`."""
    body = {name: value for name, value in request.body.items() if name not in _OURS and value is not None}
    orders: list[Json] = []
    if isinstance(request.instructions, list):
        # Those of a prompt with messages: only answers show them as a list.
        orders = body.pop("instructions")
    shown = (sent for item in (*orders, *items) if (sent := _sent(item)) is not None)
    include = body.get("include") or []
    body["input"] = list(shown)
    body["include"] = [*include, *(() if _SEALED in include else (_SEALED,))]
    return Passthrough("responses", {**request.extra, **body}, only=only)


def _sent(item: Json) -> Json | None:
    """An item as a request has it; None if it says nothing to a server that does not know it."""
    kind = item["type"]
    if kind == "reasoning" and not item.get("encrypted_content") and not item.get("content"):
        return None
    dropped = _STORED.get(kind, ())
    if kind == "message":
        dropped = () if item["role"] == "assistant" else ("id", "status")
    sent = {name: value for name, value in item.items() if value is not None and name not in dropped}
    if kind == "message" and isinstance(sent["content"], list):
        sent["content"] = [
            {name: value for name, value in part.items() if value is not None and name != "logprobs"}
            for part in sent["content"]
        ]
    return sent
