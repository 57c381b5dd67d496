"""One item of each type that clients may send, as small as its input schema allows, beside messages and functions."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

FUNCTION: Json = {"type": "function", "name": "later", "parameters": {"type": "object", "properties": {}}}

HOSTED: list[Json] = [
    {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["cat"],
     "results": [{"file_id": "file_1", "filename": "cats.txt", "score": 0.5, "text": "Cats sleep."}]},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "cats"}},
    {"type": "computer_call", "id": "cu_1", "call_id": "call_cu", "status": "completed", "pending_safety_checks": [],
     "action": {"type": "screenshot"}},
    {"type": "computer_call_output", "call_id": "call_cu",
     "output": {"type": "computer_screenshot", "image_url": "data:image/png;base64,AA=="}},
    {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AA=="},
    {"type": "image_generation_call", "id": "ig_2", "status": "failed"},
    {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "container_id": "cntr_1",
     "code": "print(6 * 7)", "outputs": [{"type": "logs", "logs": "42\n"}]},
    {"type": "code_interpreter_call", "id": "ci_2", "status": "incomplete", "container_id": "cntr_1"},
    {"type": "local_shell_call", "id": "lsh_1", "call_id": "call_lsh", "status": "completed",
     "action": {"type": "exec", "command": ["ls"], "env": {}}},
    {"type": "local_shell_call_output", "id": "call_lsh", "output": '{"stdout": "a.txt"}'},
    {"type": "shell_call", "call_id": "call_sh", "action": {"commands": ["pwd"]}},
    {"type": "shell_call_output", "call_id": "call_sh",
     "output": [{"stdout": "/home", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]},
    {"type": "apply_patch_call", "call_id": "call_ap", "status": "completed",
     "operation": {"type": "delete_file", "path": "a.txt"}},
    {"type": "apply_patch_call_output", "call_id": "call_ap", "status": "completed", "output": "Deleted a.txt"},
    {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "tools": [{"name": "t", "input_schema": {}}]},
    {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "s", "name": "t", "arguments": "{}"},
    {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
    {"type": "mcp_call", "id": "mcp_1", "server_label": "s", "name": "t", "arguments": "{}", "output": "Done by t"},
    {"type": "tool_search_call", "arguments": {"query": "x"}},
    {"type": "tool_search_output", "tools": [FUNCTION]},
    {"type": "additional_tools", "role": "developer", "tools": [{"type": "custom", "name": "note"}]},
    {"type": "configuration_update", "reasoning": {"effort": "low"}},
    {"type": "program", "id": "cm_1", "call_id": "call_cm", "code": "await t()", "fingerprint": "f"},
    {"type": "program_output", "id": "cmo_1", "call_id": "call_cm", "result": "Program ran", "status": "completed"},
]  # fmt: skip
