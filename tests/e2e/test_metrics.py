"""/metrics and the lines of calls, as whoever runs a server sees them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import NotFoundError, OpenAI
from prometheus_client.parser import text_string_to_metric_families

from antiphon.domain import keys
from antiphon.domain.errors import EngineFailed
from antiphon.domain.tenancy import AdminKey
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.protocol.generation import Finish, Generation, Message, TextDelta, Usage
from support.inside import in_store
from support.loglines import Lines, logged
from support.rawhttp import Wire
from support.serving import Serving, serving
from support.sockets import opened

SAID = "a very private question"
ANSWERED = "an answer as private"


def script(generation: Generation) -> list[Step]:
    last = generation.turns[-1]
    if isinstance(last, Message) and last.text == "break":
        return [TextDelta("an"), EngineFailed("It broke.")]
    if isinstance(last, Message) and last.text == "endless":
        return [TextDelta("on and on"), *[TextDelta(" and on")] * 10_000, Finish("stop", Usage(1, 0, 1))]
    return [TextDelta(ANSWERED[:5]), TextDelta(ANSWERED[5:]), Finish("stop", Usage(7, 3, 2))]


@pytest.fixture
def lines() -> Iterator[Lines]:
    with logged() as lines:
        yield lines


@pytest.fixture
def served(lines: Lines, tmp_path: Path) -> Iterator[Serving]:
    with serving(ScriptedEngine(script, pace=0.0005), tmp_path) as server:
        yield server


@pytest.fixture
def client(served: Serving) -> OpenAI:
    return served.client()


def fetch(served: Serving, **headers: str) -> str:
    with Wire(served.url, headers) as wire:
        answer = wire.ask("GET", "/metrics")
    assert answer.status == 200, answer.body
    return answer.body.decode()


def figures(served: Serving) -> dict[str, list[tuple[dict[str, str], float]]]:
    result: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(fetch(served)):
        for sample in family.samples:
            result.setdefault(sample.name, []).append((sample.labels, sample.value))
    return result


def value(served: Serving, name: str, **labels: str) -> float:
    return sum(value for has, value in figures(served).get(name, []) if labels.items() <= has.items())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def chat(client: OpenAI, said: str = SAID, **options: Any) -> Any:
    return client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": said}], **options)


# --- figures ----------------------------------------------------------------------------------------------------------
def test_every_call_is_in_the_figures(served: Serving, client: OpenAI) -> None:
    chat(client)
    list(chat(client, stream=True))
    client.responses.create(model="gpt-5-mini", input=SAID)
    with pytest.raises(NotFoundError):
        client.chat.completions.create(model=SAID, messages=[{"role": "user", "content": SAID}])
    chats = {"endpoint": "/v1/chat/completions", "method": "POST"}
    assert value(served, "antiphon_requests_total", **chats, status="2xx", model="gpt-5-mini") == 2
    assert value(served, "antiphon_requests_total", **chats, status="4xx", model="other") == 1
    assert value(served, "antiphon_requests_total", endpoint="/v1/responses", status="2xx") == 1
    assert value(served, "antiphon_errors_total", code="model_not_found") == 1
    assert value(served, "antiphon_tokens_total", kind="input", model="gpt-5-mini") == 21
    assert value(served, "antiphon_tokens_total", kind="cached", model="gpt-5-mini") == 9
    assert value(served, "antiphon_tokens_total", kind="output", model="gpt-5-mini") == 6
    assert value(served, "antiphon_target_attempts_total", target="local/scripted", outcome="ok") == 3
    assert value(served, "antiphon_key_calls_total") == 4
    assert value(served, "antiphon_key_errors_total") == 1
    assert value(served, "antiphon_first_token_seconds_count", model="gpt-5-mini", target="local/scripted") == 3
    assert value(served, "antiphon_call_seconds_bucket", model="gpt-5-mini", le="+Inf") == 3
    assert value(served, "antiphon_generations_in_flight") == 0
    assert value(served, "antiphon_requests_in_flight") == 1, "the one that asks"
    until(lambda: value(served, "antiphon_loop_lag_seconds_count") > 0)  # it looks a few times a second
    assert value(served, "antiphon_store_writes_waiting") >= 0
    assert value(served, "process_resident_memory_bytes") > 1e6


def test_nothing_that_a_client_said_is_in_them(served: Serving, client: OpenAI, lines: Lines) -> None:
    chat(client, user="somebody", metadata={"k": "private too"})
    with pytest.raises(NotFoundError):
        client.responses.create(model=SAID, input=SAID, extra_query={"q": SAID})
    with Wire(served.url, {"Authorization": "Bearer sk-wrong-secret", "X-Client-Request-Id": "ours-99"}) as wire:
        wire.ask("GET", f"/v1/models/{SAID.replace(' ', '-')}")
        wire.ask("BREW", "/v1/models")
    text = fetch(served) + lines.text
    private = (SAID, SAID.replace(" ", "-"), ANSWERED, "somebody", "private too", "ours-99")
    for secret in (*private, served.key, "sk-wrong-secret", "BREW"):
        assert secret not in text


# --- lines ------------------------------------------------------------------------------------------------------------
def test_one_line_for_a_call(served: Serving, client: OpenAI, lines: Lines) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-5-mini", messages=[{"role": "user", "content": SAID}]
    )
    until(lines.requests)
    [line] = lines.requests()
    assert line["request_id"] == raw.headers["x-request-id"]
    assert line["project"].startswith("proj_")
    assert line["key"].startswith("key_")
    assert (line["model"], line["target"], line["attempts"]) == ("gpt-5-mini", "local/scripted", 1)
    assert (line["input_tokens"], line["cached_tokens"], line["output_tokens"]) == (7, 3, 2)
    assert 0 <= line["first_ms"] <= line["ms"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/chat/completions", 200)
    assert "error" not in line


def test_one_line_for_a_stream_with_its_tokens(client: OpenAI, lines: Lines) -> None:
    list(chat(client, stream=True))
    until(lines.requests)
    [line] = lines.requests()
    assert (line["stream"], line["output_tokens"], line["status"]) == (True, 2, 200)


def test_one_line_for_several_choices(client: OpenAI, lines: Lines) -> None:
    chat(client, n=3)
    until(lines.requests)
    [line] = lines.requests()
    assert (line["attempts"], line["output_tokens"]) == (3, 6)


def test_a_stream_that_broke_says_so(client: OpenAI, lines: Lines) -> None:
    events = list(client.responses.create(model="gpt-5-mini", input="break", stream=True))
    assert events[-1].type == "response.failed"
    until(lines.requests)
    [line] = lines.requests()
    assert (line["status"], line["estimated"]) == (200, True)
    assert line["error"]


def test_a_client_that_hangs_up_has_its_line(served: Serving, client: OpenAI, lines: Lines) -> None:
    stream = chat(client, "endless", stream=True)
    # The first chunk has the role, and comes before anything is generated.
    next(chunk for chunk in stream if chunk.choices[0].delta.content)
    stream.close()
    until(lines.requests)
    [line] = lines.requests()
    assert line["error"] == "client_gone"
    assert line["estimated"] is True
    assert line["output_tokens"] > 0
    assert value(served, "antiphon_generations_in_flight") == 0
    assert value(served, "antiphon_target_attempts_total", outcome="failed") == 0


def test_background_has_a_line_for_its_request_and_one_for_what_was_made(client: OpenAI, lines: Lines) -> None:
    response = client.responses.create(model="gpt-5-mini", input=SAID, background=True)
    until(lambda: len(lines.requests()) == 2)
    asked, done = sorted(lines.requests(), key=lambda line: line["method"] == "BACKGROUND")
    assert "target" not in asked
    assert (done["method"], done["request_id"], done["output_tokens"]) == ("BACKGROUND", response.id, 2)
    assert done["key"] == asked["key"]


def test_every_response_of_a_socket_has_a_line(served: Serving, lines: Lines) -> None:
    with opened(served) as socket:
        for _ in range(2):
            socket.ask(input=SAID)
    until(lambda: len(lines.requests()) == 2)
    assert [line["method"] for line in lines.requests()] == ["WEBSOCKET", "WEBSOCKET"]
    assert [line["output_tokens"] for line in lines.requests()] == [2, 2]


def test_requests_without_a_key_have_a_line_and_no_project(served: Serving, lines: Lines) -> None:
    with Wire(served.url, {}) as wire:
        assert wire.ask("GET", "/v1/models").status == 401
        assert wire.ask("GET", "/healthz").status == 200
    [line] = lines.requests()
    assert (line["status"], line["error"]) == (401, "missing_api_key")
    assert "project" not in line


# --- who may read -----------------------------------------------------------------------------------------------------
def admin_key(served: Serving) -> str:
    secret = "sk-admin-of-the-test"

    digest = keys.digest(served.data_dir.secret(), secret)
    in_store(served, lambda store: store.create_admin_key(AdminKey("key_a", "test", digest, "hint", "reader", 1)))
    return secret


@pytest.mark.parametrize(
    ("readers", "nobody", "behind_a_proxy", "with_admin_key"),
    [("local", 200, 401, 200), ("admin", 401, 401, 200), ("open", 200, 200, 200), ("off", 404, 404, 404)],
)
def test_who_may_read_it(readers: str, nobody: int, behind_a_proxy: int, with_admin_key: int, tmp_path: Path) -> None:
    with serving(ScriptedEngine(), tmp_path, metrics=readers) as served:
        admin = {"Authorization": f"Bearer {admin_key(served)}"}
        for headers, status in (
            ({}, nobody),
            ({"X-Forwarded-For": "127.0.0.1"}, behind_a_proxy),
            ({"Forwarded": "for=127.0.0.1"}, behind_a_proxy),
            ({**admin, "X-Forwarded-For": "203.0.113.7"}, with_admin_key),
        ):
            with Wire(served.url, headers) as wire:
                assert wire.ask("GET", "/metrics").status == status, headers
        # A project's key opens nothing of the organisation's.
        with Wire(served.url, {**served.headers, "X-Real-Ip": "203.0.113.7"}) as wire:
            assert wire.ask("GET", "/metrics").status == behind_a_proxy


def test_collectors_get_the_form_that_they_ask_for(served: Serving) -> None:
    assert fetch(served).startswith("# HELP")
    assert fetch(served, Accept="application/openmetrics-text; version=1.0.0").rstrip().endswith("# EOF")
    assert "antiphon_requests_total" in fetch(served, Accept="\x00;;;,q=zzz, */*".replace("\x00", "%"))
