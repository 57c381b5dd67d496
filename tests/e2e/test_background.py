"""Background responses: accepted, followed, resumed, cancelled, on one server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed
from antiphon.domain.jobs import Job
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.jobs.runner import JobRunner
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Finish, Generation, TextDelta, Usage
from antiphon.stores.store import SqlStore
from conformance.sequence import check_sequence
from conformance.spec import check_response, check_response_event
from support.gate import ScriptGate
from support.rawhttp import Wire
from support.serving import Serving, other_project, serving

ENDED = {"completed", "failed", "incomplete", "cancelled"}
STOP = Finish("stop", Usage(1, 0, 2))


def words(count: int) -> list[Step]:
    return [*(TextDelta(f"w{number} ") for number in range(count)), STOP]


def engine(script: Callable[[Generation], list[Step]], **options: Any) -> ScriptedEngine:
    return ScriptedEngine(script, capabilities=Capabilities(context_tokens=10_000, continues=True), **options)


def until_ended(client: openai.OpenAI, response_id: str) -> Any:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        response = client.responses.retrieve(response_id)
        if response.status in ENDED:
            return response
        time.sleep(0.01)
    raise AssertionError("it did not end")


def stream_bytes(served: Serving, response_id: str, query: str = "") -> bytes:
    url = f"{served.url}/v1/responses/{response_id}?stream=true{query}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=served.headers), timeout=10) as answer:
        return bytes(answer.read())


def bodies(stream: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_it_is_accepted_at_once_and_polled(tmp_path: Path) -> None:
    go = asyncio.Event()
    with serving(engine(lambda _: [TextDelta("a"), go, *words(3)]), tmp_path) as served:
        client = served.client()
        accepted = client.responses.create(model="gpt-5-mini", input="hi", background=True)
        assert accepted.status == "queued"
        assert accepted.background
        check_response(accepted.model_dump(exclude_unset=True))
        deadline = time.monotonic() + 5
        while client.responses.retrieve(accepted.id).status == "queued":
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert client.responses.retrieve(accepted.id).status == "in_progress"
        served.call(go.set)
        done = until_ended(client, accepted.id)
        assert done.output_text == "aw0 w1 w2 "
        check_response(done.model_dump(exclude_unset=True))
        again = client.responses.create(model="gpt-5-mini", input="more", previous_response_id=done.id)
        assert again.status == "completed"


def test_a_stream_is_resumed_with_the_same_bytes_from_any_point(tmp_path: Path) -> None:
    with serving(engine(lambda _: words(20)), tmp_path) as served:
        client = served.client()
        events = list(client.responses.create(model="gpt-5-mini", input="hi", background=True, stream=True))
        response_id = events[0].response.id  # type: ignore[union-attr]  # response.created
        whole = stream_bytes(served, response_id)
        stream = bodies(whole)
        check_sequence(stream)
        for body in stream:
            check_response_event(body)
        assert [event.to_json(indent=None) for event in events] == [
            type(event).construct(**body).to_json(indent=None) for event, body in zip(events, stream, strict=True)
        ]
        parts = whole.split(b"\n\n")
        for after in range(len(stream)):
            assert stream_bytes(served, response_id, f"&starting_after={after}") == b"\n\n".join(parts[after + 1 :])
        resumed = list(client.responses.retrieve(response_id, stream=True, starting_after=7))
        assert [event.sequence_number for event in resumed] == list(range(8, len(stream)))
        plain = bodies(stream_bytes(served, response_id, "&include_obfuscation=false"))
        assert not any("obfuscation" in body for body in plain)
        assert any("obfuscation" in body for body in stream)


def test_many_follow_one_response_while_it_is_made(tmp_path: Path) -> None:
    go = asyncio.Event()
    with serving(engine(lambda _: [TextDelta("a"), go, *words(200)]), tmp_path) as served:
        accepted = served.client().responses.create(model="gpt-5-mini", input="hi", background=True)
        streams: list[bytes] = []
        followers = [
            threading.Thread(target=lambda: streams.append(stream_bytes(served, accepted.id))) for _ in range(5)
        ]
        for follower in followers:
            follower.start()
        served.call(go.set)
        for follower in followers:
            follower.join(10)
        assert len(streams) == 5
        assert len(set(streams)) == 1
        check_sequence(bodies(streams[0]))


def test_hanging_up_changes_nothing(tmp_path: Path) -> None:
    go = asyncio.Event()
    with serving(engine(lambda _: [TextDelta("a"), go, *words(2)]), tmp_path) as served:
        client = served.client()
        stream = client.responses.create(model="gpt-5-mini", input="hi", background=True, stream=True)
        first = next(iter(stream))
        stream.close()
        served.call(go.set)
        assert until_ended(client, first.response.id).status == "completed"  # type: ignore[union-attr]


def test_cancelling_stops_the_engine_and_may_be_said_twice(tmp_path: Path) -> None:
    never = asyncio.Event()
    scripted = engine(lambda _: [TextDelta("a"), never, STOP])
    with serving(scripted, tmp_path) as served:
        client = served.client()
        stream = client.responses.create(model="gpt-5-mini", input="hi", background=True, stream=True)
        seen = []
        for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta":
                cancelled = client.responses.cancel(seen[0].response.id)  # type: ignore[union-attr]
                assert cancelled.status == "cancelled"
        assert seen[-1].type == "response.incomplete"
        assert seen[-1].response.status == "cancelled"
        check_sequence([event.model_dump(exclude_unset=True) for event in seen])
        assert scripted.closed == 1
        again = client.responses.cancel(cancelled.id)
        assert again.to_dict() == cancelled.to_dict()
        assert cancelled.output[0].content[0].text == "a"  # type: ignore[union-attr]  # the message


def test_what_waits_its_turn_can_be_cancelled_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BACKGROUND", 1)
    never = asyncio.Event()
    with serving(engine(lambda _: [TextDelta("a"), never, STOP]), tmp_path) as served:
        client = served.client()
        first = client.responses.create(model="gpt-5-mini", input="1", background=True)
        second = client.responses.create(model="gpt-5-mini", input="2", background=True)
        waits, made = (second, first) if _begins(client, first.id, second.id) == first.id else (first, second)
        # To end what waits needs no room.
        assert client.responses.cancel(waits.id).status == "cancelled"
        assert client.responses.retrieve(made.id).status == "in_progress"
        assert client.responses.cancel(made.id).status == "cancelled"


def _begins(client: openai.OpenAI, *ids: str) -> str:
    """The one of these that is made first: of the same second, it may be any."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for each in ids:
            if client.responses.retrieve(each).status == "in_progress":
                return each
    raise AssertionError("none was begun")


def test_a_cancel_is_not_lost_while_the_worker_takes_the_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, cancelled = SqlStore.claim_jobs, asyncio.Event()

    async def claim_and_dally(store: SqlStore, *args: Any, **options: Any) -> list[Job]:
        claimed = await claim(store, *args, **options)
        if claimed:
            await cancelled.wait()
        return claimed

    def cancel(runner: JobRunner, name: tuple[str, str]) -> None:
        note(runner, name)
        cancelled.set()

    note = JobRunner._cancel
    monkeypatch.setattr(SqlStore, "claim_jobs", claim_and_dally)
    monkeypatch.setattr(JobRunner, "_cancel", cancel)
    with serving(engine(lambda _: [TextDelta("a"), asyncio.Event(), STOP]), tmp_path) as served:
        client = served.client()
        made = client.responses.create(model="gpt-5-mini", input="hi", background=True)
        assert client.responses.cancel(made.id).status == "cancelled"


def test_an_engine_that_breaks_fails_the_response(tmp_path: Path) -> None:
    with serving(engine(lambda _: [TextDelta("a"), EngineFailed("It broke.")]), tmp_path) as served:
        client = served.client()
        accepted = client.responses.create(model="gpt-5-mini", input="hi", background=True)
        failed = until_ended(client, accepted.id)
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.message == "It broke."
        check_sequence(bodies(stream_bytes(served, accepted.id)))


def test_deleting_one_that_is_made_ends_it(tmp_path: Path) -> None:
    never = asyncio.Event()
    scripted = engine(lambda _: [TextDelta("a"), never, STOP])
    with serving(scripted, tmp_path) as served:
        client = served.client()
        accepted = client.responses.create(model="gpt-5-mini", input="hi", background=True)
        client.responses.delete(accepted.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(accepted.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(accepted.id, stream=True)


def test_the_log_is_bounded_and_a_lost_offset_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_LOG_BYTES", 16_384)
    with serving(engine(lambda _: words(200)), tmp_path) as served:
        client = served.client()
        accepted = client.responses.create(model="gpt-5-mini", input="hi", background=True)
        done = until_ended(client, accepted.id)
        assert len(done.output_text.split()) == 200
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.retrieve(accepted.id, stream=True)
        assert caught.value.code == "event_log_expired"
        assert caught.value.param == "starting_after"
        last = list(client.responses.retrieve(accepted.id, stream=True, starting_after=190))
        assert last[0].sequence_number == 191
        assert last[-1].type == "response.completed"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"store": False}, "invalid_value", "store"),
        ({"model": "nope"}, "model_not_found", "model"),
        ({"previous_response_id": "resp_nope"}, "previous_response_not_found", "previous_response_id"),
        ({"background": "yes"}, "invalid_type", "background"),
    ],
)
def test_what_cannot_be_accepted_is_refused_at_once(
    tmp_path: Path, body: dict[str, Any], code: str, param: str
) -> None:
    with serving(engine(lambda _: words(1)), tmp_path) as served:
        whole = {"model": "gpt-5-mini", "input": "hi", "background": True, **body}
        with pytest.raises(openai.APIStatusError) as caught:
            served.client().responses.create(**whole)
        assert (caught.value.code, caught.value.param) == (code, param)  # type: ignore[attr-defined]


def test_foreground_responses_are_neither_cancelled_nor_streamed_again(tmp_path: Path) -> None:
    with serving(engine(lambda _: words(1)), tmp_path) as served:
        client = served.client()
        made = client.responses.create(model="gpt-5-mini", input="hi")
        for call in (
            lambda: client.responses.cancel(made.id),
            lambda: client.responses.retrieve(made.id, stream=True),
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                call()
            assert caught.value.code == "not_a_background_response"
        with pytest.raises(openai.NotFoundError):
            client.responses.cancel("resp_unknown")


def test_another_project_sees_nothing_of_it(tmp_path: Path) -> None:
    never = asyncio.Event()
    with serving(engine(lambda _: [TextDelta("a"), never, STOP]), tmp_path) as served:
        client = served.client()
        accepted = client.responses.create(model="gpt-5-mini", input="hi", background=True)
        other = openai.OpenAI(base_url=f"{served.url}/v1", api_key=other_project(served), max_retries=0)
        for response_id in (accepted.id, "resp_unknown"):
            for call in (other.responses.retrieve, other.responses.cancel, other.responses.delete):
                with pytest.raises(openai.NotFoundError) as caught:
                    call(response_id)
                assert response_id in caught.value.message
            with pytest.raises(openai.NotFoundError):
                other.responses.retrieve(response_id, stream=True)
        assert client.responses.retrieve(accepted.id).status in {"queued", "in_progress"}
        client.responses.cancel(accepted.id)


def test_a_log_that_is_no_longer_kept_is_an_error_from_any_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOG_TTL", -10)
    monkeypatch.setattr(limits, "SWEEP_TICK", 0.05)
    with serving(engine(lambda _: words(3)), tmp_path) as served:
        client = served.client()
        accepted = client.responses.create(model="gpt-5-mini", input="hi", background=True)
        until_ended(client, accepted.id)
        deadline = time.monotonic() + 5
        while b"[DONE]" in b"".join(_try(served, accepted.id)):
            assert time.monotonic() < deadline
        for after in (0, 3, 1000):
            with pytest.raises(openai.BadRequestError) as caught:
                client.responses.retrieve(accepted.id, stream=True, starting_after=after)
            assert caught.value.code == "event_log_expired"
        assert client.responses.retrieve(accepted.id).output_text == "w0 w1 w2 "


def _try(served: Serving, response_id: str) -> list[bytes]:
    try:
        return [stream_bytes(served, response_id)]
    except urllib.error.HTTPError as refused:
        with refused:
            return []


def test_following_begins_before_there_is_anything_new(tmp_path: Path) -> None:
    """The head of the answer is not held back until the next event, nor until a heartbeat."""
    gate = ScriptGate()
    with serving(engine(lambda _: [TextDelta("a"), gate.step(), *words(2)]), tmp_path) as served:
        client = served.client()
        stream = client.responses.create(model="gpt-5-mini", input="hi", background=True, stream=True)
        events = iter(stream)
        first = next(events)
        last = next(event for event in events if event.type == "response.output_text.delta")
        with Wire(served.url, served.headers, timeout=limits.STREAM_HEARTBEAT / 2) as wire:
            path = f"/v1/responses/{first.response.id}?stream=true&starting_after={last.sequence_number}"  # type: ignore[union-attr]
            wire.send(wire.head("GET", path, {}, None))
            status, headers = wire.read_head()
            assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            gate.open()
            assert b"w0" in wire.read_until(b"w0")
        stream.close()
