"""How the server behaves as an HTTP server: headers, sizes and connections."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from time import monotonic

import pytest

from antiphon.domain import limits
from support.gate import until
from support.manners import BODY, Gated, refused
from support.rawhttp import Closed, Wire
from support.serving import Serving, serving

MAX_BODY = 200_000


@pytest.fixture(scope="module")
def engine() -> Gated:
    return Gated()


@pytest.fixture(scope="module")
def served(engine: Gated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(engine, tmp_path_factory.mktemp("manners"), max_body=MAX_BODY) as server:
        yield server


@pytest.fixture
def wire(served: Serving) -> Iterator[Wire]:
    with Wire(served.url, served.headers) as connection:
        yield connection


# --- headers ----------------------------------------------------------------------------------------------------------
def test_every_answer_has_its_id_its_version_and_its_time(wire: Wire) -> None:
    answers = [
        wire.ask("GET", "/v1/models"),
        wire.ask("GET", "/healthz"),
        wire.ask("POST", "/v1/responses", BODY),
        wire.ask("POST", "/v1/responses", {**BODY, "stream": True}),
        wire.ask("GET", "/v1/responses/resp_unknown"),
        wire.ask("GET", "/nowhere"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 404, 404]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    for answer in answers:
        assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
        assert answer.headers["openai-version"] == "2020-10-01"
        assert int(answer.headers["openai-processing-ms"]) < 10_000
        assert "server" not in answer.headers


def test_the_time_an_answer_took_is_told(served: Serving, engine: Gated) -> None:
    gate = engine.gate()
    with Wire(served.url, served.headers) as wire:
        data = json.dumps(BODY).encode()
        wire.send(wire.head("POST", "/v1/responses", {}, len(data)) + data)
        assert gate.arrived.wait(10)
        arrived = monotonic()
        until(lambda: monotonic() - arrived > 0.05, "50 ms")
        gate.open()
        assert int(wire.read().headers["openai-processing-ms"]) >= 50


@pytest.mark.parametrize(
    ("value", "status"), [("a", 200), ("~ !" * 170 + "ab", 200), ("a" * 513, 400), ("é", 400), ("a\tb", 400)]
)
def test_a_clients_own_request_id(wire: Wire, value: str, status: int) -> None:
    answer = wire.ask("GET", "/v1/models", X_Client_Request_Id=value)
    if status == 200:
        assert answer.status == 200
    else:
        assert refused(answer, 400, "invalid_header")["param"] == "X-Client-Request-Id"


def test_a_stream_is_marked_as_one(wire: Wire) -> None:
    headers = wire.ask("POST", "/v1/responses", {**BODY, "stream": True}).headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"


def test_unknown_paths_and_methods(wire: Wire) -> None:
    assert "GET /v1/nothing" in refused(wire.ask("GET", "/v1/nothing"), 404, "unknown_url")["message"]
    answer = wire.ask("PUT", "/v1/chat/completions")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "post, get"


# --- sizes ------------------------------------------------------------------------------------------------------------
def test_a_body_that_says_it_is_too_large_is_not_read(served: Serving) -> None:
    with Wire(served.url, served.headers) as wire:
        wire.send(wire.head("POST", "/v1/responses", {}, MAX_BODY + 1))
        answer = wire.read()
        refused(answer, 413, "request_too_large")
        assert answer.headers["connection"] == "close"


def test_a_body_that_turns_out_too_large_is_not_read_further(served: Serving) -> None:
    with Wire(served.url, served.headers) as wire:
        wire.send(wire.head("POST", "/v1/responses", {"Transfer-Encoding": "chunked", "Content-Length": None}, 0))
        chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
        wire.send_until_cut_off(chunk)
        refused(wire.read(), 413, "request_too_large")


def test_a_body_as_large_as_it_may_be(wire: Wire) -> None:
    body = json.dumps(BODY).encode()
    assert wire.ask("POST", "/v1/responses", body + b" " * (MAX_BODY - len(body))).status == 200
    refused(wire.ask("POST", "/v1/responses", body + b" " * (MAX_BODY + 1 - len(body))), 413, "request_too_large")
    assert wire.ask("POST", "/v1/responses", body).status == 200


@pytest.mark.parametrize("pieces", [1, 40])
def test_heads_that_are_too_large(served: Serving, pieces: int) -> None:
    with Wire(served.url, served.headers) as wire:
        head = wire.head("GET", "/v1/models", {f"x-{n}": "v" * 2000 for n in range(40)}, None)
        assert len(head) > limits.MAX_HEADERS
        step = len(head) // pieces + 1
        for start in range(0, len(head), step):
            try:
                wire.send(head[start : start + step])
            except (BrokenPipeError, ConnectionResetError):
                break
        refused(wire.read(), 431, "headers_too_large")
        with pytest.raises(Closed):
            wire.read()


def test_a_head_that_never_ends(served: Serving) -> None:
    with Wire(served.url) as wire:
        wire.send(b"GET /healthz HTTP/1.1\r\nX: ")
        wire.send_until_cut_off(b"a" * 1000)
        refused(wire.read(), 431, "headers_too_large")


def test_heads_as_large_as_they_may_be_also_with_a_large_body(wire: Wire) -> None:
    large = {f"x_{n}": "v" * 1000 for n in range(60)}
    assert wire.ask("GET", "/v1/models", **large).status == 200
    body = json.dumps(BODY).encode() + b" " * 100_000
    assert wire.ask("POST", "/v1/responses", body, **large).status == 200


# --- connections ------------------------------------------------------------------------------------------------------
def test_one_connection_serves_many_requests(wire: Wire) -> None:
    opened = wire.open()
    for _ in range(50):
        assert wire.ask("GET", "/v1/models").status == 200
        assert wire.ask("GET", "/v1/responses/resp_x").status == 404
        assert wire.ask("POST", "/v1/responses", b"{").status == 400
    assert wire.open() is opened


def test_requests_sent_at_once_are_answered_in_order(wire: Wire) -> None:
    requests = []
    for number in range(20):
        data = json.dumps({"metadata": {"n": str(number)}}).encode()
        requests.append(wire.head("POST", f"/v1/chat/completions/c{number}", {}, len(data)) + data)
        requests.append(wire.head("GET", f"/v1/responses/r{number}", {}, None))
    wire.send(b"".join(requests))
    for number in range(20):
        assert f"'c{number}'" in wire.read().error["message"]
        assert f"'r{number}'" in wire.read().error["message"]


def test_connections_are_closed_when_asked(served: Serving) -> None:
    with Wire(served.url) as wire:
        assert wire.ask("GET", "/healthz", Connection="close").headers["connection"] == "close"
    with Wire(served.url) as wire:
        wire.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert wire.read().headers["connection"] == "close"


def test_a_body_is_asked_for_where_the_client_waits_for_that(served: Serving) -> None:
    data = json.dumps(BODY).encode()
    with Wire(served.url, served.headers) as wire:
        wire.send(wire.head("POST", "/v1/responses", {"Expect": "100-continue"}, len(data)))
        assert wire.read().status == 100
        wire.send(data)
        assert wire.read().status == 200
    with Wire(served.url, {"Authorization": "Bearer wrong"}) as wire:
        wire.send(wire.head("POST", "/v1/responses", {"Expect": "100-continue"}, len(data)))
        refused(wire.read(), 401, "invalid_api_key")
    with Wire(served.url, served.headers) as wire:
        wire.send(wire.head("POST", "/v1/responses", {"Expect": "100-continue"}, MAX_BODY + 1))
        refused(wire.read(), 413, "request_too_large")
