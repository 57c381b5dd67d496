"""What must not be on disk is not there: every file of the data directory is searched, the database's log included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.protocol.generation import CallArguments, CallStart, Finish, Generation, Message, TextDelta, Usage
from support.serving import Serving, serving

#: In what is asked, what is answered, names, metadata and tools alike.
MARKER = "Xyzzy-7d1f4c"
DONE = Finish("stop", Usage(input_tokens=1, output_tokens=1))
FUNCTION: Any = {"type": "function", "name": "look", "description": MARKER, "parameters": None, "strict": False}
SECRET: Any = {
    "model": "gpt-5-mini",
    "instructions": MARKER,
    "metadata": {"k": MARKER},
    "tools": [FUNCTION],
    "prompt_cache_key": MARKER,
}


def script(generation: Generation) -> Sequence[Step]:
    """Speaks of the secret in the way that the last message asks for."""
    said = [turn.text for turn in generation.turns if isinstance(turn, Message) and turn.role == "user"]
    match said[-1].split()[0]:
        case "call":
            return [CallStart("call_1", "look"), CallArguments(f'{{"where": "{MARKER}"}}'), DONE]
        case "break":
            return [TextDelta(MARKER), EngineFailed("The engine broke.")]
        case "endless":
            return [*[TextDelta(f"{MARKER} ")] * 100, asyncio.Event()]
        case _:
            return [TextDelta(MARKER), TextDelta(f" {MARKER}"), DONE]


def found(path: Path) -> list[str]:
    """Files that hold the marker."""
    files = [file for file in path.rglob("*") if file.is_file()]
    assert any(file.name.startswith("antiphon.db") for file in files)
    return [file.name for file in files if MARKER.encode() in file.read_bytes()]


def gone(path: Path) -> bool:
    """Whether the marker leaves the disk while the server runs, as soon as is promised."""
    deadline = time.monotonic() + 15
    while found(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def ask(client: OpenAI, kind: str, **options: Any) -> Any:
    return client.responses.create(**SECRET, input=f"{kind} {MARKER}", **options)


# --- store: false -----------------------------------------------------------------------------------------------------
def sync(served: Serving, client: OpenAI) -> None:
    assert ask(client, "say", store=False).output_text


def stream(served: Serving, client: OpenAI) -> None:
    assert [*ask(client, "say", store=False, stream=True)][-1].type == "response.completed"


def tools(served: Serving, client: OpenAI) -> None:
    call = ask(client, "call", store=False).output[0].to_dict()
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": MARKER}
    asked = [{"role": "user", "content": f"say {MARKER}"}, call, output]
    assert client.responses.create(**SECRET, input=asked, store=False).output_text


def failed(served: Serving, client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError):
        ask(client, "break", store=False)
    assert [*ask(client, "break", store=False, stream=True)][-1].type == "response.failed"


def refused(served: Serving, client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        ask(client, "say", store=False, background=True)
    with pytest.raises(openai.BadRequestError):
        ask(client, "say", store=False, previous_response_id=f"resp_{MARKER}")
    with pytest.raises(openai.NotFoundError):
        ask(client, "say", store=False, conversation=f"conv_{MARKER}")


def cancelled(served: Serving, client: OpenAI) -> None:
    with ask(client, "endless", store=False, stream=True) as events:
        for _, event in zip(range(20), events, strict=False):
            assert event
    with httpx2.Client(headers=served.headers, timeout=0.5) as http, pytest.raises(httpx2.ReadTimeout):
        http.post(f"{served.url}/v1/responses", json={**SECRET, "input": f"endless {MARKER}", "store": False})


def chat(served: Serving, client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": f"say {MARKER}"}]
    assert client.chat.completions.create(model="gpt-5-mini", messages=messages).choices
    assert [*client.chat.completions.create(model="gpt-5-mini", messages=messages, stream=True)]


@pytest.mark.parametrize("use", [sync, stream, tools, failed, refused, cancelled, chat])
def test_what_is_not_to_be_stored_never_reaches_the_disk(
    use: Callable[[Serving, OpenAI], None], tmp_path: Path
) -> None:
    with serving(ScriptedEngine(script), tmp_path) as served:
        use(served, served.client())
        assert found(tmp_path) == []
    assert found(tmp_path) == []


def test_the_search_finds_what_is_stored(tmp_path: Path) -> None:
    with serving(ScriptedEngine(script), tmp_path) as served:
        assert ask(served.client(), "say").output_text
        assert found(tmp_path)
    assert found(tmp_path)


# --- deletion ---------------------------------------------------------------------------------------------------------
def test_what_is_deleted_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_ERASE_WITHIN", 0.2)
    with serving(ScriptedEngine(script), tmp_path) as served:
        client = served.client()
        first = ask(client, "say")
        chained = client.responses.create(**SECRET, input=f"say {MARKER}", previous_response_id=first.id)
        streamed = [*ask(client, "say", stream=True)][-1].response
        background = [*ask(client, "say", background=True, stream=True)][-1].response
        talk = client.conversations.create(
            metadata={"k": MARKER},
            items=[{"role": "user", "content": MARKER}, {"role": "user", "content": MARKER * 999}],
        )
        turn = ask(client, "say", conversation=talk.id)
        unstored = ask(client, "say", conversation=talk.id, store=False)
        assert unstored.output_text
        assert found(tmp_path)
        for response in (first, chained, streamed, background, turn):
            client.responses.delete(response.id)
        for item in client.conversations.items.list(talk.id):
            assert item.id
            client.conversations.items.delete(item.id, conversation_id=talk.id)
        client.conversations.delete(talk.id)
        assert gone(tmp_path), found(tmp_path)
    assert found(tmp_path) == []


def test_a_conversation_goes_with_all_its_items(tmp_path: Path) -> None:
    with serving(ScriptedEngine(script), tmp_path) as served:
        client = served.client()
        talk = client.conversations.create(items=[{"role": "user", "content": f"{MARKER} {n}"} for n in range(20)])
        ask(client, "say", conversation=talk.id, store=False)
        client.conversations.delete(talk.id)
    assert found(tmp_path) == []


def test_metadata_that_is_replaced_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_ERASE_WITHIN", 0.2)
    with serving(ScriptedEngine(script), tmp_path) as served:
        client = served.client()
        talk = client.conversations.create(metadata={"k": MARKER})
        client.conversations.update(talk.id, metadata={"k": "other"})
        assert gone(tmp_path), found(tmp_path)
