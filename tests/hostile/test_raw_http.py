"""Bytes that are not quite HTTP, or not HTTP at all. Each on a connection of its own, as most of them end it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.rawhttp import Closed, Wire
from support.serving import Serving

from .judge import judge, judge_refusal

BODY = json.dumps({"model": "gpt-5-mini", "input": "hi", "store": False}).encode()
SIZE = str(len(BODY)).encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture
def fresh(served: Serving, wire: Wire) -> Iterator[Wire]:
    """A new connection (`wire` sees to it that nothing unexpected was met)."""
    with Wire(served.url) as own:
        yield own


def get(
    path: bytes = b"/v1/models", *, version: bytes = b"HTTP/1.1", method: bytes = b"GET", more: bytes = b""
) -> bytes:
    return method + b" " + path + b" " + version + b"\r\nHost: x\r\nAuthorization: @KEY@\r\n" + more + b"\r\n"


def post(headers: bytes, body: bytes) -> bytes:
    return get(b"/v1/responses", method=b"POST", more=b"Content-Type: application/json\r\n" + headers) + body


def send(fresh: Wire, served: Serving, data: bytes) -> None:
    fresh.send(data.replace(b"@KEY@", served.headers["Authorization"].encode()))


MALFORMED = [
    b"\x00\x00\x00\x00\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"SSH-2.0-client\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",  # HTTP/2 without asking
    b"\xff\xfe\r\n\r\n",
    b'{"model": "m"}\r\n\r\n',
    get(method=b"get"),
    get(method=b"FOO"),
    get(method=b"GET" * 1000),
    get(version=b"HTTP/9.9"),
    get(version=b"HTTP/1.1.1"),
    get(version=b"HTPP/1.1"),
    get(b"/v1/\xff\xfe"),
    get(b"/v1/models?\xff"),
    get(b"/v1/models\x00"),
    get(b"/v1/models\x7f"),
    get(b"v1/models"),
    get(b"http://"),
    get(b"example.com:80", method=b"CONNECT"),
    get(more=b"X: a\x00b\r\n"),
    get(more=b"X : a\r\n"),
    get(more=b"X\x00: a\r\n"),
    get(more=b": a\r\n"),
    get(more=b"no colon\r\n"),
    get(more=b"X: a\r\n folded\r\n"),
    get(more=b"X: a\nY: b\r\n"),
    get(more=b"X: a\rY: b\r\n"),
    post(b"Content-Length: abc\r\n", BODY),
    post(b"Content-Length: -1\r\n", BODY),
    post(b"Content-Length: +" + SIZE + b"\r\n", BODY),
    post(b"Content-Length: 0x10\r\n", BODY),
    post(b"Content-Length: 1 2\r\n", BODY),
    post(b"Content-Length: " + b"9" * 30 + b"\r\n", BODY),
    post(b"Content-Length: 5, 5\r\n", BODY),
    post(b"Content-Length: 5\r\nContent-Length: 6\r\n", BODY),
    post(b"Content-Length: " + SIZE + b"\r\n" + CHUNKED, BODY),  # smuggling
    post(CHUNKED + b"Content-Length: " + SIZE + b"\r\n", BODY),
    post(b"Transfer-Encoding: gzip\r\n", BODY),
    post(b"Transfer-Encoding: xchunked\r\n", BODY),
    post(b"Transfer-Encoding: chunked, identity\r\n", BODY),
    post(CHUNKED, b"zz\r\n" + BODY),
    post(CHUNKED, b"-5\r\n" + BODY),
    post(CHUNKED, b"5\r\n" + BODY),
    post(CHUNKED, b"f" * 20 + b"\r\n" + BODY),
]


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_not_http_is_refused_in_the_apis_own_form(fresh: Wire, served: Serving, data: bytes) -> None:
    send(fresh, served, data)
    answer = fresh.read()
    error = judge_refusal(answer)
    assert (answer.status, error["code"], error["param"]) == (400, "malformed_request", None)
    assert answer.headers["connection"] == "close"
    judge(answer)


STRANGE_BUT_HTTP = [
    (get(version=b"HTTP/1.0"), 200),
    (b"\r\n\r\n" + get(), 200),
    (get(b"http://evil.example/v1/models"), 200),
    (get(b"/v1/models#fragment"), 200),
    (get(b"/v1/models?"), 200),
    (get(b"/v1/%6dodels"), 200),
    (get(b"*"), 404),
    (get(b"*", method=b"OPTIONS"), 404),
    (get(more=b"X:\r\n"), 200),
    (get(more=b"X: \xe9\xff\r\n"), 200),
    (get(more=b"X: a\tb\r\n"), 200),
    (get(more=b"Authorization: Bearer wrong\r\n"), 401),
    (get(more=b"X: y\r\n" * 3000), 200),
    (get(more=b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\n"), 200),
    (get(more=b"Connection: \xff, , close\r\n"), 200),
    (get(more=b"Content-Length: 5\r\n") + b"hello", 200),
    (post(b"Content-Length: " + SIZE + b"\r\n", BODY), 200),
    (post(b"Content-Length: 000" + SIZE + b"\r\n", BODY), 200),
    (post(CHUNKED, b"%x;ext=1\r\n%b\r\n0\r\nX: trailer\r\n\r\n" % (len(BODY), BODY)), 200),
    (post(CHUNKED, b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"), 200),
    (post(CHUNKED, b"0\r\n\r\n"), 400),
    (post(b"Content-Length: 0\r\n", b""), 400),
    (post(b"", b""), 400),
    (post(b"Content-Length: 5\r\n", BODY), 400),
    # Java's own client asks for HTTP/2 in this way with every first request.
    (post(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: " + SIZE + b"\r\n", BODY), 200),
    (post(b"UPGRADE: h2c\r\nConnection: Upgrade\r\n" + CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)), 200),
]


@pytest.mark.parametrize("case", STRANGE_BUT_HTTP, ids=range(len(STRANGE_BUT_HTTP)))
def test_strange_but_http(fresh: Wire, served: Serving, case: tuple[bytes, int]) -> None:
    data, status = case
    send(fresh, served, data)
    answer = fresh.read()
    judge(answer)
    assert answer.status == status


@pytest.mark.parametrize("cut", [1, 10, 30, 60, 100, 150, 200, len(BODY) + 100])
def test_a_request_that_stops_in_the_middle(fresh: Wire, served: Serving, cut: int) -> None:
    data = post(b"Content-Length: " + SIZE + b"\r\n", BODY).replace(b"@KEY@", served.headers["Authorization"].encode())
    fresh.send(data[: len(data) - cut])
    fresh.close()


def test_one_byte_at_a_time(fresh: Wire, served: Serving) -> None:
    data = post(b"Content-Length: " + SIZE + b"\r\n", BODY).replace(b"@KEY@", served.headers["Authorization"].encode())
    for at in range(len(data)):
        fresh.send(data[at : at + 1])
    assert fresh.read().status == 200


def test_what_follows_a_whole_request_is_a_request_of_its_own(fresh: Wire, served: Serving) -> None:
    smuggled = get(b"/v1/responses/resp_smuggled", method=b"DELETE")
    send(fresh, served, post(b"Content-Length: " + SIZE + b"\r\n", BODY) + smuggled)
    assert fresh.read().status == 200
    assert judge_refusal(fresh.read())["message"] == "Response with id 'resp_smuggled' not found."


def test_nonsense_behind_a_request_does_not_spoil_its_answer(fresh: Wire, served: Serving) -> None:
    stream = json.dumps({**json.loads(BODY), "stream": True, "input": "word " * 200}).encode()
    send(fresh, served, post(b"Content-Length: %d\r\n" % len(stream), stream) + b"\x00 nonsense\r\n\r\n")
    answer = fresh.read()
    judge(answer)
    assert answer.body.endswith(b"data: [DONE]\n\n")
    with pytest.raises(Closed):
        fresh.read()
