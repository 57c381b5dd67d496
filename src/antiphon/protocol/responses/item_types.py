"""Every type of item: what its ids look like, what is filled in, and what of it a model that reads text is shown.

An item is stored and listed as it was sent, with the members filled in that the published schema of stored items
requires and the one of input does not. What a text model is shown of the calls of hosted tools is their text: which
tool, asked for what, answering what. Calls without text in their answer (pictures, screenshots, searches whose results
are not there) and bookkeeping between client and server (approvals, lists of tools) are not shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.protocol.generation import ToolCall, ToolResult, Turn

Json = dict[str, Any]
_TOOL_ITEMS = frozenset({"additional_tools", "tool_search_output"})
#: Outputs that some clients answer the calls of all tools with.
_ANSWERS = frozenset({"function_call_output", "custom_tool_call_output"})
Shown = Callable[[Json], list[Turn]]


@dataclass(frozen=True, slots=True)
class ItemType:
    """`prefix`: of ids made here. `defaults`: members filled in where they are missing or null; `inner`: those of a
    member that is an object. `shown`: the turns of an item that stands for itself; `call` and `output`: those of one
    that needs its counterpart (same `call_id`)."""

    prefix: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    inner: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shown: Shown | None = None
    call: Shown | None = None
    output: Shown | None = None


def of(item_type: str) -> ItemType:
    """What is known of a type."""
    return TYPES.get(item_type, _NEWER)


def full(item: Json, item_type: str) -> Json:
    """The item with what its type fills in."""
    filled = {key: value for key, value in item.items() if value is not None}
    for name, value in of(item_type).defaults.items():
        filled.setdefault(name, value(filled) if callable(value) else value)
    for name, members in of(item_type).inner.items():
        filled[name] = {**members, **filled[name]}
    if item_type in _TOOL_ITEMS:
        filled["tools"] = [_stored_tool(tool) for tool in filled["tools"]]
    return filled


def full_tool(tool: Json) -> Json:
    """A tool with the members that the published output schemas require."""
    if tool["type"] == "namespace":
        return {"description": "", **tool}
    if tool["type"] != "function":
        return tool
    # `strict` is true unless it is switched off (published documentation of function tools).
    return {"description": None, "parameters": None, **tool, "strict": tool.get("strict") is not False}


def _stored_tool(tool: Json) -> Json:
    return tool if tool["type"] != "function" else {**full_tool(tool), "strict": tool.get("strict") is True}


def paired(items: Iterable[Json]) -> frozenset[str]:
    """The `call_id`s of hosted calls that have their output among `items`."""
    calls: set[str] = set()
    outputs: set[str] = set()
    for item in items:
        known = TYPES.get(item["type"])
        if known is not None and isinstance(item.get("call_id"), str):
            if known.call is not None:
                calls.add(item["call_id"])
            if known.output is not None or item["type"] in _ANSWERS:
                outputs.add(item["call_id"])
    return frozenset(calls & outputs)


def hosted_turns(item: Json, pairs: frozenset[str]) -> list[Turn]:
    """What a model is shown of an item that is no message, function, custom tool or reasoning."""
    known = TYPES.get(item["type"])
    if known is None:  # another server made it, which is newer than this one
        return []
    show = known.shown or ((known.call or known.output) if item.get("call_id") in pairs else None)
    try:
        return show(item) if show is not None else []
    except (KeyError, TypeError, AttributeError):
        return []  # the same, and it left out what its type must have


def added_tools(items: Iterable[Json]) -> list[Json]:
    """The tools that items make available beside those of the request."""
    return [tool for item in items if item["type"] in _TOOL_ITEMS for tool in item["tools"]]


# --- what is shown ----------------------------------------------------------------------------------------------------
def _exchange(item: Json, name: str, arguments: Json, output: str) -> list[Turn]:
    """A call and its answer, where both stand in one item."""
    if not output:
        return []
    call_id = item["id"]
    return [ToolCall(call_id, name, json.dumps(arguments, ensure_ascii=False)), ToolResult(call_id, output)]


def _call(item: Json, name: str, arguments: Json) -> list[Turn]:
    return [ToolCall(item["call_id"], name, json.dumps(arguments, ensure_ascii=False))]


def _file_search(item: Json) -> list[Turn]:
    found = [
        f"[{result.get('filename') or result.get('file_id') or 'file'}]\n{result['text']}"
        for result in item.get("results") or []
        if result.get("text")
    ]
    return _exchange(item, "file_search", {"queries": item["queries"]}, "\n\n".join(found))


def _code_interpreter(item: Json) -> list[Turn]:
    logs = [output["logs"] for output in item.get("outputs") or [] if output["type"] == "logs"]
    return _exchange(item, "code_interpreter", {"code": item.get("code") or ""}, "\n".join(logs))


def _mcp(item: Json) -> list[Turn]:
    error = item.get("error")
    output = item.get("output") or (f"Error: {json.dumps(error, ensure_ascii=False)}" if error else "")
    call_id = item["id"]
    if not output:
        return []
    return [ToolCall(call_id, item["name"], item["arguments"]), ToolResult(call_id, output)]


def _shell_output(item: Json) -> list[Turn]:
    return [ToolResult(item["call_id"], "\n".join(_shell_text(part) for part in item["output"]))]


def _shell_text(part: Json) -> str:
    outcome = part["outcome"]
    end = "timed out" if outcome["type"] == "timeout" else f"exit code {outcome.get('exit_code')}"
    return "\n".join(text for text in (part["stdout"], part["stderr"], f"({end})") if text)


def _said(member: str) -> Shown:
    return lambda item: [ToolResult(item["call_id"], item.get(member) or item.get("status") or "")]


def _command(action: Json) -> Json:
    """A local shell's action as it was asked for."""
    return {name: action[name] for name in ("command", "working_directory", "timeout_ms") if name in action}


def _empty(_item: Json) -> list[Json]:
    return []


def _found(item: Json) -> list[Turn]:
    names = [str(tool.get("name") or tool["type"]) for tool in item["tools"]]
    text = f"These tools can be called now: {', '.join(names)}." if names else "There is no such tool."
    return [ToolResult(item["call_id"], text)]


_DONE = {"status": "completed"}

#: Another server's, which is newer than this one.
_NEWER = ItemType("item_")
TYPES: dict[str, ItemType] = {
    "message": ItemType("msg_", _DONE),
    "function_call": ItemType("fc_", _DONE),
    "function_call_output": ItemType("fco_", _DONE),
    "custom_tool_call": ItemType("ctc_", _DONE),
    "custom_tool_call_output": ItemType("ctco_", _DONE),
    "reasoning": ItemType("rs_", {"summary": _empty}),
    # What it holds is shown in its place (`protocol.responses.compaction`).
    "compaction": ItemType("cmp_"),
    "file_search_call": ItemType("fs_", _DONE, shown=_file_search),
    "web_search_call": ItemType("ws_", {**_DONE, "action": lambda item: {"type": "search"}}),
    "computer_call": ItemType("cu_", {**_DONE, "pending_safety_checks": _empty}),
    "computer_call_output": ItemType("cuo_", _DONE),
    "image_generation_call": ItemType("ig_", {**_DONE, "result": None}),
    "code_interpreter_call": ItemType("ci_", {**_DONE, "code": None, "outputs": None}, shown=_code_interpreter),
    "local_shell_call": ItemType(
        "lsh_", _DONE, {"action": {"env": {}}}, call=lambda item: _call(item, "local_shell", _command(item["action"]))
    ),
    # Input has no `call_id`: its `id` is that of the call (published specification).
    "local_shell_call_output": ItemType("lsho_", {"call_id": lambda item: item["id"]}, output=_said("output")),
    "shell_call": ItemType(
        "sh_",
        {**_DONE, "environment": None},
        {"action": {"timeout_ms": None, "max_output_length": None}},
        call=lambda item: _call(item, "shell", {"commands": item["action"]["commands"]}),
    ),
    "shell_call_output": ItemType("sho_", {**_DONE, "max_output_length": None}, output=_shell_output),
    "apply_patch_call": ItemType(
        "apc_", _DONE, call=lambda item: _call(item, "apply_patch", {"operation": item["operation"]})
    ),
    "apply_patch_call_output": ItemType("apco_", _DONE, output=_said("output")),
    "mcp_list_tools": ItemType("mcpl_"),
    "mcp_approval_request": ItemType("mcpr_"),
    "mcp_approval_response": ItemType("mcpa_", {"request_id": lambda item: item["approval_request_id"]}),
    "mcp_call": ItemType("mcp_", shown=_mcp),
    "tool_search_call": ItemType(
        "tsc_",
        {**_DONE, "call_id": None, "execution": "server"},
        call=lambda item: _call(item, "tool_search", item["arguments"]),
    ),
    "tool_search_output": ItemType("tso_", {**_DONE, "call_id": None, "execution": "server"}, output=_found),
    "additional_tools": ItemType("at_"),
    "configuration_update": ItemType("cfg_"),
    "program": ItemType("cm_", call=lambda item: _call(item, "program", {"code": item["code"]})),
    "program_output": ItemType("cmo_", _DONE, output=_said("result")),
}
