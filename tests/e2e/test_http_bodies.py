"""Bodies that are read in pieces: of any size, in little memory, at the reader's pace."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from antiphon.domain.limits import MIB
from hostile import heavy
from support.gate import until
from support.kinds import MOST, kinds
from support.manners import refused
from support.metered import MeteredStream, most_delay
from support.rawhttp import Closed, Wire

#: What one connection may have on its way: buffers of both sockets, and a few pieces of the server's.
HELD_UP = 16 * MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeteredStream]:
    with kinds(tmp_path_factory.mktemp("kinds")) as server:
        yield server
        assert "Traceback" not in server.log()


def state(server: MeteredStream) -> dict[str, object]:
    with Wire(server.url) as wire:
        got: dict[str, object] = wire.ask("GET", "/test/count").json()
        return got


def test_a_large_body_takes_no_memory_and_makes_nobody_wait(server: MeteredStream) -> None:
    data = bytes(range(256)) * 4096
    server.stall()
    with heavy.growth(server) as most, httpx.Client() as client:
        answer = client.post(f"{server.url}/test/count", content=(data for _ in range(60)))
    assert answer.json() == {"size": 60 * MIB, "sha256": hashlib.sha256(data * 60).hexdigest()}
    assert most[0] < 16 * MIB
    assert server.stall() < most_delay()


def test_a_reader_that_is_slow_holds_the_client_up(server: MeteredStream) -> None:
    place = urlsplit(server.url)
    sent = 0
    with socket.create_connection((place.hostname or "", place.port or 0), 10) as client:
        client.sendall(b"POST /test/slow HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % MOST)
        client.settimeout(0.5)
        piece = bytes(256 * 1024)
        with heavy.growth(server) as most, contextlib.suppress(TimeoutError):
            while sent < MOST:
                sent += client.send(piece)
        assert sent < HELD_UP
        assert most[0] < 2 * MIB
        until(lambda: state(server)["pieces"] == 1, "it works on the first piece")
        with Wire(server.url) as other:
            assert other.ask("POST", "/test/release", b"").status == 200
        client.settimeout(20)
        while sent < MOST:
            sent += client.send(piece[: MOST - sent])
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    assert state(server)["size"] == MOST


def test_many_slow_readers_take_little(server: MeteredStream) -> None:
    place = urlsplit(server.url)
    clients = [socket.create_connection((place.hostname or "", place.port or 0), 10) for _ in range(20)]
    with heavy.growth(server) as most:
        for client in clients:
            client.sendall(b"POST /test/slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                while True:
                    client.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
    for client in clients:
        client.close()
    with Wire(server.url) as other:
        assert other.ask("POST", "/test/release", b"").status == 200
    assert most[0] < 20 * MIB


def test_more_than_it_takes(server: MeteredStream) -> None:
    with Wire(server.url) as wire:
        wire.send(wire.head("POST", "/test/count", {}, MOST + 1))
        refused(wire.read(), 413, "request_too_large")
    with Wire(server.url, timeout=30) as wire:
        wire.send(wire.head("POST", "/test/count", {"transfer-encoding": "chunked"}, None))
        piece = b"100000\r\n" + bytes(MIB) + b"\r\n"
        for _ in range(MOST // MIB):
            wire.send(piece)
        wire.send(b"1\r\nx\r\n")
        refused(wire.read(), 413, "request_too_large")


def test_a_client_that_hangs_up_in_the_middle(server: MeteredStream) -> None:
    for framing in ({"content-length": "1000000"}, {"transfer-encoding": "chunked"}):
        with Wire(server.url) as wire:
            wire.send(wire.head("POST", "/test/count", {**framing}, None) + b"200\r\n" + bytes(0x200))
            until(lambda: state(server)["size"], "something has come")
        until(lambda: state(server)["ended"] == "ClientGone", "it is told")


def test_lies_about_the_length(server: MeteredStream) -> None:
    with Wire(server.url) as wire:  # less than was said: what comes next is taken for the rest
        wire.send(wire.head("POST", "/test/count", {}, 10) + b"12345")
        wire.send(b"67890")
        assert wire.read().json()["size"] == 10
    with Wire(server.url) as wire:  # more than was said: what is left is no request
        wire.send(wire.head("POST", "/test/count", {}, 5) + b"1234567890\r\n\r\n")
        assert wire.read().json()["size"] == 5
        with pytest.raises(Closed):
            wire.read()
    for length in ("-1", "1e3", "99999999999999999999", "5, 5", "0x10"):
        with Wire(server.url) as wire:
            wire.send(wire.head("POST", "/test/count", {"content-length": length}, None) + b"12345")
            refused(wire.read(), 400, "malformed_request")


def test_compressed_bodies_are_not_taken(server: MeteredStream) -> None:
    with Wire(server.url) as wire:
        refused(wire.ask("POST", "/test/count", b"x", content_encoding="gzip"), 415, "unsupported_media_type")


def test_an_idempotency_key_cannot_stand_for_it(server: MeteredStream) -> None:
    with Wire(server.url) as wire:
        refused(wire.ask("POST", "/test/count", b"x", idempotency_key="a"), 400, "unsupported_header")
        assert wire.ask("POST", "/test/count", b"x").status == 200


def test_a_body_that_nobody_reads(server: MeteredStream) -> None:
    with Wire(server.url) as wire:
        for _ in range(3):
            assert wire.ask("POST", "/test/ignore", bytes(100_000)).status == 200


@pytest.mark.parametrize("path", ["/test/ignore", "/test/count"])
@pytest.mark.parametrize("size", [10, 5_000, 70_000, 200_000, 400_000])
def test_requests_that_are_sent_ahead(server: MeteredStream, path: str, size: int) -> None:
    with Wire(server.url) as wire:
        one = wire.head("POST", path, {}, size) + bytes(size)
        wire.open()
        sending = threading.Thread(target=wire.send, args=(one * 8,))
        sending.start()
        for _ in range(8):
            answer = wire.read()
            assert answer.status == 200
            assert path == "/test/ignore" or answer.json()["size"] == size
        sending.join()
        assert wire.ask("POST", path, b"").status == 200


def test_an_empty_body(server: MeteredStream) -> None:
    with Wire(server.url) as wire:
        for _ in range(2):
            assert wire.ask("POST", "/test/count", b"").json()["size"] == 0
            assert wire.ask("PUT", "/test/count").json()["size"] == 0


def test_a_body_that_comes_byte_by_byte(server: MeteredStream) -> None:
    with Wire(server.url) as wire:
        wire.send(wire.head("POST", "/test/count", {}, 50))
        for _ in range(50):
            wire.send(b"x")
        assert wire.read().json()["size"] == 50
        assert wire.ask("GET", "/test/count").json()["ended"] == "whole"


def test_one_that_is_waited_for(server: MeteredStream) -> None:
    """`Expect: 100-continue`: the client sends nothing until the server wants it."""
    with Wire(server.url) as wire:
        wire.send(wire.head("POST", "/test/count", {"expect": "100-continue"}, 5))
        assert wire.read_head()[0] == 100
        wire.send(b"12345")
        assert wire.read().json()["size"] == 5


def test_others_are_served_meanwhile(server: MeteredStream) -> None:
    stop = threading.Event()

    def busy() -> None:
        with httpx.Client(timeout=60) as client:
            client.post(f"{server.url}/test/count", content=(bytes(MIB) for _ in range(50) if not stop.is_set()))

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        with Wire(server.url) as wire:
            began = time.monotonic()
            for _ in range(20):
                assert wire.ask("POST", "/test/ignore", b"").status == 200
            assert time.monotonic() - began < 10
    finally:
        stop.set()
        thread.join()
