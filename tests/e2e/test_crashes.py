"""What is left after a process is killed: of the server, and of the engine under load."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response

from support.checking import Answers
from support.long import LONG, begin, ends_as
from support.real import Server, launch
from support.shallow import shallow_model

SHORT: dict[str, Any] = {"model": "gpt-5-mini", "input": "Say hello.", "max_output_tokens": 16}


@contextlib.contextmanager
def workers(count: int) -> Iterator[Callable[..., Future[Any]]]:
    """Threads that work beside the test."""
    with ThreadPoolExecutor(count) as pool:
        yield pool.submit


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, answers: Answers) -> None:
    kept: list[Response] = []
    deleted: list[str] = []
    enough = threading.Event()

    def work(client: OpenAI) -> None:
        with contextlib.suppress(openai.APIConnectionError):
            while True:
                kept.append(client.responses.create(**SHORT))
                if len(kept) % 3 == 0:
                    gone = client.responses.create(**SHORT).id
                    client.responses.delete(gone)
                    deleted.append(gone)
                if len(kept) >= 6 and deleted:
                    enough.set()

    with launch(tmp_path, "--model", str(shallow_model()), "--slots", "3") as server, answers.client(server) as client:
        with workers(2) as start, begin(client, **LONG) as stream:
            working = [start(work, client) for _ in range(2)]
            assert enough.wait(60)
            os.kill(server.process.pid, signal.SIGKILL)
            with contextlib.suppress(openai.APIError):
                stream.ending()
            for each in working:
                each.result(30)
        server.process.wait(5)
    answers.problems.clear()  # answers that the kill cut off in the middle are no fault of the server
    # What is looked up needs no engine.
    with (
        launch(tmp_path, "--model", str(shallow_model()), "--engine-start", "lazy", ready=False) as server,
        answers.client(server) as client,
    ):
        ends_as(client, stream.response_id, "failed")
        assert [client.responses.retrieve(response.id) for response in kept] == kept
        for gone in deleted:
            with pytest.raises(openai.NotFoundError):
                client.responses.retrieve(gone)
        # The engine starts with the first request that needs it, and the old conversations go on.
        assert client.responses.create(**SHORT, previous_response_id=kept[-1].id).output_text
        with pytest.raises(openai.BadRequestError):
            client.responses.create(**SHORT, previous_response_id=deleted[0])


def test_the_engine_is_killed_under_load(small: Server, answers: Answers) -> None:
    old = small.engine()
    with (
        answers.client(small) as client,
        workers(3) as start,
        begin(client, **LONG) as stream,
        begun_chat(client) as chunks,
    ):
        # Both slots are busy, so these wait.
        waiting = [start(client.responses.create, **SHORT) for _ in range(2)]
        waiting.append(start(client.chat.completions.create, **chat()))
        old.kill()
        assert stream.ending() == "response.failed"
        with pytest.raises(openai.APIError) as broken:
            list(chunks)
        assert broken.value.code == "engine_failed"
        for each in waiting:
            # Those that waited for a slot are answered by the next child, or refused in the same words.
            error = each.exception(60)
            assert error is None or isinstance(error, openai.InternalServerError), error
        ends_as(client, stream.response_id, "failed")
        assert client.responses.create(**SHORT).output_text, "the next request is served"
    assert small.engine().pid != old.pid
    assert not old.is_running()
    assert small.ready()


@contextlib.contextmanager
def begun_chat(client: OpenAI) -> Iterator[Iterator[ChatCompletionChunk]]:
    """A long chat completion whose first text has come."""
    form = {name: value for name, value in LONG["text"]["format"].items() if name != "type"}
    ask: dict[str, Any] = {
        **chat(),
        "max_completion_tokens": None,
        "response_format": {"type": "json_schema", "json_schema": form},
    }
    with client.chat.completions.create(**ask, stream=True) as stream:
        chunks = iter(stream)
        next(chunk for chunk in chunks if chunk.choices[0].delta.content)
        yield chunks


def chat() -> dict[str, Any]:
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hello."}], "max_completion_tokens": 5}


def test_postgresql_end_to_end(tmp_path: Path, postgres_url: str, answers: Answers) -> None:
    with (
        launch(tmp_path, "--model", str(shallow_model()), "--database", postgres_url) as server,
        answers.client(server) as client,
    ):
        first = client.responses.create(**SHORT, metadata={"a": "b"})
        second = client.responses.create(**SHORT, previous_response_id=first.id)
        assert client.responses.retrieve(second.id) == second
        assert [item.type for item in client.responses.input_items.list(second.id)] == ["message"]
        *_, last = client.responses.create(**SHORT, stream=True)
        assert last.type in ("response.completed", "response.incomplete")
        streamed = last.response
        completion = client.chat.completions.create(**chat(), store=True, metadata={"k": "v"})
        assert [each.id for each in client.chat.completions.list(metadata={"k": "v"})] == [completion.id]
        client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.id)
        with begin(client, **LONG) as unfinished:
            os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(5)
    assert not (tmp_path / "data" / "antiphon.db").exists()
    again = ("--model", str(shallow_model()), "--database", postgres_url, "--engine-start", "lazy")
    with launch(tmp_path, *again, ready=False) as server, answers.client(server) as client:
        assert client.responses.retrieve(streamed.id).output_text == streamed.output_text
        ends_as(client, unfinished.response_id, "failed")
        client.chat.completions.delete(completion.id)
