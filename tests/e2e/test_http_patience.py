"""How long the server waits for a client that is slow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from time import monotonic

import pytest

from antiphon.domain import limits
from support.gate import until
from support.manners import Gated, refused, streaming
from support.rawhttp import Wire
from support.serving import Serving, serving


@pytest.fixture(scope="module")
def engine() -> Gated:
    return Gated()


@pytest.fixture(scope="module")
def served(engine: Gated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(engine, tmp_path_factory.mktemp("patience")) as server:
        yield server


@pytest.fixture
def wire(served: Serving) -> Iterator[Wire]:
    with Wire(served.url, served.headers) as connection:
        yield connection


@pytest.mark.parametrize("sent", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nX: a\r\n"])
def test_a_slow_head(served: Serving, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT", 0.1)
    with Wire(served.url) as wire:
        wire.send(sent)
        refused(wire.read(), 408, "request_timeout")


def test_the_next_head_may_wait_but_not_be_slow(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT", 0.1)
    with Wire(served.url) as wire:
        assert wire.ask("GET", "/healthz").status == 200
        arrived = monotonic()
        until(lambda: monotonic() - arrived > 0.25, "longer than a head may take")
        assert wire.ask("GET", "/healthz").status == 200, "an idle connection was taken for a slow one"
        wire.send(b"GET /healthz HT")
        refused(wire.read(), 408, "request_timeout")


def test_a_slow_body(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_TIMEOUT", 0.1)
    with Wire(served.url, served.headers) as wire:
        wire.send(wire.head("POST", "/v1/responses", {}, 100) + b"{")
        answer = wire.read()
        refused(answer, 408, "request_timeout")
        assert answer.headers["connection"] == "close"


def test_a_body_that_comes_byte_by_byte(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_TOTAL_TIMEOUT", 0.3)
    with Wire(served.url, served.headers) as wire:
        wire.send(wire.head("POST", "/v1/responses", {}, 100_000))
        wire.open().settimeout(0.02)
        answer = None
        for _ in range(500):
            wire.send(b" ")
            try:
                answer = wire.read()
                break
            except TimeoutError:
                continue
        assert answer is not None
        refused(answer, 408, "request_timeout")


def test_a_body_that_goes_on_after_its_answer(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_TIMEOUT", 0.2)
    with Wire(served.url, {"Authorization": "Bearer wrong"}) as wire:
        wire.send(wire.head("POST", "/v1/responses", {}, 1000))
        refused(wire.read(), 401, "invalid_api_key")
        wire.send(b" " * 1000)
        refused(wire.ask("GET", "/v1/models"), 401, "invalid_api_key")
        wire.send(wire.head("POST", "/v1/responses", {}, 100_000))
        refused(wire.read(), 401, "invalid_api_key")
        wire.open().settimeout(0.02)
        began = monotonic()
        while not hung_up(wire):
            assert monotonic() - began < 5
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                wire.send(b" ")


def hung_up(wire: Wire) -> bool:
    try:
        return wire.at_end()
    except TimeoutError:
        return False


def test_a_slow_next_request_does_not_break_into_a_stream(
    served: Serving, engine: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT", 0.1)
    gate = engine.gate()
    wire, got = streaming(served)
    with wire:
        wire.send(b"GET /healthz HT")
        arrived = monotonic()
        until(lambda: monotonic() - arrived > 0.25, "longer than a head may take")
        gate.open()
        got += b"".join(iter(wire.read_chunk, b""))
        assert got.endswith(b"data: [DONE]\n\n")
        assert b"HTTP/1.1" not in got
        assert wire.at_end()
