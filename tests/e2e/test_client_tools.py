"""Tools that the client runs, over a real socket with the official SDK: offered, called, streamed and answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from antiphon.engines.scripted import ScriptedEngine
from antiphon.protocol.generation import CallArguments, CallStart, Delta, Finish, Generation, TextDelta, ToolCall, Usage
from support.checking import Answers
from support.serving import Serving, serving

Json = dict[str, Any]

ASK: Json = {"model": "scripted", "input": "hi"}
DONE = Finish("stop", Usage(input_tokens=5, output_tokens=4))
EXEC: Json = {"type": "function", "name": "exec", "strict": False, "parameters": {"type": "object", "properties": {}}}
LOOKUP: Json = {**EXEC, "name": "lookup"}
NOTE: Json = {"type": "custom", "name": "note"}
DOCS: Json = {"type": "namespace", "name": "mcp__docs", "description": "Docs.", "tools": [LOOKUP, NOTE]}
TOOLS: list[Any] = [
    *(EXEC, DOCS, {"type": "shell"}, {"type": "local_shell"}, {"type": "apply_patch"}),
    {"type": "tool_search", "execution": "client"},
]
#: What the model calls, and what the client is shown of it.
CALLS: list[tuple[str, Json, Json]] = [
    ("mcp__docs__lookup", {"q": "x"}, {"type": "function_call", "namespace": "mcp__docs", "name": "lookup"}),
    ("shell", {"commands": ["ls", "pwd"], "timeout_ms": 5},
     {"type": "shell_call", "action": {"commands": ["ls", "pwd"], "timeout_ms": 5, "max_output_length": None}}),
    ("local_shell", {"command": ["ls"], "working_directory": "/", "timeout_ms": None}, {"type": "local_shell_call"}),
    ("apply_patch", {"operation": {"type": "create_file", "path": "a", "diff": "+x"}},
     {"type": "apply_patch_call", "operation": {"type": "create_file", "path": "a", "diff": "+x"}}),
    ("tool_search", {"query": "mail"}, {"type": "tool_search_call", "execution": "client"}),
]  # fmt: skip
CALLED = pytest.mark.parametrize(("name", "arguments", "shown"), CALLS, ids=[name for name, *_ in CALLS])


class Stage:
    """Servers whose engine says whatever `says` holds, and remembers what it was asked."""

    def __init__(self) -> None:
        self.says: list[Delta] = [TextDelta("Yes."), DONE]
        self.engine = ScriptedEngine(lambda _: self.says, admit=self._admit)
        self.asked: list[Generation] = []

    def _admit(self, generation: Generation) -> None:
        self.asked.append(generation)

    def calls(self, name: str, arguments: Any, reason: Any = "tool_calls") -> None:
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        half = len(text) // 2
        start = CallStart(name, "call_1", "custom" if name.endswith("note") else "function")
        self.says = [start, CallArguments(text[:half]), CallArguments(text[half:]), Finish(reason, DONE.usage)]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Serving, Serving]]:
    stage = Stage()
    with (
        serving(stage.engine, tmp_path_factory.mktemp("refusing")) as refusing,
        serving(stage.engine, tmp_path_factory.mktemp("ignoring"), unserved_tools="ignore") as ignoring,
    ):
        yield stage, refusing, ignoring


@pytest.fixture
def stage(places: tuple[Stage, Serving, Serving]) -> Iterator[Stage]:
    stage = places[0]
    yield stage
    stage.says, stage.asked = [TextDelta("Yes."), DONE], []


def checked(server: Serving) -> Iterator[OpenAI]:
    answers = Answers()
    with answers.client(server) as client:
        yield client
    answers.check()


@pytest.fixture
def client(places: tuple[Stage, Serving, Serving]) -> Iterator[OpenAI]:
    yield from checked(places[1])


@pytest.fixture
def ignoring(places: tuple[Stage, Serving, Serving]) -> Iterator[OpenAI]:
    yield from checked(places[2])


def holds(item: Any, shown: Json) -> bool:
    body = item.model_dump()
    return all(body[name] == value for name, value in shown.items())


@CALLED
def test_calls_come_as_the_items_of_their_type(
    stage: Stage, client: OpenAI, name: str, arguments: Json, shown: Json
) -> None:
    stage.calls(name, arguments)
    response = client.responses.create(**ASK, tools=TOOLS)
    (item,) = response.output
    assert holds(item, shown)
    assert item.status == "completed"  # type: ignore[union-attr]
    assert item.call_id == "call_1"  # type: ignore[union-attr]
    assert name in {tool.name for tool in stage.asked[0].tools}


@CALLED
def test_streams_end_with_the_same_item(stage: Stage, client: OpenAI, name: str, arguments: Json, shown: Json) -> None:
    stage.calls(name, arguments)
    events = list(client.responses.create(**ASK, tools=TOOLS, stream=True))
    (done,) = [event for event in events if event.type == "response.output_item.done"]
    assert holds(done.item, shown)
    assert events[-1].type == "response.completed"
    commands = [event.command for event in events if event.type == "response.shell_call_command.done"]
    assert commands == (arguments["commands"] if name == "shell" else [])


@CALLED
def test_what_is_called_is_taken_back_with_its_output(
    stage: Stage, client: OpenAI, name: str, arguments: Json, shown: Json
) -> None:
    stage.calls(name, arguments)
    first = client.responses.create(**ASK, tools=TOOLS)
    outputs: dict[str, Json] = {
        "function_call": {"type": "function_call_output", "call_id": "call_1", "output": "done"},
        "shell_call": {"type": "shell_call_output", "call_id": "call_1", "output": [
            {"stdout": "done", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]},
        "local_shell_call": {"type": "local_shell_call_output", "id": "call_1", "output": "done"},
        "apply_patch_call": {"type": "apply_patch_call_output", "call_id": "call_1", "status": "completed"},
        "tool_search_call": {"type": "tool_search_output", "call_id": "call_1", "execution": "client",
                             "tools": [{**EXEC, "name": "mail"}]},
    }  # fmt: skip
    output = outputs[shown["type"]]
    stage.says = [TextDelta("Done."), DONE]
    bare = [{key: value for key, value in item.model_dump().items() if key != "id"} for item in first.output]
    for given in ([*(item.model_dump() for item in first.output), output], [*bare, output]):
        second = client.responses.create(model="scripted", input=["hi", *given][1:], tools=TOOLS)
        assert second.output_text == "Done."
        call = next(turn for turn in stage.asked[-1].turns if isinstance(turn, ToolCall))
        assert call.name == name
        offered = {tool.name for tool in stage.asked[-1].tools}
        assert ("mail" in offered) == (name == "tool_search")
    chained = client.responses.create(
        model="scripted",
        input=[output],
        previous_response_id=first.id,
        tools=TOOLS,  # type: ignore[list-item]
    )
    assert chained.output_text == "Done."


def test_custom_tools_of_a_namespace(stage: Stage, client: OpenAI) -> None:
    stage.calls("mcp__docs__note", "free text")
    (item,) = client.responses.create(**ASK, tools=TOOLS).output
    assert holds(item, {"type": "custom_tool_call", "namespace": "mcp__docs", "name": "note", "input": "free text"})


@CALLED
def test_a_call_that_was_cut_off_is_no_call_to_run(
    stage: Stage, client: OpenAI, name: str, arguments: Json, shown: Json
) -> None:
    stage.calls(name, arguments, "length")
    response = client.responses.create(**ASK, tools=TOOLS)
    assert response.status == "incomplete"
    assert [item.status for item in response.output] in ([], ["incomplete"])  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["shell", "local_shell", "apply_patch"])
def test_arguments_that_fit_nothing_are_an_error(stage: Stage, client: OpenAI, name: str) -> None:
    stage.calls(name, {"commands": 5})
    with pytest.raises(openai.InternalServerError):
        client.responses.create(**ASK, tools=TOOLS)
    events = list(client.responses.create(**ASK, tools=TOOLS, stream=True))
    assert events[-1].type == "response.failed"


HOSTED: list[Any] = [
    {"type": "web_search", "external_web_access": True},
    {"type": "file_search", "vector_store_ids": ["vs_1"]},
    {"type": "mcp", "server_label": "x", "server_url": "https://example.com"},
]


@pytest.mark.parametrize("tool", HOSTED)
def test_tools_of_the_server_are_refused_unless_it_ignores_them(
    stage: Stage, client: OpenAI, ignoring: OpenAI, tool: Any
) -> None:
    with pytest.raises(openai.BadRequestError, match="unserved_tools") as caught:
        client.responses.create(**ASK, tools=[EXEC, tool])
    assert caught.value.param == "tools[1].type"
    assert ignoring.responses.create(**ASK, tools=[EXEC, tool]).output_text == "Yes."
    assert [each.name for each in stage.asked[-1].tools] == ["exec"]
    with pytest.raises(openai.BadRequestError):
        ignoring.responses.create(**ASK, tools=[tool], tool_choice="required")


#: Calls of such tools, as clients send them back: without ids, with nulls, and of actions that are not documented.
REPLAYED: list[Any] = [
    {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}},
    {"type": "web_search_call", "id": None, "status": None, "action": None},
    {"type": "web_search_call"},
    {"type": "file_search_call", "queries": ["x"]},
    {"type": "code_interpreter_call", "container_id": "c", "code": "1"},
    {"type": "image_generation_call", "result": None},
    {"type": "mcp_call", "server_label": "x", "name": "y", "arguments": "{}"},
    {"type": "mcp_list_tools", "server_label": "x", "tools": []},
    {"type": "computer_call", "call_id": "c", "action": {"type": "screenshot"}},
    {"type": "reasoning", "id": None, "content": None},
]


@pytest.mark.parametrize("item", REPLAYED)
def test_their_calls_are_taken_back(stage: Stage, client: OpenAI, item: Any) -> None:
    response = client.responses.create(model="scripted", input=[{"role": "user", "content": "hi"}, item])
    assert response.output_text == "Yes."
    listed = client.responses.input_items.list(response.id).data
    assert [each.type for each in listed] == [item["type"], "message"]


def test_what_a_coding_agent_says_of_itself_is_taken(client: OpenAI) -> None:
    response = client.responses.create(
        **ASK, tools=[EXEC], extra_body={"client_metadata": {"x-agent-installation-id": "1", "turn": {"n": 1}}}
    )
    assert response.output_text == "Yes."
