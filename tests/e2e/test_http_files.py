"""Files that are sent: ranges, conditions, and clients that go away (RFC 9110)."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from antiphon.domain.limits import MIB
from hostile import heavy
from support.kinds import CONTENT, LARGE, kinds
from support.manners import refused
from support.metered import MeteredStream, most_delay
from support.rawhttp import Closed, Wire

#: Of `support.kinds.MODIFIED`, a second before and a second after.
BEFORE, AT, AFTER = (f"Tue, 14 Nov 2023 22:13:{second} GMT" for second in (19, 20, 21))
TAG = '"tag-1"'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeteredStream]:
    with kinds(tmp_path_factory.mktemp("kinds")) as server:
        yield server


@pytest.fixture
def wire(server: MeteredStream) -> Iterator[Wire]:
    with Wire(server.url) as wire:
        yield wire


def test_the_whole_file(wire: Wire) -> None:
    answer = wire.ask("GET", "/test/file")
    assert (answer.status, answer.body) == (200, CONTENT)
    head = wire.ask("HEAD", "/test/file")
    assert (head.status, head.body) == (200, b"")
    for headers in (answer.headers, head.headers):
        assert headers["content-length"] == "1000"
        assert headers["content-type"] == "text/plain"
        assert headers["accept-ranges"] == "bytes"
        assert headers["etag"] == TAG
        assert headers["last-modified"] == AT.lower()
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-request-id"].startswith("req_")
    assert wire.ask("GET", "/test/file").status == 200


def test_an_empty_file(wire: Wire) -> None:
    answer = wire.ask("GET", "/test/empty")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "0", b"")
    assert wire.ask("GET", "/test/empty", range="bytes=0-").status == 416
    assert wire.ask("GET", "/test/empty").status == 200


def test_a_name_cannot_break_its_header(wire: Wire) -> None:
    headers = wire.ask("GET", "/test/named").headers
    assert headers["content-disposition"] == "attachment; filename*=utf-8''%c3%a9%22%0d%0a%3b%20x.txt"


@pytest.mark.parametrize(
    ("range_", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=990-", 990, 1000),
        ("bytes=990-5000", 990, 1000),
        ("bytes=-10", 990, 1000),
        ("bytes=-5000", 0, 1000),
        ("bytes=0-", 0, 1000),
        ("bytes = 5 - 9", 5, 10),
        ("bytes=999-9999999999999999999", 999, 1000),
    ],
)
def test_a_range(wire: Wire, range_: str, start: int, end: int) -> None:
    answer = wire.ask("GET", "/test/file", range=range_)
    assert (answer.status, answer.body) == (206, CONTENT[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/1000"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("range_", ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=9999999999999999999-"])
def test_a_range_outside(wire: Wire, range_: str) -> None:
    answer = wire.ask("GET", "/test/file", range=range_)
    refused(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */1000"


@pytest.mark.parametrize(
    "range_",
    [
        "bytes=5-4",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=0-1,5-6",
        "lines=0-1",
        "bytes=--5",
        "bytes=+1-2",
        "bytes=1-99999999999999999999999",
        "x" * 5000,
        "bytes=" + "0-0," * 2000,
        "bytes=\u0661-\u0662".encode().decode("latin-1"),
    ],
)
def test_a_range_that_is_ignored(wire: Wire, range_: str) -> None:
    answer = wire.ask("GET", "/test/file", range=range_)
    assert (answer.status, answer.body) == (200, CONTENT)


def test_a_range_means_nothing_to_head(wire: Wire) -> None:
    answer = wire.ask("HEAD", "/test/file", range="bytes=0-1")
    assert (answer.status, answer.headers["content-length"]) == (200, "1000")


@pytest.mark.parametrize(
    ("condition", "status"),
    [(TAG, 206), ('"other"', 200), (f"W/{TAG}", 200), (AT, 206), (BEFORE, 200), (AFTER, 200), ("nonsense", 200)],
)
def test_if_range(wire: Wire, condition: str, status: int) -> None:
    assert wire.ask("GET", "/test/file", range="bytes=0-9", if_range=condition).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_none_match": TAG}, 304),
        ({"if_none_match": f"W/{TAG}"}, 304),
        ({"if_none_match": f'"a", {TAG}, "b"'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"other"'}, 200),
        ({"if_none_match": '"other"', "if_modified_since": AFTER}, 200),
        ({"if_none_match": "tag-1"}, 200),
        ({"if_modified_since": AT}, 304),
        ({"if_modified_since": AFTER}, 304),
        ({"if_modified_since": BEFORE}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_modified_since": "Fri, 31 Dec 99999 23:59:59 GMT"}, 200),
        ({"if_match": TAG}, 200),
        ({"if_match": "*"}, 200),
        ({"if_match": f'"a",{TAG}'}, 200),
        ({"if_match": f"W/{TAG}"}, 412),
        ({"if_match": '"other"'}, 412),
        ({"if_match": TAG, "if_unmodified_since": BEFORE}, 200),
        ({"if_unmodified_since": AT}, 200),
        ({"if_unmodified_since": BEFORE}, 412),
        ({"if_unmodified_since": "never"}, 200),
        ({"if_match": '"other"', "if_none_match": TAG}, 412),
        ({"if_match": TAG, "if_none_match": TAG}, 304),
        ({"if_none_match": TAG, "range": "bytes=0-1"}, 304),
        ({"if_match": '"other"', "range": "bytes=0-1"}, 412),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions(wire: Wire, method: str, headers: dict[str, str | None], status: int) -> None:
    answer = ask(wire, method, headers)
    assert answer[0] == status
    if status == 304:
        assert answer[1]["etag"] == TAG
        assert "content-length" not in answer[1]
    # Whatever was answered, the connection goes on with the next request.
    assert wire.ask("GET", "/test/file").body == CONTENT


def ask(wire: Wire, method: str, headers: dict[str, str | None]) -> tuple[int, dict[str, str]]:
    """Status and headers; the body of an answer that has one is read."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    wire.send(wire.head(method, "/test/file", named, None))
    status, got = wire.read_head()
    if method == "GET" and status != 304:
        wire._exactly(int(got["content-length"]))
    return status, got


def test_a_file_that_turns_out_shorter_is_broken_off(wire: Wire) -> None:
    with pytest.raises(Closed):
        wire.ask("GET", "/test/short")
    assert wire.ask("GET", "/test/file").status == 200


def test_a_large_file_takes_no_memory_and_makes_nobody_wait(server: MeteredStream) -> None:
    server.stall()
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}", f"{server.url}/test/large"]
    with heavy.growth(server) as most:
        got = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    assert int(got) == LARGE
    assert most[0] < 16 * MIB
    assert server.stall() < most_delay()


def test_curl_goes_on_where_it_was(server: MeteredStream, tmp_path: Path) -> None:
    target = tmp_path / "got"
    target.write_bytes(CONTENT[:300])
    command = ["curl", "-sS", "-C", "-", "-o", str(target), f"{server.url}/test/file"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    assert target.read_bytes() == CONTENT


def test_clients_that_hang_up_or_read_nothing(server: MeteredStream) -> None:
    place = urlsplit(server.url)
    clients = []
    with heavy.growth(server) as most:
        for _ in range(20):
            client = socket.create_connection((place.hostname or "", place.port or 0), 10)
            client.sendall(b"GET /test/large HTTP/1.1\r\nHost: x\r\n\r\n")
            clients.append(client)
        for client in clients[:10]:
            assert client.recv(1000)
            client.close()
        with Wire(server.url) as wire:
            assert wire.ask("GET", "/test/file").status == 200
    for client in clients[10:]:
        with contextlib.suppress(OSError):
            client.close()
    assert most[0] < 30 * MIB
    assert "Traceback" not in server.log()
