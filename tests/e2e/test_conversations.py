"""Conversations over a real socket with the official SDK: the API, and responses that take turns in them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Finish,
    Generation,
    Message,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
)
from conformance.sequence import check_sequence
from support.checking import Answers
from support.serving import Serving, other_project, serving

ASK: dict[str, Any] = {"model": "gpt-5-mini"}
TOOL: Any = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}
SAID = {"role": "user", "content": "x"}
DONE = Finish("stop", Usage(input_tokens=1, output_tokens=1))


class Director:
    """The script of the shared server: what the last user message asks for."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self._gates: list[Callable[[], object]] = []

    def __call__(self, generation: Generation) -> Sequence[Step]:
        said = [turn.text for turn in generation.turns if isinstance(turn, Message) and turn.role == "user"]
        match (said or [""])[-1]:
            case "wait":
                gate, loop = asyncio.Event(), asyncio.get_running_loop()
                self._gates.append(lambda: loop.call_soon_threadsafe(gate.set))
                self.waiting.release()
                return [TextDelta("waited"), gate, TextDelta(" long"), DONE]
            case "break":
                return [TextDelta("half"), EngineFailed("The engine broke.")]
            case "cut":
                return [TextDelta("cut"), Finish("length", Usage(input_tokens=1, output_tokens=1))]
            case "call":
                return [CallStart("call_1", "look"), CallArguments("{}"), DONE]
            case text:
                return [TextDelta(f"echo {text}"), DONE]

    def until_waiting(self) -> None:
        """Until a response has come to its gate."""
        assert self.waiting.acquire(timeout=30)

    def open(self) -> None:
        """Let all go on, and forget them."""
        while self.waiting.acquire(blocking=False):
            pass
        for opening in self._gates:
            opening()
        self._gates.clear()


director = Director()
engine = ScriptedEngine(director)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(engine, tmp_path_factory.mktemp("conversations")) as served:
        yield served


@pytest.fixture
def client(served: Serving, answers: Answers) -> Iterator[OpenAI]:
    """The official SDK. Every answer is checked against the published specification."""
    with httpx2.Client(transport=answers.sync(), timeout=60) as http:
        yield served.client(http_client=http)
        director.open()


def said(client: OpenAI, conversation: str) -> list[str]:
    """All that stands in a conversation, in order."""
    shown = []
    for item in client.conversations.items.list(conversation, order="asc", limit=100):
        part: Any = item
        shown.append("".join(p.text for p in part.content) if item.type == "message" else item.type)
    return shown


def error(raised: pytest.ExceptionInfo[openai.APIStatusError]) -> tuple[int, str | None, str | None]:
    return raised.value.status_code, raised.value.code, raised.value.param


# --- the API ----------------------------------------------------------------------------------------------------------
def test_a_conversation_from_its_beginning_to_its_end(client: OpenAI) -> None:
    made = client.conversations.create(metadata={"topic": "x"}, items=[{"role": "user", "content": "hello"}])
    assert made.id.startswith("conv_")
    assert client.conversations.retrieve(made.id) == made
    changed = client.conversations.update(made.id, metadata={"topic": "y"})
    assert (changed.id, changed.metadata) == (made.id, {"topic": "y"})
    assert client.conversations.update(made.id, metadata=None).metadata == {}
    assert said(client, made.id) == ["hello"]
    deleted = client.conversations.delete(made.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "conversation.deleted")
    for again in (client.conversations.retrieve, client.conversations.delete, client.conversations.items.list):
        with pytest.raises(openai.NotFoundError) as raised:
            again(made.id)
        assert error(raised) == (404, None, "conversation_id")


def test_an_empty_conversation(client: OpenAI) -> None:
    made = client.conversations.create()
    assert made.metadata == {}
    page = client.conversations.items.list(made.id)
    assert (page.data, page.has_more, page.last_id) == ([], False, None)


def test_items_of_every_kind_come_back_as_they_were_sent(client: OpenAI) -> None:
    items: Any = [
        {"role": "developer", "content": "rules"},
        {"role": "user", "content": [{"type": "input_text", "text": "look"}], "id": "msg_mine"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        {"role": "assistant", "content": "seen"},
    ]
    made = client.conversations.create()
    added = client.conversations.items.create(made.id, items=items, include=["message.output_text.logprobs"])
    kinds = ["message", "message", "reasoning", "function_call", "function_call_output", "message"]
    assert [item.type for item in added.data] == kinds
    assert (added.has_more, added.first_id, added.last_id) == (False, added.data[0].id, added.data[-1].id)
    assert added.data[1].id == "msg_mine"
    assert len({item.id for item in added.data}) == 6
    listed = client.conversations.items.list(made.id, order="asc", include=["reasoning.encrypted_content"])
    assert listed.data == added.data
    for item in added.data:
        assert item.id
        assert client.conversations.items.retrieve(item.id, conversation_id=made.id) == item
    after = client.conversations.items.delete("msg_mine", conversation_id=made.id)
    assert after == made
    for use in (client.conversations.items.delete, client.conversations.items.retrieve):
        with pytest.raises(openai.NotFoundError) as raised:
            use("msg_mine", conversation_id=made.id)
        assert error(raised) == (404, None, "item_id")


def test_pages(client: OpenAI) -> None:
    made = client.conversations.create()
    for start in (0, 20):
        items: Any = [{"role": "user", "content": str(n), "id": f"msg_{n}"} for n in range(start, start + 20)]
        client.conversations.items.create(made.id, items=items)
    newest = client.conversations.items.list(made.id)
    assert [item.id for item in newest.data] == [f"msg_{n}" for n in range(39, 19, -1)]
    assert (newest.has_more, newest.last_id) == (True, "msg_20")
    everything = list(client.conversations.items.list(made.id, limit=7))
    assert [item.id for item in everything] == [f"msg_{n}" for n in range(39, -1, -1)]
    older = client.conversations.items.list(made.id, order="asc", after="msg_37", limit=100)
    assert ([item.id for item in older.data], older.has_more) == (["msg_38", "msg_39"], False)


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "", {"items": [{"role": "user", "content": "x"}] * 21}, (400, "array_above_max_length", "items")),
        ("POST", "", {"items": [{"type": "nonsense"}]}, (400, "invalid_value", "items[0].type")),
        ("POST", "", {"items": [{"role": "user"}]}, (400, "missing_required_parameter", "items[0].content")),
        ("POST", "", {"items": [{"type": "item_reference", "id": "msg_no"}]}, (400, "item_not_found", "items[0].id")),
        ("POST", "", {"items": [{**SAID, "id": "m"}] * 2}, (400, "duplicate_item", "items[1].id")),
        ("POST", "", {"items": [{**SAID, "id": "\0"}]}, (400, "invalid_value", "items[0].id")),
        ("POST", "", {"metadata": {"k": 1}}, (400, "invalid_type", "metadata.k")),
        ("POST", "", {"metadata": {"k" * 65: "v"}}, (400, "string_above_max_length", "metadata")),
        ("POST", "", {"colour": "red"}, (400, "unknown_parameter", "colour")),
        ("POST", "", [], (400, "invalid_type", None)),
        ("POST", "/{id}", {}, (400, "missing_required_parameter", "metadata")),
        ("POST", "/{id}", {"metadata": {}, "items": []}, (400, "unknown_parameter", "items")),
        ("POST", "/{id}/items", {}, (400, "missing_required_parameter", "items")),
        ("POST", "/{id}/items", {"items": [SAID] * 21}, (400, "array_above_max_length", "items")),
        ("POST", "/{id}/items", {"items": [{**SAID, "id": "msg_1"}]}, (400, "duplicate_item", "items[0].id")),
        ("POST", "/{id}/items?include=nothing", {"items": []}, (400, "invalid_value", "include")),
        ("POST", "/conv_no/items", {"items": [{"type": "item_reference", "id": "m"}]}, (404, None, "conversation_id")),
        ("POST", "/conv_no", {"metadata": {}}, (404, None, "conversation_id")),
        ("GET", "/conv_no", None, (404, None, "conversation_id")),
        ("GET", "/{id}?x=1", None, (400, "unknown_parameter", "x")),
        ("GET", "/{id}/items?limit=0", None, (400, "integer_below_min_value", "limit")),
        ("GET", "/{id}/items?limit=101", None, (400, "integer_above_max_value", "limit")),
        ("GET", "/{id}/items?order=up", None, (400, "invalid_value", "order")),
        ("GET", "/{id}/items?after=msg_no", None, (404, None, "after")),
        ("GET", "/{id}/items?include=nothing", None, (400, "invalid_value", "include")),
        ("GET", "/{id}/items/msg_no", None, (404, None, "item_id")),
        ("GET", "/conv_no/items/msg_1", None, (404, None, "conversation_id")),
        ("DELETE", "/conv_no/items/msg_1", None, (404, None, "conversation_id")),
        ("DELETE", "/{id}/items/msg_no", None, (404, None, "item_id")),
        ("DELETE", "/{id}%00", None, (404, None, "conversation_id")),
        ("PUT", "/{id}", {}, (405, "method_not_allowed", None)),
    ],
)  # fmt: skip
def test_bad_input(
    served: Serving, client: OpenAI, answers: Answers, method: str, path: str, body: Any, expected: tuple[Any, ...]
) -> None:
    made = client.conversations.create(items=[{"role": "user", "content": "x", "id": "msg_1"}])  # type: ignore[list-item]  # the SDK's types leave the id out
    url = f"{served.url}/v1/conversations{path.replace('{id}', made.id)}"
    with httpx2.Client(transport=answers.sync(), headers=served.headers) as http:
        answer = http.request(method, url, **({} if body is None else {"json": body}))
    problem = answer.json()["error"]
    param = problem["param"]
    assert (answer.status_code, problem["code"]) == expected[:2], problem
    assert param == expected[2] or (expected[2] == "metadata" and param.startswith("metadata")), problem
    assert said(client, made.id) == ["x"]


def test_another_project_knows_none_of_it(served: Serving, client: OpenAI, answers: Answers) -> None:
    made = client.conversations.create(items=[{"role": "user", "content": "x", "id": "msg_s"}])  # type: ignore[list-item]  # as above
    with httpx2.Client(transport=answers.sync(), timeout=60) as http:
        other = OpenAI(base_url=f"{served.url}/v1", api_key=other_project(served), http_client=http, max_retries=0)
        attempts: list[Callable[[str], object]] = [
            other.conversations.retrieve,
            other.conversations.delete,
            lambda name: other.conversations.update(name, metadata={}),
            other.conversations.items.list,
            lambda name: other.conversations.items.create(name, items=[{"role": "user", "content": "x"}]),
            lambda name: other.conversations.items.retrieve("msg_s", conversation_id=name),
            lambda name: other.conversations.items.delete("msg_s", conversation_id=name),
            lambda name: other.responses.create(**ASK, input="x", conversation=name),
        ]
        for attempt in attempts:
            problems = []
            for name in (made.id, "conv_never"):
                with pytest.raises(openai.NotFoundError) as raised:
                    attempt(name)
                problems.append(str(raised.value).replace(name, "ID"))
            assert problems[0] == problems[1]
        with pytest.raises(openai.BadRequestError) as referred:
            other.responses.create(**ASK, input=[{"type": "item_reference", "id": "msg_s"}])
        assert error(referred) == (400, "item_not_found", "input[0].id")
    assert said(client, made.id) == ["x"]


# --- responses in a conversation --------------------------------------------------------------------------------------
@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_reads_what_was_said_and_adds_to_it(client: OpenAI, store: bool, stream: bool) -> None:
    made = client.conversations.create(items=[{"role": "user", "content": "before"}])
    for number, conversation in enumerate((made.id, {"id": made.id})):
        asked: Any = {**ASK, "input": f"turn {number}", "conversation": conversation, "store": store}
        if stream:
            events = list(client.responses.create(**asked, stream=True))
            check_sequence(event.to_dict() for event in events)
            response = events[-1].response
        else:
            response = client.responses.create(**asked)
        assert response.conversation.id == made.id
        if store:
            assert client.responses.retrieve(response.id).conversation == response.conversation
    shown = [turn.text for turn in engine.asked[-1].turns if isinstance(turn, Message)]
    assert shown == ["before", "turn 0", "echo turn 0", "turn 1"]
    assert said(client, made.id) == [*shown, "echo turn 1"]
    newest = client.conversations.items.list(made.id, limit=1).data[0]
    assert newest.id == response.output[0].id


def test_tools_in_a_conversation(client: OpenAI) -> None:
    made = client.conversations.create()
    first = client.responses.create(**ASK, input="call", conversation=made.id, tools=[TOOL])
    call: Any = first.output[0]
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    client.responses.create(**ASK, input=[output], conversation=made.id, tools=[TOOL])
    kinds = [type(turn) for turn in engine.asked[-1].turns]
    assert kinds == [Message, ToolCall, ToolResult]
    assert said(client, made.id)[:3] == ["call", "function_call", "function_call_output"]
    # What the conversation holds already is not sent again.
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(**ASK, input=[call.to_dict(), output], conversation=made.id, tools=[TOOL])
    assert error(raised) == (400, "duplicate_item", "input[0].id")
    reference: Any = {"type": "item_reference", "id": call.id}
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(**ASK, input=[reference], conversation=made.id)
    assert error(raised) == (400, "duplicate_item", "input[0].id")


def test_items_of_a_conversation_can_be_referred_to(client: OpenAI) -> None:
    made = client.conversations.create(items=[{"role": "user", "content": "refer to me"}])
    item = client.conversations.items.list(made.id).data[0]
    reference: Any = {"type": "item_reference", "id": item.id}
    response = client.responses.create(**ASK, input=[reference], store=False)
    assert response.output_text == "echo refer to me"
    twin = client.conversations.create(items=[reference])
    assert client.conversations.items.list(twin.id).data == [item]


def test_what_stands_there_can_be_answered_without_input(client: OpenAI) -> None:
    made = client.conversations.create(items=[{"role": "user", "content": "waiting question"}])
    assert client.responses.create(**ASK, conversation=made.id).output_text == "echo waiting question"
    assert said(client, made.id) == ["waiting question", "echo waiting question"]
    for conversation in (None, client.conversations.create().id):
        with pytest.raises(openai.BadRequestError) as raised:
            client.responses.create(**ASK, conversation=conversation)
        assert error(raised) == (400, "missing_required_parameter", "input")


def test_an_answer_that_was_cut_off_is_kept(client: OpenAI) -> None:
    made = client.conversations.create()
    assert client.responses.create(**ASK, input="cut", conversation=made.id).status == "incomplete"
    assert said(client, made.id) == ["cut", "cut"]


@pytest.mark.parametrize("asked", [{}, {"store": False}, {"stream": True}, {"stream": True, "store": False}])
def test_a_failed_response_leaves_the_conversation_as_it_was(client: OpenAI, asked: dict[str, Any]) -> None:
    made = client.conversations.create()
    if asked.get("stream"):
        events = list(client.responses.create(**ASK, input="break", conversation=made.id, **asked))
        assert events[-1].type == "response.failed"
    else:
        with pytest.raises(openai.InternalServerError):
            client.responses.create(**ASK, input="break", conversation=made.id, **asked)
    assert said(client, made.id) == []
    assert client.responses.create(**ASK, input="again", conversation=made.id).output_text == "echo again"


@pytest.mark.parametrize("store", [True, False])
def test_who_hangs_up_frees_the_conversation(served: Serving, client: OpenAI, store: bool) -> None:
    made = client.conversations.create()
    asked = {**ASK, "input": "wait", "conversation": made.id, "store": store}
    for stream in (True, False):
        with httpx2.Client(headers=served.headers, timeout=0.5) as http, pytest.raises(httpx2.ReadTimeout):
            http.post(f"{served.url}/v1/responses", json={**asked, "stream": stream})
        director.until_waiting()
        patient = client.with_options(max_retries=5)
        assert (
            patient.responses.create(**ASK, input="next", conversation=made.id, store=False).output_text == "echo next"
        )
    assert said(client, made.id) == ["next", "echo next"] * 2


@pytest.mark.parametrize("asked", [{}, {"store": False}, {"stream": True}, {"stream": True, "store": False}])
def test_one_at_a_time(client: OpenAI, asked: dict[str, Any]) -> None:
    made = client.conversations.create(items=[{"role": "user", "content": "x", "id": "msg_x"}])  # type: ignore[list-item]  # as above

    def slow() -> None:
        answer = client.responses.create(**ASK, input="wait", conversation=made.id, **asked)
        if asked.get("stream"):
            list(answer)

    with ThreadPoolExecutor() as pool:
        running = pool.submit(slow)
        director.until_waiting()
        try:
            attempts: list[Callable[[], object]] = [
                lambda: client.responses.create(**ASK, input="y", conversation=made.id),
                lambda: client.responses.create(**ASK, input="y", conversation={"id": made.id}, stream=True),
                lambda: client.responses.create(**ASK, input="y", conversation=made.id, background=True),
                lambda: client.conversations.items.create(made.id, items=[{"role": "user", "content": "y"}]),
                lambda: client.conversations.items.delete("msg_x", conversation_id=made.id),
            ]
            for attempt in attempts:
                with pytest.raises(openai.ConflictError) as raised:
                    attempt()
                assert error(raised) == (409, "conversation_locked", None)
                assert raised.value.response.headers["retry-after"] == "1"
            assert client.conversations.update(made.id, metadata={"k": "v"}).metadata == {"k": "v"}
            assert said(client, made.id) == ["x"]
        finally:
            director.open()
        running.result(30)
    assert said(client, made.id) == ["x", "wait", "waited long"]


def test_many_at_once_are_never_interleaved(client: OpenAI) -> None:
    made = client.conversations.create()

    def ask(number: int) -> bool:
        try:
            client.responses.create(**ASK, input=f"q{number}", conversation=made.id, store=number % 2 == 0)
        except openai.ConflictError as conflict:
            if conflict.code != "conversation_locked":
                raise
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        answered = sum(pool.map(ask, range(40)))
    shown = said(client, made.id)
    assert answered >= 1
    assert len(shown) == 2 * answered
    assert [f"echo {question}" for question in shown[::2]] == shown[1::2]


def test_the_sdk_waits_its_turn_by_itself(served: Serving, client: OpenAI) -> None:
    made = client.conversations.create()
    patient = served.client(max_retries=8)

    def ask(number: int) -> str:
        return str(patient.responses.create(**ASK, input=f"q{number}", conversation=made.id).output_text)

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(ask, range(3))) == ["echo q0", "echo q1", "echo q2"]
    assert len(said(client, made.id)) == 6


def test_in_the_background(client: OpenAI) -> None:
    made = client.conversations.create()
    queued = client.responses.create(**ASK, input="wait", conversation=made.id, background=True)
    assert queued.conversation is not None
    assert queued.conversation.id == made.id
    director.until_waiting()
    with pytest.raises(openai.ConflictError):
        client.responses.create(**ASK, input="y", conversation=made.id)
    director.open()
    list(client.responses.retrieve(queued.id, stream=True))
    assert client.responses.retrieve(queued.id).status == "completed"
    assert said(client, made.id) == ["wait", "waited long"]
    # A cancelled one adds nothing, and frees it.
    cancelled = client.responses.create(**ASK, input="wait", conversation=made.id, background=True)
    director.until_waiting()
    assert client.responses.cancel(cancelled.id).status == "cancelled"
    assert client.responses.create(**ASK, input="then", conversation=made.id).output_text == "echo then"
    # So does one that is deleted, and one that fails.
    deleted = client.responses.create(**ASK, input="wait", conversation=made.id, background=True)
    director.until_waiting()
    client.responses.delete(deleted.id)
    failed = client.responses.create(**ASK, input="break", conversation=made.id, background=True)
    list(client.responses.retrieve(failed.id, stream=True))
    assert said(client, made.id) == ["wait", "waited long", "then", "echo then"]


def test_a_cancel_that_comes_before_the_job_has_begun(client: OpenAI) -> None:
    made = client.conversations.create()
    for _ in range(10):
        queued = client.responses.create(**ASK, input="wait", conversation=made.id, background=True)
        assert client.responses.cancel(queued.id).status == "cancelled"
    assert said(client, made.id) == []


def test_the_conversation_is_deleted_meanwhile(client: OpenAI) -> None:
    made = client.conversations.create()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(lambda: client.responses.create(**ASK, input="wait", conversation=made.id))
        director.until_waiting()
        client.conversations.delete(made.id)
        director.open()
        response = running.result(30)
    assert (response.status, response.output_text) == ("completed", "waited long")
    assert client.responses.retrieve(response.id).output_text == "waited long"
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(made.id)


def test_a_deleted_response_leaves_what_it_said(client: OpenAI) -> None:
    made = client.conversations.create()
    response = client.responses.create(**ASK, input="a", conversation=made.id)
    client.responses.delete(response.id)
    assert said(client, made.id) == ["a", "echo a"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"conversation": "conv_no"}, (404, None, "conversation")),
        ({"conversation": {"id": "conv_no"}}, (404, None, "conversation")),
        ({"conversation": ""}, (400, "invalid_value", "conversation")),
        ({"conversation": "resp_no"}, (400, "invalid_value", "conversation")),
        ({"conversation": "conv_\0"}, (404, None, "conversation")),
        ({"conversation": "conv_no", "background": True}, (404, None, "conversation")),
        ({"conversation": {"id": 1}}, (400, "invalid_type", "conversation.id")),
        ({"conversation": {}}, (400, "missing_required_parameter", "conversation.id")),
        ({"conversation": []}, (400, "invalid_type", "conversation")),
        ({"conversation": "c", "previous_response_id": "r"}, (400, "mutually_exclusive_parameters", "conversation")),
    ],
)
def test_bad_conversations_of_a_response(client: OpenAI, asked: dict[str, Any], expected: tuple[Any, ...]) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        client.responses.create(**ASK, input="x", **asked)
    assert error(raised) == expected


def test_a_refused_request_does_not_keep_the_conversation(client: OpenAI) -> None:
    made = client.conversations.create()
    for wrong in (
        {"input": [{"type": "item_reference", "id": "no"}]},
        {"model": "no"},
        {"store": False, "background": True},
    ):
        with pytest.raises(openai.APIStatusError):
            client.responses.create(**{**ASK, "input": "x", "conversation": made.id, **wrong})
        assert client.responses.create(**ASK, input="y", conversation=made.id, store=False).output_text == "echo y"


def test_a_crash_frees_the_conversation(tmp_path: Path) -> None:
    """A server that starts again ends what was under way, and gives up its hold."""
    import sqlite3

    with serving(ScriptedEngine(director), tmp_path) as served:
        client = served.client()
        made = client.conversations.create()
        response = client.responses.create(**ASK, input="a", conversation=made.id)
    # As a crash in the middle of a stream leaves it.
    with sqlite3.connect(tmp_path / "antiphon.db") as database:
        body = json.dumps({**response.to_dict(), "status": "in_progress", "output": []}).encode()
        database.execute("UPDATE responses SET status = 'in_progress', owner = 'dead', body = ?", (body,))
        database.execute("UPDATE conversations SET active_response_id = ?, active_owner = 'dead'", (response.id,))
    database.close()
    with serving(ScriptedEngine(director), tmp_path) as served:
        client = served.client(max_retries=5)
        assert client.responses.create(**ASK, input="b", conversation=made.id).output_text == "echo b"
        assert client.responses.retrieve(response.id).status == "failed"


def test_a_background_response_holds_its_conversation_across_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_BACKGROUND", 0)  # so that nobody begins with it
    with serving(ScriptedEngine(director), tmp_path) as served:
        client = served.client()
        kept, lost = client.conversations.create(), client.conversations.create()
        queued = [
            client.responses.create(**ASK, input="q", conversation=made.id, background=True) for made in (kept, lost)
        ]
    with serving(ScriptedEngine(director), tmp_path) as served:
        client = served.client()
        with pytest.raises(openai.ConflictError):
            client.responses.create(**ASK, input="y", conversation=kept.id)
        client.conversations.delete(lost.id)
    monkeypatch.undo()
    with serving(ScriptedEngine(director), tmp_path) as served:
        client = served.client()
        for response in queued:
            list(client.responses.retrieve(response.id, stream=True))
        first, second = (client.responses.retrieve(response.id) for response in queued)
        assert (first.status, second.status) == ("completed", "failed")
        assert second.error is not None
        assert second.error.message == f"Conversation with id '{lost.id}' not found."
        assert said(client, kept.id) == ["q", "echo q"]
        assert client.responses.create(**ASK, input="y", conversation=kept.id).output_text == "echo y"
