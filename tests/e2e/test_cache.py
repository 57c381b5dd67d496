"""Answers given again, as clients see it: the official SDK over a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, OpenAI
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from antiphon.domain.caching import OFF
from antiphon.engines.scripted import ScriptedEngine, Step, saying
from antiphon.protocol.generation import CallArguments, CallStart, Finish, Generation, RefusalDelta, TextDelta, Usage
from antiphon.stores.store import SqlStore
from conformance.sequence import check_sequence
from support.gate import ScriptGate, until
from support.inside import in_store
from support.loglines import logged
from support.serving import Serving, other_project, serving
from support.sockets import Client

ON = {"x-antiphon-cache": "on"}
ASK: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}


class Counting:
    """Says how often it was asked, in three pieces."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, generation: Generation) -> Sequence[Step]:
        self.count += 1
        pieces = [TextDelta("answer"), TextDelta(" "), TextDelta(f"{self.count}")]
        return [*pieces, Finish("stop", Usage(input_tokens=7, output_tokens=3))]


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def served(counting: Counting, tmp_path: Path) -> Iterator[Serving]:
    with serving(ScriptedEngine(counting), tmp_path) as served:
        yield served


def chat(client: OpenAI, headers: dict[str, str] | None = None, **more: Any) -> tuple[str, str | None, str | None]:
    """The text of a chat completion, and where it says that it came from, and how old it is."""
    raw = client.chat.completions.with_raw_response.create(**{**ASK, **more}, extra_headers=headers or {})
    text = raw.parse().choices[0].message.content
    assert text is not None
    return text, raw.headers.get("x-antiphon-cache"), raw.headers.get("age")


def rule(served: Serving, ttl: int | None) -> None:
    """Set the rule of the server's project. What it knew of it before is forgotten."""

    async def work(store: SqlStore) -> None:
        (project,) = await store.list_projects()
        await store.set_cache_ttl(project.id, ttl)

    in_store(served, work)


def test_nothing_is_cached_unless_somebody_asks(served: Serving, counting: Counting) -> None:
    client = served.client()
    assert [chat(client) for _ in range(2)] == [("answer 1", None, None), ("answer 2", None, None)]
    assert chat(client, {"cache-control": "no-cache"}) == ("answer 3", None, None)


def test_a_request_can_ask_for_it(served: Serving) -> None:
    client = served.client()
    assert chat(client, ON) == ("answer 1", "miss", None)
    text, what, age = chat(client, ON)
    assert (text, what) == ("answer 1", "hit")
    assert age is not None
    assert 0 <= int(age) <= 5
    assert chat(client)[0] == "answer 2", "without asking, nothing is given again"
    assert chat(client, {"x-antiphon-cache": "60"})[:2] == ("answer 1", "hit")


def test_every_answer_has_an_id_of_its_own(served: Serving) -> None:
    client = served.client(default_headers=ON)
    made = [client.responses.create(model="scripted", input="hello") for _ in range(2)]
    assert [response.output_text for response in made] == ["answer 1", "answer 1"]
    assert made[0].id != made[1].id
    assert made[0].output[0].id != made[1].output[0].id
    for response in made:
        again = client.responses.retrieve(response.id)
        assert again.output_text == "answer 1"
    client.responses.delete(made[0].id)
    assert client.responses.retrieve(made[1].id).output_text == "answer 1"
    follow = client.responses.create(model="scripted", input="more", previous_response_id=made[1].id)
    assert follow.output_text == "answer 2"


def test_a_stream_is_a_stream_again(served: Serving) -> None:
    client = served.client(default_headers=ON)

    def pieces() -> list[str]:
        stream = client.chat.completions.create(**ASK, stream=True)
        return [chunk.choices[0].delta.content for chunk in stream if chunk.choices and chunk.choices[0].delta.content]

    assert pieces() == pieces() == ["answer", " ", "1"]
    for _ in range(2):
        stream = client.responses.create(model="scripted", input="hello", stream=True)
        check_sequence([json.loads(event.to_json()) for event in stream])


def test_surfaces_share_what_is_the_same(served: Serving) -> None:
    client = served.client(default_headers=ON)
    assert chat(client)[0] == "answer 1"
    raw = client.responses.with_raw_response.create(model="scripted", input="hello")
    assert raw.headers["x-antiphon-cache"] == "hit"
    response = raw.parse()
    assert response.output_text == "answer 1"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "hello "}]},
        {"messages": [{"role": "system", "content": "be short"}, *ASK["messages"]]},
        {"temperature": 0.5},
        {"max_tokens": 10},
        {"seed": 3},
        {"stop": ["x"]},
        {"response_format": {"type": "json_object"}},
        {"reasoning_effort": "low"},
        {"logprobs": True},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
    ],
    ids=str,
)
def test_what_differs_is_asked_anew(served: Serving, counting: Counting, change: dict[str, Any]) -> None:
    client = served.client(default_headers=ON)
    chat(client)
    body = {**ASK, **change}
    client.chat.completions.with_raw_response.create(**body)
    assert counting.count == 2
    client.chat.completions.with_raw_response.create(**body)
    assert counting.count == 2


def test_choices_of_one_call_differ_and_are_given_again_as_they_were(served: Serving) -> None:
    client = served.client(default_headers=ON)

    def choices() -> tuple[list[str | None], str | None]:
        raw = client.chat.completions.with_raw_response.create(**ASK, n=3)
        return [choice.message.content for choice in raw.parse().choices], raw.headers.get("x-antiphon-cache")

    made, what = choices()
    assert sorted(map(str, made)) == ["answer 1", "answer 2", "answer 3"]
    assert what == "miss"
    assert choices() == (made, "hit")


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"x-antiphon-cache": "off"}, False),
        ({"x-antiphon-cache": "on", "cache-control": "no-store"}, False),
        ({"x-antiphon-cache": "on", "cache-control": "no-cache"}, True),
        ({"x-antiphon-cache": "on", "cache-control": "max-age=0"}, True),
    ],
    ids=str,
)
def test_a_request_can_ask_for_a_new_answer(served: Serving, headers: dict[str, str], kept: bool) -> None:
    rule(served, 600)
    client = served.client()
    assert chat(client)[0] == "answer 1"
    text, what, _ = chat(client, headers)
    assert (text, what) == ("answer 2", "miss" if kept else "bypass")
    assert chat(client)[:2] == ("answer 2" if kept else "answer 1", "hit")


def test_a_projects_rule_holds_for_all_its_requests(served: Serving) -> None:
    rule(served, 600)
    client = served.client()
    assert chat(client)[:2] == ("answer 1", "miss")
    assert chat(client)[:2] == ("answer 1", "hit")
    assert chat(client, store=False)[:2] == ("answer 2", "bypass"), "what may not be stored is not"
    assert chat(client, ON, store=False)[:2] == ("answer 1", "hit"), "unless it is asked for"


def test_a_project_can_forbid_it(served: Serving) -> None:
    rule(served, OFF)
    client = served.client()
    assert chat(client, ON)[:2] == ("answer 1", "bypass")
    assert chat(client, ON)[:2] == ("answer 2", "bypass")


def test_projects_share_nothing(served: Serving) -> None:
    other = OpenAI(base_url=served.base_url, api_key=other_project(served), max_retries=0)
    assert chat(served.client(), ON)[:2] == ("answer 1", "miss")
    assert chat(other, ON)[:2] == ("answer 2", "miss")
    assert chat(other, ON)[:2] == ("answer 2", "hit")


@pytest.mark.parametrize("value", ["yes", "0", "-1", "99999999999", "1.5", ""])
def test_a_bad_header_is_refused(served: Serving, value: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        chat(served.client(), {"x-antiphon-cache": value})
    assert caught.value.code == "invalid_header"
    assert caught.value.param == "X-Antiphon-Cache"


def test_refusals_and_what_was_held_back_are_not_kept(tmp_path: Path) -> None:
    scripts: dict[str, list[Step]] = {
        "refuse": [RefusalDelta("I will not."), Finish("stop")],
        "filter": [TextDelta("some"), Finish("content_filter")],
        "nothing": [Finish("stop")],
        "cut": [TextDelta("some"), Finish("length")],
    }

    def script(generation: Generation) -> Sequence[Step]:
        return scripts[generation.turns[-1].text]  # type: ignore[union-attr]

    with serving(ScriptedEngine(script), tmp_path) as served:
        client = served.client(default_headers=ON)
        for what, expected in [("refuse", "miss"), ("filter", "miss"), ("nothing", "miss"), ("cut", "hit")]:
            messages: Any = [{"role": "user", "content": what}]
            for _ in range(2):
                raw = client.chat.completions.with_raw_response.create(model="scripted", messages=messages)
            assert raw.headers["x-antiphon-cache"] == expected, what


def test_tool_calls_come_again_with_ids_of_their_own(tmp_path: Path) -> None:
    def script(generation: Generation) -> Sequence[Step]:
        if len(generation.turns) > 1:
            return saying(f"after {generation.turns[-1].output}")(generation)  # type: ignore[union-attr]
        call = [CallStart("look", "call_1"), CallArguments('{"a":'), CallArguments("1}")]
        return [*call, Finish("tool_calls", Usage(5, 0, 5))]

    tools: Any = [{"type": "function", "name": "look", "parameters": {"type": "object"}}]
    engine = ScriptedEngine(script)
    with serving(engine, tmp_path) as served:
        client = served.client(default_headers=ON)
        answers, ids = [], set()
        for _ in range(2):
            first = client.responses.create(model="scripted", input="go", tools=tools, store=False)
            call: Any = first.output[0]
            assert (call.name, call.arguments) == ("look", '{"a":1}')
            ids.add(call.call_id)
            output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "42"}
            history: Any = [{"role": "user", "content": "go"}, json.loads(call.to_json()), output]
            answers.append(client.responses.create(model="scripted", input=history, tools=tools).output_text)
    assert len(ids) == 2
    assert answers == ["after 42", "after 42"]
    assert len(engine.asked) == 2, "the second round was not recognised: its ids are others, what it says is not"


def test_equal_requests_at_once_share_one_generation(tmp_path: Path) -> None:
    gate = ScriptGate()
    steps: list[Step] = [TextDelta("one "), gate.step(), TextDelta("two"), Finish("stop", Usage(1, 0, 2))]
    engine = ScriptedEngine(lambda _: steps)
    with serving(engine, tmp_path) as served:
        client = served.client(default_headers=ON)
        results: list[tuple[str, str | None, str | None]] = []
        threads = [threading.Thread(target=lambda: results.append(chat(client))) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert gate.arrived.wait(10)
        streamed = client.chat.completions.create(**ASK, stream=True)
        begun = next(chunk for chunk in streamed if chunk.choices[0].delta.content)
        assert begun.choices[0].delta.content == "one ", "a stream must not wait for the end of what it shares"
        gate.open()
        for thread in threads:
            thread.join(10)
        assert [chunk.choices[0].delta.content for chunk in streamed if chunk.choices[0].delta.content] == ["two"]
        assert [text for text, _, _ in results] == ["one two"] * 8
        assert sorted(str(what) for _, what, _ in results) == ["hit"] * 7 + ["miss"]
        assert len(engine.asked) == 1


def test_a_shared_generation_outlives_whoever_asked_first(tmp_path: Path) -> None:
    gate = ScriptGate()
    steps: list[Step] = [TextDelta("one "), gate.step(), TextDelta("two"), Finish("stop", Usage(1, 0, 2))]
    engine = ScriptedEngine(lambda _: steps)
    with serving(engine, tmp_path) as served:
        client = served.client(default_headers=ON)
        first = client.chat.completions.create(**ASK, stream=True)
        assert next(iter(first))
        assert gate.arrived.wait(10)
        second = client.chat.completions.create(**ASK, stream=True)
        assert next(iter(second))
        first.close()
        third = client.chat.completions.create(**ASK, stream=True)
        gate.open()
        for stream in (second, third):
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
            assert text.endswith("two")
        assert len(engine.asked) == 1
        assert engine.closed == 0
        assert chat(client)[:2] == ("one two", "hit")


def test_a_generation_that_nobody_listens_to_any_more_is_ended(tmp_path: Path) -> None:
    gate = ScriptGate()
    engine = ScriptedEngine(lambda _: [TextDelta("one "), gate.step(), Finish("stop")])
    with serving(engine, tmp_path) as served:
        client = served.client(default_headers=ON)
        streams = [client.chat.completions.create(**ASK, stream=True) for _ in range(3)]
        for stream in streams:
            next(iter(stream))
        for stream in streams:
            stream.close()
        until(lambda: engine.closed == 1, "the generation was not ended")
        assert len(engine.asked) == 1


def test_background_responses_keep_the_requests_wish(served: Serving) -> None:
    rule(served, 600)
    client = served.client()
    assert chat(client)[0] == "answer 1"

    def made(headers: dict[str, str]) -> str:
        response = client.responses.create(model="scripted", input="hello", background=True, extra_headers=headers)
        until(lambda: client.responses.retrieve(response.id).status == "completed", "no end")
        return client.responses.retrieve(response.id).output_text

    assert made({}) == "answer 1"
    assert made({"x-antiphon-cache": "off"}) == "answer 2"


def test_a_websockets_opening_speaks_for_its_responses(served: Serving) -> None:
    address = f"{served.base_url.replace('http', 'ws')}/responses"

    def asked(headers: dict[str, str]) -> list[str]:
        with connect(address, additional_headers={**served.headers, **headers}) as connection:
            client = Client(connection)
            return [client.ask(input="hello")["output"][0]["content"][0]["text"] for _ in range(2)]

    assert asked(ON) == ["answer 1", "answer 1"]
    assert asked({}) == ["answer 2", "answer 3"]
    with pytest.raises(InvalidStatus) as caught:
        asked({"x-antiphon-cache": "perhaps"})
    assert caught.value.response.status_code == 400


def test_no_log_holds_what_is_kept(served: Serving, capfd: pytest.CaptureFixture[str]) -> None:
    client = served.client(default_headers=ON)
    with logged("debug") as lines:
        for _ in range(2):
            chat(client, messages=[{"role": "user", "content": "the secret question"}])
        until(lambda: lines.text.count("/v1/chat/completions") == 2, "the lines of both calls")
    written = lines.text + "".join(capfd.readouterr())
    assert "/v1/chat/completions" in written
    assert "secret question" not in written
    assert "answer 1" not in written


def test_the_database_tells_nothing_of_what_was_asked(served: Serving) -> None:
    client = served.client(default_headers=ON)
    chat(client, messages=[{"role": "user", "content": "the secret question"}])

    async def answers(store: SqlStore) -> list[bytes]:
        rows = await store._database.read(
            lambda session: session._cursor.execute("SELECT key, body FROM cached_answers", {}).fetchall()
        )
        return [bytes(value) for row in rows for value in row]

    until(lambda: len(in_store(served, answers)) == 2, "nothing was kept")
    assert not any(b"secret question" in value for value in in_store(served, answers))
