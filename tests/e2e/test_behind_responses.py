"""Responses made by another server, with this server's state on top."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest

from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.ports import Capabilities
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Finish,
    Generation,
    Message,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolResult,
    Usage,
)
from conformance.samples import response
from support.checking import Answers
from support.gate import ScriptGate, until
from support.hosted import CITATION, SEALED, searching
from support.responses_engines import before, chained, playing, telling
from support.serving import Serving, serving
from support.sockets import opened
from support.upstreams import SECRET, BreakOff, ChatUpstream, Says, Stall

Body = dict[str, Any]
SEARCHING: Body = {"model": "remote", "input": "What do cats do?", "tools": [{"type": "web_search"}]}
ADD: Body = {
    "type": "function",
    "name": "add",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": False,
}


def talk(generation: Generation) -> Sequence[Step]:
    """Thinks, then says how many messages it was shown, or calls a tool that it has and has no result of."""
    usage = Usage(input_tokens=10, cached_tokens=4, output_tokens=7, reasoning_tokens=2)
    messages = [turn for turn in generation.turns if isinstance(turn, Message)]
    answered = any(isinstance(turn, ToolResult) for turn in generation.turns)
    if generation.callable_tools() and not answered:
        return [CallStart("add", "call_1"), CallArguments('{"a"'), CallArguments(": 1}"), Finish("tool_calls", usage)]
    if messages[-1].text == "refuse":
        return [RefusalDelta("No."), Finish("stop", usage)]
    return [ReasoningDelta("Hm."), TextDelta(f"{len(messages)} "), TextDelta("messages"), Finish("stop", usage)]


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return ScriptedEngine(talk)


@pytest.fixture(scope="module")
def pair(engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Serving]]:
    with chained(tmp_path_factory.mktemp("pair"), engine) as servers:
        yield servers


@pytest.fixture
def front(pair: tuple[Serving, Serving]) -> Serving:
    return pair[0]


@pytest.fixture
def answers() -> Iterator[Answers]:
    answers = Answers()
    yield answers
    answers.check()


# --- another Antiphon -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [False, True])
def test_a_chain_is_kept_here_and_nothing_there(
    pair: tuple[Serving, Serving], answers: Answers, engine: ScriptedEngine, stream: bool
) -> None:
    front, back = pair
    with answers.client(front) as client:
        first = client.responses.create(model="remote", input="hi", instructions="Be brief.", metadata={"a": "b"})
        assert (first.output_text, first.model, first.metadata) == ("2 messages", "remote", {"a": "b"})
        asked: Body = {"model": "remote", "input": "more", "previous_response_id": first.id}
        if stream:
            with client.responses.stream(**asked) as events:
                second = events.get_final_response()
        else:
            second = client.responses.create(**asked)
        assert second.output_text == "3 messages"
        assert second.previous_response_id == first.id
        assert second.usage is not None
        assert (second.usage.input_tokens_details.cached_tokens, second.usage.total_tokens) == (4, 17)
        # What it thought before was sealed there, and came back there.
        assert [turn.text for turn in engine.asked[-1].turns][1:3] == ["Hm.", "2 messages"]
        assert client.responses.retrieve(second.id).output_text == second.output_text
        listed = client.responses.input_items.list(second.id).data
        assert [item.type for item in listed] == ["message"]
    with pytest.raises(openai.NotFoundError):
        back.client().responses.retrieve(second.id)


def test_a_conversation(front: Serving, answers: Answers) -> None:
    with answers.client(front) as client:
        conversation = client.conversations.create()
        for count in (1, 3):
            made = client.responses.create(model="remote", input="hi", conversation=conversation.id)
            assert made.output_text == f"{count} messages"
            assert made.conversation is not None
            assert made.conversation.id == conversation.id
        items = client.conversations.items.list(conversation.id, order="asc").data
        assert [item.type for item in items] == ["message", "reasoning", "message"] * 2


def test_in_the_background(front: Serving, answers: Answers) -> None:
    with answers.client(front) as client:
        with client.responses.create(model="remote", input="hi", background=True, stream=True) as stream:
            events = list(stream)
        assert events[-1].type == "response.completed"
        made = client.responses.retrieve(events[-1].response.id)
        assert (made.status, made.output_text) == ("completed", "1 messages")
        with client.responses.retrieve(made.id, stream=True, starting_after=3) as stream:
            assert [event.sequence_number for event in stream] == list(range(4, len(events)))


def test_a_call_and_its_result(front: Serving, answers: Answers) -> None:
    with answers.client(front) as client:
        with client.responses.stream(model="remote", input="1 + 1?", tools=[ADD]) as stream:
            calling = stream.get_final_response()
        (call,) = calling.output
        assert call.type == "function_call"
        assert (call.name, call.arguments) == ("add", '{"a": 1}')
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "2"}
        done = client.responses.create(model="remote", input=[result], previous_response_id=calling.id, tools=[ADD])
        assert done.output_text == "1 messages"


def test_a_refusal(front: Serving, answers: Answers) -> None:
    with answers.client(front) as client:
        made = client.responses.create(model="remote", input="refuse")
    assert made.output[0].type == "message"
    assert made.output[0].content[0].type == "refusal"


def test_chat_completions(front: Serving, answers: Answers) -> None:
    with answers.client(front) as client:
        message = {"role": "user", "content": "hi"}
        made = client.chat.completions.create(model="remote", messages=[message], store=True)
        assert made.choices[0].message.content == "1 messages"
        chunks = list(client.chat.completions.create(model="remote", messages=[message], stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "1 messages"


def test_tokens_are_counted_there(front: Serving) -> None:
    counted = front.client().responses.input_tokens.count(model="remote", input="three little words")
    assert counted.input_tokens == 3


def test_compaction(front: Serving, answers: Answers) -> None:
    with answers.client(front) as client:
        compacted = client.responses.compact(model="remote", input="a long story")
        items = [item.model_dump(exclude_none=True, warnings=False) for item in compacted.output]
        made = client.responses.create(model="remote", input=[*items, {"role": "user", "content": "so?"}])
        assert made.output_text.endswith("messages")


def test_a_socket(front: Serving) -> None:
    with opened(front) as client:
        client.create(model="remote", store=False, generate=False)
        warmed = client.response()
        done = client.ask(model="remote", store=False, previous_response_id=warmed["id"])
        assert done["status"] == "completed"
        again = client.ask(model="remote", store=False, previous_response_id=done["id"])
        assert again["output"][-1]["content"][0]["text"] == "4 messages"


def test_cancelling_ends_the_answer_there(tmp_path: Path) -> None:
    gate = ScriptGate()
    engine = ScriptedEngine(lambda _: [TextDelta("a"), gate.step(), TextDelta("b"), Finish("stop")])
    with chained(tmp_path, engine) as (front, _):
        client = front.client()
        with client.responses.create(model="remote", input="hi", background=True, stream=True) as stream:
            created = next(stream)
            assert created.type == "response.created"
            assert gate.arrived.wait(10)
            cancelled = client.responses.cancel(created.response.id)
            assert cancelled.status == "cancelled"
            assert list(stream)[-1].type == "response.incomplete"
        until(lambda: engine.closed == 1, "the answer there was ended")


def test_hanging_up_ends_the_answer_there(tmp_path: Path) -> None:
    gate = ScriptGate()
    engine = ScriptedEngine(lambda _: [TextDelta("a"), gate.step(), TextDelta("b"), Finish("stop")])
    with chained(tmp_path, engine) as (front, _):
        with front.client().responses.create(model="remote", input="hi", stream=True) as stream:
            next(stream)
            assert gate.arrived.wait(10)
        until(lambda: engine.closed == 1, "the answer there was ended")


def test_what_it_refuses_is_told(front: Serving) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        front.client().responses.create(model="remote", input="hi", tools=[{"type": "web_search"}])
    assert (refused.value.code, refused.value.param) == ("unsupported_value", "tools[0].type")


# --- hosted tools -----------------------------------------------------------------------------------------------------
def bodies(upstream: ChatUpstream) -> list[Body]:
    return [asked.body for asked in upstream.asked if asked.path.endswith("/responses")]


@pytest.mark.parametrize("stream", [False, True])
def test_hosted_tools_come_through(tmp_path: Path, answers: Answers, stream: bool) -> None:
    with before(tmp_path, playing(searching())) as (front, upstream), answers.client(front) as client:
        if stream:
            with client.responses.stream(**SEARCHING, include=["web_search_call.results"]) as events:
                kinds = [event.type for event in events]
                made = events.get_final_response()
            assert "response.web_search_call.searching" in kinds
            assert "response.output_text.annotation.added" in kinds
        else:
            made = client.responses.create(**SEARCHING, include=["web_search_call.results"])
        assert [item.type for item in made.output] == ["reasoning", "web_search_call", "message"]
        assert made.output[2].content[0].annotations[0].model_dump() == CITATION  # type: ignore[union-attr]
        assert (made.model, made.service_tier) == ("remote", "priority")
        assert made.id.startswith("resp_")
        assert made.id != "resp_up"
        (sent,) = bodies(upstream)
        assert (sent["model"], sent["store"], sent["stream"]) == ("up-1", False, stream)
        assert sent["tools"] == SEARCHING["tools"]
        assert sent["include"] == ["web_search_call.results", "reasoning.encrypted_content"]


def test_what_a_hosted_tool_did_goes_back(tmp_path: Path, answers: Answers) -> None:
    with before(tmp_path, playing(searching())) as (front, upstream), answers.client(front) as client:
        conversation = client.conversations.create(metadata={"a": "b"})
        first = client.responses.create(**SEARCHING, conversation=conversation.id)
        second = client.responses.create(model="remote", input="And dogs?", conversation=conversation.id)
        # Ids that the conversation has already cannot be used again.
        assert not {item.id for item in first.output} & {item.id for item in second.output}
        sent = bodies(upstream)[1]
        assert [item["type"] for item in sent["input"]] == [
            *("message", "reasoning", "web_search_call", "message", "message"),
        ]
        assert sent["input"][1]["encrypted_content"] == SEALED["encrypted_content"]
        assert not {"conversation", "previous_response_id", "metadata", "prompt"} & sent.keys()


def test_pictures_files_and_news_come_through(tmp_path: Path) -> None:
    content = [
        {"type": "input_image", "image_url": "https://cats.example/cat.png"},
        {"type": "input_file", "file_url": "https://cats.example/cat.pdf"},
        {"type": "input_file", "file_id": "file_1"},
    ]
    with before(tmp_path, playing(searching())) as (front, upstream):
        front.client().responses.create(
            model="remote",
            input=[{"role": "user", "content": content}],
            tools=[
                {"type": "mcp", "server_label": "s", "server_url": "https://mcp.example", "require_approval": "never"}
            ],
            extra_body={"brand_new": {"a": 1}},
        )
        (sent,) = bodies(upstream)
        assert [
            part.get("image_url") or part.get("file_url") or part.get("file_id") for part in sent["input"][0]["content"]
        ] == [
            *("https://cats.example/cat.png", "https://cats.example/cat.pdf", "file_1"),
        ]
        assert sent["brand_new"] == {"a": 1}
        assert sent["tools"][0]["type"] == "mcp"


def test_a_socket_with_hosted_tools(tmp_path: Path) -> None:
    with before(tmp_path, playing(searching())) as (front, upstream), opened(front) as client:
        first = client.ask(**SEARCHING, store=False)
        second = client.ask(model="remote", input="And?", store=False, previous_response_id=first["id"])
        assert (first["status"], second["status"]) == ("completed", "completed")
        assert "web_search_call" in [item["type"] for item in bodies(upstream)[1]["input"]]


# --- what goes wrong --------------------------------------------------------------------------------------------------
def failed(error: Body) -> list[Body]:
    end = response(status="failed", output=[], error=error, usage=None)
    return [*searching()[:12], {"type": "response.failed", "response": end}]


@pytest.mark.parametrize(
    ("says", "code"),
    [
        (telling(searching()[:12]), "server_error"),
        (telling(searching()[:12], 0.05, BreakOff()), "server_error"),
        (telling([*searching()[:12], {"type": "response.output_item.done", "output_index": 7}]), "server_error"),
        (telling(failed({"code": "rate_limit_exceeded", "message": f"{SECRET} is used up"})), "rate_limit_exceeded"),
        (telling(failed({"code": f"leak {SECRET}", "message": SECRET})), "server_error"),
        (telling([*searching()[:12], {"type": "error", "code": "x", "message": SECRET}]), "server_error"),
        (telling(searching()[:12], b"data: {nonsense\n\n"), "server_error"),
    ],
)
def test_a_stream_that_goes_wrong_ends_cleanly(tmp_path: Path, answers: Answers, says: Says, code: str) -> None:
    with before(tmp_path, lambda _: says) as (front, _), answers.client(front) as client:
        with client.responses.create(**SEARCHING, stream=True) as stream:
            events = list(stream)
        assert events[-1].type == "response.failed"
        end = events[-1].response
        assert end.error is not None
        assert end.error.code == code
        assert SECRET not in end.model_dump_json()
        kept = client.responses.retrieve(end.id)
        assert [item.type for item in kept.output] == ["reasoning", "web_search_call", "message"]


@pytest.mark.parametrize(
    ("says", "status", "code"),
    [
        (Says([b"{}"], status=401), 502, "upstream_refused"),
        (Says([b"{}"], status=500), 502, "upstream_error"),
        (Says([b"{}"], status=429), 429, "rate_limit_exceeded"),
        (Says([b"{"]), 502, "upstream_invalid"),
        (Says([b"{}"]), 502, "upstream_invalid"),
        (Says([json.dumps(response(status="failed", error={"code": "invalid_prompt", "message": "no"})).encode()]),
         400, "invalid_prompt"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none(tmp_path: Path, says: Says, status: int, code: str) -> None:
    with before(tmp_path, lambda _: says) as (front, _):
        with pytest.raises(openai.APIStatusError) as refused:
            front.client().responses.create(**SEARCHING)
        assert (refused.value.status_code, refused.value.code) == (status, code)


def test_a_terminal_event_ends_it_whether_or_not_the_connection_does(tmp_path: Path) -> None:
    with (
        before(tmp_path, lambda _: telling(searching(), Stall())) as (front, _),
        front.client(timeout=5).responses.create(**SEARCHING, stream=True) as stream,
    ):
        assert list(stream)[-1].type == "response.completed"


# --- other models -----------------------------------------------------------------------------------------------------
def test_another_model_can_go_on(tmp_path: Path, answers: Answers) -> None:
    """What only the first one's server can read is left out, for one that has no such tools."""
    with before(tmp_path, playing(searching())) as (front, _):
        first = front.client().responses.create(**SEARCHING)
    engine = ScriptedEngine(talk)
    with serving(engine, tmp_path) as alone, answers.client(alone) as client:
        made = client.responses.create(model="scripted", input="And?", previous_response_id=first.id)
        assert made.output_text == "3 messages"
        assert [turn.text for turn in engine.asked[0].turns if isinstance(turn, Message)] == [
            *("What do cats do?", "Cats sleep.", "And?"),
        ]
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(**{**SEARCHING, "model": "scripted"})
        assert (refused.value.code, refused.value.param) == ("unsupported_value", "tools[0].type")


def test_a_route_may_answer_in_neutral_words_after_all(tmp_path: Path, answers: Answers) -> None:
    engine = ScriptedEngine(talk, capabilities=Capabilities(context_tokens=1000, passthrough=frozenset({"responses"})))
    with serving(engine, tmp_path) as front, answers.client(front) as client:
        assert client.responses.create(model="scripted", input="hi").output_text == "1 messages"
        client.responses.create(**{**SEARCHING, "model": "scripted"})
    first, second = (generation.passthrough for generation in engine.asked)
    assert first is not None
    assert second is not None
    assert (first.only, second.only) == (False, True)
