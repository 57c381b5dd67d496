"""Tools that the client runs: what of them is offered, how they are chosen, and how their calls are shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from antiphon.domain.errors import InvalidRequest
from antiphon.protocol.generation import ToolCall, ToolResult
from antiphon.protocol.responses import client_tools, items, tools
from antiphon.protocol.responses.client_tools import Form
from antiphon.protocol.responses.request import ResponseRequest, parse
from antiphon.protocol.responses.updates import applied
from antiphon.wire import schema

Json = dict[str, Any]

EXEC: Json = {"type": "function", "name": "exec", "parameters": {"type": "object", "properties": {}}}
LOOKUP: Json = {"type": "function", "name": "lookup", "parameters": {"type": "object", "properties": {}}}
DOCS: Json = {"type": "namespace", "name": "mcp__docs", "description": "d", "tools": [LOOKUP]}
SEARCH: Json = {"type": "tool_search", "execution": "client"}


def offered(*given: Json) -> tools.Offered:
    return tools.offer(given)


def names(*given: Json) -> list[str]:
    return [tool.name for tool in offered(*given).tools]


def request(**body: Any) -> ResponseRequest:
    return parse({"model": "m", "input": "hi", **body}, {})


def test_each_type_is_offered_as_a_function() -> None:
    made = offered(EXEC, DOCS, {"type": "shell"}, {"type": "local_shell"}, {"type": "apply_patch"}, SEARCH)
    assert [tool.name for tool in made.tools] == [
        *("exec", "mcp__docs__lookup", "shell", "local_shell", "apply_patch", "tool_search")
    ]
    assert made.forms["mcp__docs__lookup"] == Form("function", "lookup", "mcp__docs")
    assert "exec" not in made.forms
    assert made.places == ("tools[0]", "tools[1].tools[0]", "tools[2]", "tools[3]", "tools[4]", "tools[5]")
    assert made.refusal() is None


def test_what_the_client_describes_is_shown() -> None:
    skill = {"name": "pdf", "path": "/skills/pdf", "description": "Reads PDF files."}
    shell = offered({"type": "shell", "environment": {"type": "local", "skills": [skill]}}).tools[0]
    assert "/skills/pdf" in shell.description
    parameters = {"type": "object", "properties": {"goal": {"type": "string"}}}
    search = offered({**SEARCH, "description": "Look.", "parameters": parameters}).tools[0]
    assert (search.description, search.parameters) == ("Look.", parameters)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # A function of the client's own goes by its name, whatever else is offered under it.
        ([{"type": "shell"}, {**EXEC, "name": "shell"}], {"shell": "shell", "shell_2": "function"}),
        ([{**EXEC, "name": "mcp__docs__lookup"}, DOCS], {"mcp__docs__lookup_2": "function"}),
        ([{**DOCS, "name": "a b."}], {"a_b___lookup": "function"}),
        ([{**DOCS, "name": "mcp__docs__"}], {"mcp__docs__lookup": "function"}),
    ],
)
def test_names_are_told_apart(given: list[Json], expected: dict[str, str]) -> None:
    assert {name: form.kind for name, form in offered(*given).forms.items()} == expected


def test_long_names_are_shortened_in_one_way() -> None:
    long = client_tools.function_name("x" * 60, "y" * 60)
    assert len(long) == 64
    assert long == client_tools.function_name("x" * 60, "y" * 60) != client_tools.function_name("z" * 60, "y" * 60)


@pytest.mark.parametrize("given", [[EXEC, EXEC], [DOCS, DOCS]])
def test_two_tools_of_one_name_are_refused(given: list[Json]) -> None:
    with pytest.raises(InvalidRequest, match="twice") as caught:
        offered(*given)
    assert str(caught.value.param).startswith("tools[1]")


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "web_search", "external_web_access": True},
        {"type": "web_search_preview"},
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "image_generation"},
        {"type": "mcp", "server_label": "x"},
        {"type": "computer"},
        {"type": "shell", "environment": {"type": "container_auto"}},
    ],
)
def test_tools_that_the_server_runs_are_refused_or_left_out(tool: Json) -> None:
    made = offered(EXEC, tool)
    refusal = made.refusal()
    assert refusal is not None
    assert refusal.param == "tools[1].type"
    assert "unserved_tools" in refusal.message
    assert made.refusal(ignoring=True) is None
    assert [each.name for each in made.tools] == ["exec"]


def test_so_are_those_in_a_namespace() -> None:
    made = offered({**DOCS, "tools": [LOOKUP, {"type": "newer"}]})
    refusal = made.refusal()
    assert refusal is not None
    assert refusal.param == "tools[0].tools[1].type"
    assert [tool.name for tool in made.tools] == ["mcp__docs__lookup"]


def test_a_search_without_access_to_the_web_is_left_out() -> None:
    # As a coding agent sends it, with a member that only the older type has.
    search = {"type": "web_search", "external_web_access": False, "search_content_types": ["text", "image"]}
    assert offered(EXEC, search).refusal() is None
    checked = schema.check("CreateResponse", {"model": "m", "input": "hi", "tools": [search]})
    assert checked == (None, (), None)


def test_tools_that_are_loaded_later() -> None:
    later = {**LOOKUP, "defer_loading": True}
    assert names(SEARCH, later, {**DOCS, "tools": [later]}) == ["tool_search"]
    # The server would search: all of them are shown instead.
    assert names({"type": "tool_search"}, later) == ["lookup"]
    found = {"type": "tool_search_output", "call_id": "c", "execution": "client", "tools": [{**DOCS, "tools": [later]}]}
    asked = request(tools=[SEARCH], input=[found])
    assert [tool.name for tool in applied(asked, asked.items).offered.tools] == ["tool_search", "mcp__docs__lookup"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "shell"}, {"shell"}),
        ({"type": "apply_patch"}, {"apply_patch"}),
        ({"type": "function", "name": "exec"}, {"exec"}),
        ({"type": "function", "name": "lookup"}, {"mcp__docs__lookup"}),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "namespace", "name": "mcp__docs"}]},
         {"mcp__docs__lookup"}),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "shell"}, {"type": "web_search"}]}, {"shell"}),
    ],
)  # fmt: skip
def test_tools_are_chosen_by_the_clients_names(choice: Json, expected: set[str]) -> None:
    asked = request(tools=[EXEC, DOCS, {"type": "shell"}, {"type": "apply_patch"}], tool_choice=choice)
    assert asked.tool_choice.names == expected


def test_a_tool_that_is_left_out_cannot_be_forced() -> None:
    asked = request(tools=[EXEC, {"type": "web_search"}], tool_choice={"type": "web_search_preview"})
    refusal = asked.offered.refusal(ignoring=True)
    assert refusal is not None
    assert refusal.param == "tool_choice.type"
    only = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}
    assert request(tools=[EXEC, {"type": "web_search"}], tool_choice=only).tool_choice.mode == "none"


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("shell", '{"commands": ["ls"]}', {"commands": ["ls"], "timeout_ms": None, "max_output_length": None}),
        ("shell", '{"commands": "ls"}', None),
        ("shell", '{"commands": [1]}', None),
        ("local_shell", '{"command": ["ls"], "timeout_ms": true, "working_directory": 4}',
         {"type": "exec", "command": ["ls"], "env": {}, "timeout_ms": None, "working_directory": None, "user": None}),
        ("apply_patch", '{"operation": {"type": "delete_file", "path": "a", "diff": "x"}}',
         {"type": "delete_file", "path": "a"}),
        ("apply_patch", '{"operation": {"type": "update_file", "path": "a"}}', None),
        ("apply_patch", '{"operation": []}', None),
        ("tool_search", '{"anything": 1}', {"anything": 1}),
        ("tool_search", "[]", None),
        ("tool_search", "{", None),
        ("shell", "[" * 100_000, None),
    ],
)  # fmt: skip
def test_arguments_are_read_or_refused(kind: str, text: str, said: Json | None) -> None:
    assert client_tools.arguments_of(kind, text) == said


#: What clients send back: a call as it was shown to them, and its output.
PAIRS: list[tuple[Json, Json, str, Json]] = [
    ({"type": "function_call", "call_id": "c", "namespace": "mcp__docs", "name": "lookup", "arguments": "{}"},
     {"type": "function_call_output", "call_id": "c", "output": "done"}, "mcp__docs__lookup", {}),
    ({"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}, "id": None, "status": None},
     {"type": "shell_call_output", "call_id": "c",
      "output": [{"stdout": "done", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]},
     "shell", {"commands": ["ls"]}),
    ({"type": "local_shell_call", "call_id": "c", "action": {"type": "exec", "command": ["ls"]}},
     {"type": "local_shell_call_output", "id": "c", "output": "done"}, "local_shell", {"command": ["ls"]}),
    ({"type": "local_shell_call", "id": None, "call_id": "c", "action": {"type": "exec", "command": ["ls"], "env": {}}},
     {"type": "local_shell_call_output", "call_id": "c", "output": "done"}, "local_shell", {"command": ["ls"]}),
    ({"type": "local_shell_call", "call_id": "c", "action": {"type": "exec", "command": ["ls"], "env": {}}},
     {"type": "function_call_output", "call_id": "c", "output": "done"}, "local_shell", {"command": ["ls"]}),
    ({"type": "apply_patch_call", "call_id": "c", "operation": {"type": "delete_file", "path": "a"}},
     {"type": "apply_patch_call_output", "call_id": "c", "status": "completed", "output": "done"},
     "apply_patch", {"operation": {"type": "delete_file", "path": "a"}}),
    ({"type": "tool_search_call", "call_id": "c", "execution": "client", "arguments": {"query": "x"}},
     {"type": "tool_search_output", "call_id": "c", "execution": "client", "tools": [LOOKUP]},
     "tool_search", {"query": "x"}),
]  # fmt: skip


@pytest.mark.parametrize(("call", "output", "name", "arguments"), PAIRS)
def test_what_was_called_is_shown_as_it_was_offered(call: Json, output: Json, name: str, arguments: Json) -> None:
    kept = items.normalize_input([call, output])
    shown = items.turns(kept)
    items.check_calls(shown)
    first, second = shown
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolResult)
    assert (first.name, json.loads(first.arguments)) == (name, arguments)
    assert second.output
