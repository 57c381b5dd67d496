"""Where one request ends and the next begins: whatever a client says, and however it is cut, that is never in doubt."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from antiphon.domain import limits
from support.rawhttp import Answer, Closed, Wire
from support.serving import Serving

from .judge import judge, judge_refusal

BODY = json.dumps({"model": "gpt-5-mini", "input": "hi", "store": False}).encode()
CHUNKED_BODY = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
#: What an attacker would have answered in somebody else's name.
HIDDEN = b"GET /v1/responses/resp_hidden HTTP/1.1\r\nHost: x\r\nAuthorization: @KEY@\r\n\r\n"


@pytest.fixture
def fresh(served: Serving, wire: Wire) -> Iterator[Wire]:
    """A new connection (`wire` sees to it that nothing unexpected was met)."""
    with Wire(served.url) as own:
        yield own


def keyed(served: Serving, data: bytes) -> bytes:
    return data.replace(b"@KEY@", served.headers["Authorization"].encode())


def request(line: bytes, headers: bytes = b"", body: bytes = b"", host: bytes = b"Host: x\r\n") -> bytes:
    return line + b"\r\n" + host + b"Authorization: @KEY@\r\n" + headers + b"\r\n" + body


def post(headers: bytes, body: bytes = BODY) -> bytes:
    length = b"" if b"ransfer-" in headers else b"Content-Length: %d\r\n" % len(body)
    return request(b"POST /v1/responses HTTP/1.1", b"Content-Type: application/json\r\n" + headers + length, body)


def answers(wire: Wire) -> list[Answer]:
    """All answers until the server hangs up."""
    got = []
    while True:
        try:
            got.append(wire.read())
        except Closed:
            return got


GET = b"GET /v1/models HTTP/1.1"
NOT_HTTP = [
    request(GET, host=b""),
    request(GET, b"Host: y\r\n"),
    request(GET, b"Host: x\r\n"),
    request(GET, host=b"Host: a b\r\n"),
    request(GET, host=b"Host: a/b\r\n"),
    request(GET, host=b"Host: \xff\r\n"),
    request(b"GET http://x/v1/models HTTP/1.1", host=b""),
    request(b"GET /v1/models HTTP/2.0"),
    request(b"GET /v1/models HTTP/0.9"),
    request(b"GET /v1/models HTTP/1.2"),
    request(b"GET /v1/models"),
    request(b"GET /v1/models HTTP/1.0", b"Host: x\r\n"),
    request(b"POST /v1/responses HTTP/1.0", b"Transfer-Encoding: chunked\r\n", CHUNKED_BODY),
    request(b"CONNECT x:80 HTTP/1.1"),
    request(b"CONNECT /v1/models HTTP/1.1"),
    request(b"GET /v1/mod els HTTP/1.1"),
    request(b"GET\t/v1/models\tHTTP/1.1"),
    request(GET, b"X: a\r\n\tfolded\r\n"),
    request(GET, b"X: a\rb\r\n"),
    request(GET, b"X: a\nb\r\n"),
    request(GET, b"X\t: a\r\n"),
    request(GET, b" X: a\r\n"),
    post(b"Content-Length: %d\r\n" % len(BODY)),
    post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKED_BODY),
    post(b"Transfer-Encoding: chunked, chunked\r\n", CHUNKED_BODY),
    post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKED_BODY),
    post(b"Transfer-Encoding: identity\r\n"),
    post(b"Transfer-Encoding: identity, chunked\r\n", CHUNKED_BODY),
    post(b'Transfer-Encoding: "chunked"\r\n', CHUNKED_BODY),
    post(b"Transfer-Encoding:\r\n", CHUNKED_BODY),
    post(b"transfer-encoding: chunked\r\nContent-Length: 1\r\n", CHUNKED_BODY),
    request(b"POST /v1/responses HTTP/1.1", b"Content-Length: " + b"0" * 5000 + b"2\r\n", b"{}"),
    post(b"Transfer-Encoding: chunked\r\n", b"%x\n%b\n0\n\n" % (len(BODY), BODY)),
    post(b"Transfer-Encoding: chunked\r\n", b"0x%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    post(b"Transfer-Encoding: chunked\r\n", b" %x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
]


@pytest.mark.parametrize("data", NOT_HTTP, ids=range(len(NOT_HTTP)))
def test_what_the_rfc_forbids_is_refused_once_and_ends_the_connection(
    fresh: Wire, served: Serving, data: bytes
) -> None:
    fresh.send(keyed(served, data + HIDDEN))
    (answer,) = answers(fresh)
    assert (answer.status, judge_refusal(answer)["code"]) == (400, "malformed_request")
    assert answer.headers["connection"] == "close"
    judge(answer)


STRANGE = [
    (request(b"GET /v1/models HTTP/1.0", host=b""), 200),
    (request(GET, host=b"Host:\r\n"), 200),
    (request(GET, host=b"Host: [::1]:8000\r\n"), 200),
    (request(b"GET /v1/responses/resp_%00 HTTP/1.1"), 404),
    (request(b"GET /v1/responses/resp_" + b"%61" * 20_000 + b" HTTP/1.1"), 404),
    (post(b"Transfer-Encoding: Chunked\r\n", CHUNKED_BODY), 200),
    (post(b"Transfer-Encoding: chunked\r\n", CHUNKED_BODY[:-2] + b"Host: y\r\nExpect: 100-continue\r\n\r\n"), 200),
]


@pytest.mark.parametrize("case", STRANGE, ids=range(len(STRANGE)))
def test_what_the_rfc_allows_is_served(fresh: Wire, served: Serving, case: tuple[bytes, int]) -> None:
    fresh.send(keyed(served, case[0]))
    answer = fresh.read()
    judge(answer)
    assert answer.status == case[1]


UPGRADES = [
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"UPgrade: h2c\r\nConnection: upgrade, HTTP2-Settings\r\n",
    b"upgrade: h2c\r\nupgrade: websocket\r\nconnection: close, upgrade\r\n",
    b"UPGRADE: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YQ==\r\n",
]


@pytest.mark.parametrize("upgrade", UPGRADES, ids=range(len(UPGRADES)))
@pytest.mark.parametrize("chunked", [False, True])
def test_the_body_of_a_request_for_another_protocol_is_its_body(
    fresh: Wire, served: Serving, upgrade: bytes, chunked: bool
) -> None:
    inner = keyed(served, HIDDEN)
    if chunked:
        data = post(upgrade + b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner))
    else:
        data = post(upgrade, inner)
    fresh.send(keyed(served, data + HIDDEN))
    (answer,) = answers(fresh)
    assert judge_refusal(answer)["code"] == "invalid_json"
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("upgrade", UPGRADES, ids=range(len(UPGRADES)))
def test_a_second_request_for_another_protocol(fresh: Wire, served: Serving, upgrade: bytes) -> None:
    fresh.send(keyed(served, post(b"") + post(upgrade) + HIDDEN))
    first, second = answers(fresh)
    assert (first.status, second.status) == (200, 200)


def test_a_websocket_is_not_opened_into_an_answer(fresh: Wire, served: Serving) -> None:
    asked = request(
        b"GET /v1/responses HTTP/1.1",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    )
    fresh.send(keyed(served, post(b"") + asked))
    first, second = answers(fresh)
    assert (first.status, second.status) == (200, 405)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("upgrade", [b"", b"UPgrade: h2c\r\nConnection: upgrade\r\n"])
def test_wherever_a_request_is_cut_it_is_the_same_request(
    fresh: Wire, served: Serving, upgrade: bytes, chunked: bool
) -> None:
    data = post(b"Transfer-Encoding: chunked\r\n" + upgrade, CHUNKED_BODY) if chunked else post(upgrade)
    data = keyed(served, data)
    for cut in range(1, len(data)):
        fresh.send(data[:cut])
        fresh.send(data[cut:])
        assert fresh.read().status == 200, data[:cut]


def test_what_comes_after_the_last_request_is_nothing(fresh: Wire, served: Serving) -> None:
    fresh.send(keyed(served, post(b"Connection: close\r\n") + HIDDEN * 1000))
    (answer,) = answers(fresh)
    assert answer.status == 200


def test_many_requests_at_once_are_answered_in_their_order(fresh: Wire, served: Serving) -> None:
    fresh.send(b"".join(keyed(served, HIDDEN.replace(b"resp_hidden", b"resp_%04d" % number)) for number in range(250)))
    for number in range(250):
        assert f"'resp_{number:04d}'" in fresh.read().error["message"]


def test_who_sends_far_ahead_is_read_no_further_than_that(fresh: Wire, served: Serving) -> None:
    """All of it is answered in the end, and more of it is not taken in the meantime."""
    data = keyed(served, HIDDEN) * 4_000
    fresh.open()
    sending = threading.Thread(target=fresh.send, args=(data,))
    sending.start()
    for _ in range(4_000):
        assert fresh.read().status == 404
    sending.join(10)


def test_a_large_body_behind_another_request(fresh: Wire, served: Serving) -> None:
    padded = BODY + b" " * (limits.PARSE_STEP * 10)
    fresh.send(keyed(served, (post(b"") + post(b"", padded)) * 3))
    assert [fresh.read().status for _ in range(6)] == [200] * 6


ENDLESS = {
    "trailers": (b"Transfer-Encoding: chunked\r\n", b"0\r\n", b"X: %b\r\n" % (b"y" * 100)),
    "one trailer": (b"Transfer-Encoding: chunked\r\n", b"0\r\nX: ", b"y" * 1000),
    "a trailer's name": (b"Transfer-Encoding: chunked\r\n", b"0\r\n", b"y" * 1000),
    "extensions": (b"Transfer-Encoding: chunked\r\n", b"", b"1;%b\r\nx\r\n" % (b"y" * 1000)),
    "one extension": (b"Transfer-Encoding: chunked\r\n", b"1;a=", b"y" * 1000),
    "zeros": (b"Transfer-Encoding: chunked\r\n", b"", b"0" * 1000),
}


@pytest.mark.parametrize("what", ENDLESS)
@pytest.mark.parametrize("key", ["@KEY@", "Bearer wrong"])
def test_what_never_ends_behind_a_head(fresh: Wire, served: Serving, what: str, key: str) -> None:
    headers, start, more = ENDLESS[what]
    data = post(headers, start).replace(b"@KEY@", key.encode())
    fresh.send(keyed(served, data))
    fresh.send_until_cut_off(more)


def test_chunks_of_one_byte_are_a_body_like_any_other(fresh: Wire, served: Serving) -> None:
    padded = BODY + b" " * 30_000
    chunks = b"".join(b"0001\r\n%c\r\n" % byte for byte in padded) + b"0\r\n\r\n"
    fresh.send(keyed(served, post(b"Transfer-Encoding: chunked\r\n", chunks)))
    assert fresh.read().status == 200
