"""The HTTP/1.1 client, against servers that say exactly what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from antiphon.domain import limits
from antiphon.engines.upstream import http1

ASK = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
OK = b"HTTP/1.1 200 OK\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(serve: Serve, **options: Any) -> AsyncIterator[http1.Pool]:
    """A pool of connections to a server of this behaviour."""
    tasks: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = http1.Pool("127.0.0.1", port, tls=False, keep_alive=5, **{"budget": http1.ConnectionBudget(), **options})
    try:
        yield pool
    finally:
        pool.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def saying(*answers: list[bytes], close: bool = False) -> Serve:
    """One answer for each request of a connection, in pieces; then it waits, or closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for pieces in answers:
            await reader.readexactly(len(ASK))
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        if not close:
            await reader.read()

    return serve


async def ask(pool: http1.Pool, patience: float = 5.0) -> http1.Response:
    return await pool.request(ASK, connect=5, until=asyncio.get_running_loop().time() + patience)


async def read(response: http1.Response) -> bytes:
    pieces = []
    while piece := await response.readany():
        pieces.append(piece)
    return b"".join(pieces)


def run(serve: Serve, use: Callable[[http1.Pool], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with serving(serve, **options) as pool:
            await use(pool)

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize(
    ("pieces", "close", "body"),
    [
        ([OK + b"Content-Length: 5\r\n\r\nhello"], False, b"hello"),
        ([OK, b"Content-", b"Length: 5\r\n", b"\r\nhe", b"llo"], False, b"hello"),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r", b"\nlo\r\n0\r\n\r\n"], False, b"hello"),
        ([OK + b"\r\nhel", b"lo"], True, b"hello"),
        ([b"HTTP/1.0 200 OK\r\n\r\nhello"], True, b"hello"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok"], False, b"ok"),
        ([b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", OK + b"Content-Length: 2\r\n\r\nok"], False, b"ok"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], False, b""),
        ([OK + b"Content-Length: 0\r\n\r\n"], False, b""),
    ],
)
def test_bodies_of_every_kind(pieces: list[bytes], close: bool, body: bytes) -> None:
    async def use(pool: http1.Pool) -> None:
        response = await ask(pool)
        assert await read(response) == body
        assert response.is_eof()
        assert response.is_whole

    run(saying(pieces, close=close), use)


def test_headers() -> None:
    async def use(pool: http1.Pool) -> None:
        response = await ask(pool)
        assert (response.status, response.content_type) == (418, "text/plain")
        assert response.headers.get("X-Two") == "a, b"
        assert response.headers.get("x-none", "-") == "-"

    head = b"HTTP/1.1 418 x\r\nContent-Type: Text/Plain; charset=x\r\nX-Two: a\r\nx-two: b\r\nContent-Length: 0\r\n\r\n"
    run(saying([head]), use)


def test_a_connection_serves_one_request_after_the_other() -> None:
    answer = [OK + b"Content-Length: 1\r\n\r\n1"]
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await saying(*[answer] * 5)(reader, writer)

    async def use(pool: http1.Pool) -> None:
        for _ in range(5):
            assert await read(await ask(pool)) == b"1"

    run(serve, use)
    assert opened == 1


def test_requests_at_once_have_a_connection_each_and_get_their_own_answers() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(len(ASK) + 1)
            await asyncio.sleep(0.001)
            writer.write(OK + b"Content-Length: 1\r\n\r\n" + request[-1:])

    async def use(pool: http1.Pool) -> None:
        async def one(number: int) -> None:
            asked = ASK.replace(b"Length: 2", b"Length: 3") + b"%d" % (number % 10)
            for _ in range(20):
                response = await pool.request(asked, connect=5, until=asyncio.get_running_loop().time() + 5)
                assert await read(response) == b"%d" % (number % 10)

        await asyncio.gather(*[one(number) for number in range(10)])

    run(serve, use)


@pytest.mark.parametrize(
    "pieces",
    [
        [OK + b"Content-Length: 5\r\n\r\nhel"],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n"],
    ],
)
def test_an_answer_that_breaks_off_is_not_taken_for_whole(pieces: list[bytes]) -> None:
    async def use(pool: http1.Pool) -> None:
        response = await ask(pool)
        assert await response.readany() == b"hel"
        with pytest.raises(http1.ConnectionLost) as caught:
            await response.readany()
        assert not caught.value.stale

    run(saying(pieces, close=True), use)


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_what_is_not_http(said: bytes) -> None:
    async def use(pool: http1.Pool) -> None:
        with pytest.raises((http1.ProtocolError, http1.Timeout)):
            await ask(pool, 0.3)

    run(saying([said]), use)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TRAILERS = CHUNKED + b"2\r\nok\r\n0\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: -5",
        b"Content-Length: 9999999999999999999999",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: gzip",
        b"X: a\r\n folded",
        b"X : a",
    ],
)
def test_heads_that_say_two_things(head: bytes) -> None:
    async def use(pool: http1.Pool) -> None:
        with pytest.raises(http1.ProtocolError):
            await ask(pool)

    run(saying([OK + head + b"\r\n\r\nhello"], close=True), use)


def test_trailers_belong_to_no_answer() -> None:
    first = TRAILERS + b"Content-Type: text/event-stream\r\nRetry-After: 77\r\n\r\n"
    second = OK + b"Content-Type: text/plain\r\nContent-Length: 1\r\n\r\n1"

    async def use(pool: http1.Pool) -> None:
        response = await ask(pool)
        assert await read(response) == b"ok"
        assert response.headers == {"transfer-encoding": "chunked"}
        response = await ask(pool)
        assert response.headers == {"content-type": "text/plain", "content-length": "1"}

    run(saying([first], [second]), use)


def endless(start: bytes, more: bytes, sent: list[int]) -> Serve:
    """`start`, and then `more` for as long as it is taken."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(ASK))
        writer.write(start)
        while True:
            writer.write(more)
            await writer.drain()
            sent.append(len(more))

    return serve


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (OK, b"X: y\r\n" * 1000),
        (OK + b"X: ", b"y" * 10_000),
        (b"HTTP/1.1 200 ", b"y" * 10_000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 1000),
        (TRAILERS, b"X: y\r\n" * 1000),
        (TRAILERS + b"X: ", b"y" * 10_000),
        (TRAILERS, b"y" * 10_000),
        (CHUNKED, b"1;" + b"y" * 10_000 + b"\r\nx\r\n"),
        (CHUNKED + b"1;", b"y" * 10_000),
        (CHUNKED, b"0" * 10_000),
    ],
)
def test_what_never_ends_is_cut_off(start: bytes, more: bytes) -> None:
    sent: list[int] = []

    async def use(pool: http1.Pool) -> None:
        with pytest.raises(http1.ProtocolError):
            await read(await ask(pool))

    run(endless(start, more, sent), use)
    assert sum(sent) < 4 * limits.MIB


def test_one_trailer_ten_million_times_takes_no_time() -> None:
    """Processor time of the whole, the mock's included: it was 6 s for 3 MB."""

    async def use(pool: http1.Pool) -> None:
        response = await ask(pool)
        began = time.thread_time()
        with contextlib.suppress(http1.ProtocolError):
            await read(response)
        assert time.thread_time() - began < 0.1

    run(saying([TRAILERS + b"X: y\r\n" * (10 * limits.MIB // 6)]), use)


def test_chunks_of_one_byte_are_a_body_like_any_other() -> None:
    body = b"x" * 200_000

    async def use(pool: http1.Pool) -> None:
        assert await read(await ask(pool)) == body

    run(saying([CHUNKED + b"01\r\nx\r\n" * len(body) + b"0\r\n\r\n"]), use)


@pytest.mark.parametrize("rest", [b"x", b"HTTP/1.1 2", b"\r\n\r\nHTTP/1.1 200 OK\r\n"])
def test_more_than_was_announced_spoils_no_other_answer(rest: bytes) -> None:
    async def use(pool: http1.Pool) -> None:
        for _ in range(4):
            assert await read(await ask(pool)) == b"1"

    run(saying([OK + b"Content-Length: 1\r\n\r\n1" + rest]), use)


def test_no_more_files_is_no_fault_of_the_upstreams(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(pool: http1.Pool) -> None:
        async def full(*_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "too many open files")

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", full)
        with pytest.raises(http1.PoolExhausted):
            await ask(pool)

    run(saying([]), use)


def test_a_head_without_end() -> None:
    async def use(pool: http1.Pool) -> None:
        with pytest.raises(http1.ProtocolError):
            await ask(pool)

    lines = [b"X-%d: %b\r\n" % (number, b"x" * 1000) for number in range(2 * limits.MAX_HEADERS // 1000)]
    run(saying([OK, *lines]), use)


def test_no_answer_in_time_ends_the_connection() -> None:
    async def use(pool: http1.Pool) -> None:
        with pytest.raises(http1.Timeout) as caught:
            await ask(pool, 0.05)
        assert not caught.value.connecting

    run(saying([]), use)


def test_a_connection_that_ended_while_the_loop_stood_still_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPSTREAM_IDLE_LOOK", 0.0)
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await saying([OK + b"Content-Length: 1\r\n\r\n1"])(reader, writer)

    async def use(pool: http1.Pool) -> None:
        assert await read(await ask(pool)) == b"1"
        # Ended by its server, and used again before the loop has run once.
        with socket.fromfd(writers[0].get_extra_info("socket").fileno(), socket.AF_INET, socket.SOCK_STREAM) as far:
            far.shutdown(socket.SHUT_RDWR)
        assert await read(await ask(pool)) == b"1"
        assert len(writers) == 2

    run(serve, use)


def test_what_nobody_asked_for_ends_an_idle_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(ASK))
        writer.write(OK + b"Content-Length: 1\r\n\r\n1")
        await asyncio.sleep(0.02)
        writer.write(OK + b"Content-Length: 6\r\n\r\nstolen")
        await reader.read()

    async def use(pool: http1.Pool) -> None:
        assert await read(await ask(pool)) == b"1"
        await asyncio.sleep(0.1)
        assert await read(await ask(pool)) == b"1"

    run(serve, use)


def test_a_second_answer_in_the_same_piece_is_never_given_to_the_next_request() -> None:
    both = OK + b"Content-Length: 1\r\n\r\n1" + OK + b"Content-Length: 6\r\n\r\nstolen"

    async def use(pool: http1.Pool) -> None:
        for _ in range(3):
            with contextlib.suppress(http1.TransportError):
                assert await read(await ask(pool)) == b"1"

    run(saying([both], [both], [both]), use)


def test_closing_early_hangs_up_and_gives_its_room_back() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(ASK))
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()

    async def use(pool: http1.Pool) -> None:
        response = await ask(pool)
        assert await response.readany() == b"1"
        with pytest.raises(http1.PoolExhausted):
            await ask(pool)
        response.close()
        await asyncio.wait_for(gone.wait(), 5)
        (await ask(pool)).close()

    run(serve, use, budget=http1.ConnectionBudget(1))


def test_a_reader_that_is_slow_makes_the_server_wait() -> None:
    size = 40 * limits.UPSTREAM_READ_AHEAD
    written = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readexactly(len(ASK))
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536
        await reader.read()

    async def use(pool: http1.Pool) -> None:
        response = await ask(pool)
        last = -1
        while written != last:
            last = written
            await asyncio.sleep(0.1)
        assert written < size, "nothing held it up"
        assert len(await read(response)) == size

    run(serve, use)


def test_nobody_is_there() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        budget = http1.ConnectionBudget(1)
        pool = http1.Pool("127.0.0.1", port, tls=False, keep_alive=5, budget=budget)
        for _ in range(2):  # the room is given back
            with pytest.raises(http1.Unreachable):
                await ask(pool)

    asyncio.run(main())


def test_idle_connections_are_closed_in_time() -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(ASK))
        writer.write(OK + b"Content-Length: 1\r\n\r\n1")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        closed.set()

    async def main() -> None:
        async with serving(serve) as pool:
            pool._keep_alive = 0.05
            assert await read(await ask(pool)) == b"1"
            await asyncio.wait_for(closed.wait(), 5)

    asyncio.run(main())


def certificate(folder: Path) -> tuple[Path, Path]:
    """A key and its self-signed certificate for 127.0.0.1, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "key.pem").write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(encoding))
    return folder / "key.pem", folder / "cert.pem"


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_with_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool) -> None:
    key, cert = certificate(tmp_path)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(cert, key)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))

    async def main() -> None:
        serve = saying([OK + b"Content-Length: 5\r\n\r\nhello"])
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=theirs)
        pool = http1.Pool(
            "127.0.0.1", server.sockets[0].getsockname()[1], tls=True, keep_alive=5, budget=http1.ConnectionBudget()
        )
        try:
            if trusted:
                assert await read(await ask(pool)) == b"hello"
            else:
                with pytest.raises(http1.Unreachable):
                    await ask(pool)
        finally:
            pool.close()
            server.close()

    asyncio.run(asyncio.wait_for(main(), 20))
