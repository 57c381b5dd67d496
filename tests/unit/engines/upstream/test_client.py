"""The client of all upstreams, against a real socket: what comes back, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import (
    AntiphonError,
    ContextLengthExceeded,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    UpstreamBroken,
    UpstreamFailed,
)
from antiphon.domain.routing import Deadlines, Secret, UpstreamSpec
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.client import ConnectionPools, UpstreamClient
from antiphon.wire.sse import Event
from support.chat_engines import HASTY, client_of
from support.upstreams import (
    SECRET,
    Behaviour,
    BreakOff,
    ChatUpstream,
    Json,
    Says,
    Stall,
    chat_upstream,
    chunk,
    failing,
    sse,
    streamed,
)

PATH = "/chat/completions"
T = TypeVar("T")
Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def upstream() -> Iterator[ChatUpstream]:
    with chat_upstream() as upstream:
        yield upstream


def using(upstream: ChatUpstream, main: Callable[[UpstreamClient], Awaitable[T]], **more: Any) -> T:
    """Run `main` with a client of its own."""

    async def run() -> T:
        connections = ConnectionPools()
        try:
            return await main(client_of(upstream.url, connections, **more))
        finally:
            await connections.close()

    return asyncio.run(run())


async def events(client: UpstreamClient, deadlines: Deadlines = HASTY) -> list[Event]:
    reply = await client.post(PATH, b"{}", stream=True, deadlines=deadlines)
    try:
        return [event async for batch in reply.events() for event in batch]
    finally:
        reply.close()


async def whole(client: UpstreamClient, deadlines: Deadlines = HASTY) -> bytes:
    reply = await client.post(PATH, b"{}", stream=False, deadlines=deadlines)
    return await reply.body()


def error_of(upstream: ChatUpstream, behave: Behaviour | Says, ask: Any = whole, **more: Any) -> AntiphonError:
    """What is raised, which must tell nothing of the upstream but what it said of the request."""
    upstream.behave = behave if callable(behave) else lambda _: behave
    with pytest.raises(AntiphonError) as caught:
        using(upstream, ask, **more)
    told = f"{caught.value!r} {caught.value.body()}"
    assert SECRET not in told
    assert "127.0.0.1" not in told
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


# --- what goes out ----------------------------------------------------------------------------------------------------
def test_a_request_has_the_secret_and_no_more_than_is_configured(upstream: ChatUpstream) -> None:
    upstream.behave = lambda _: Says([b'{"ok": 1}'], headers={"Set-Cookie": "a=b"})
    headers = {"X-Title": "app", "authorization": "stolen", "User-Agent": "me"}

    async def twice(client: UpstreamClient) -> bytes:
        await whole(client)
        return await whole(client)

    assert using(upstream, twice, headers=headers) == b'{"ok": 1}'
    asked = upstream.asked[-1]
    assert asked.path == "/v1/chat/completions"
    sent = {name.lower(): value for name, value in asked.headers.items()}
    assert sent.pop("host").startswith("127.0.0.1:")
    assert sent == {
        "authorization": f"Bearer {SECRET}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-length": "2",
        "content-type": "application/json",
        "user-agent": "me",
        "x-title": "app",
    }


def test_environment_and_redirects_are_not_followed(upstream: ChatUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    upstream.behave = lambda _: Says([b"{}"])
    assert using(upstream, whole) == b"{}"
    error = error_of(upstream, Says([b"{}"], status=307, headers={"Location": f"{upstream.url}/elsewhere"}))
    assert error.code == "upstream_invalid"
    assert upstream.asked[-1].path == "/v1/chat/completions"


def test_a_large_body(upstream: ChatUpstream) -> None:
    upstream.behave = lambda body: Says([json.dumps(len(body["a"])).encode()])

    async def main(client: UpstreamClient) -> bytes:
        body = json.dumps({"a": "x" * 3_000_000}).encode()
        reply = await client.post(PATH, body, stream=False, deadlines=Deadlines())
        return await reply.body()

    assert using(upstream, main) == b"3000000"


def test_other_paths(upstream: ChatUpstream) -> None:
    upstream.behave = lambda _: Says([b'{"data": []}'])
    assert using(upstream, lambda client: client.get("/models", deadlines=HASTY)) == b'{"data": []}'
    assert upstream.asked[-1].path == "/v1/models"

    async def own(client: UpstreamClient) -> bytes:
        return await (await client.post("../tokenize", b"{}", stream=False, deadlines=HASTY)).body()

    using(upstream, own)
    assert upstream.asked[-1].path == "/tokenize"


# --- what comes in ----------------------------------------------------------------------------------------------------
def test_events_however_they_are_cut(upstream: ChatUpstream) -> None:
    data = "data: é1\r\n\r\n: ping\n\nevent: x\ndata: 2\ndata: 3\n\ndata: [DONE]\n\n".encode()
    expected = [Event("message", "é1".encode()), Event("x", b"2\n3"), Event("message", b"[DONE]")]
    bytewise = [data[at : at + 1] for at in range(len(data))]
    for pieces in ([data], bytewise, [data[:7], 0.02, data[7:]]):
        upstream.behave = lambda _, pieces=pieces: Says(pieces, kind="text/event-stream; charset=utf-8")  # type: ignore[misc]
        assert using(upstream, events) == expected


def test_connections_are_used_again_also_after_a_stream(upstream: ChatUpstream) -> None:
    upstream.behave = lambda body: streamed(chunk({"content": "a"}))

    async def main(client: UpstreamClient) -> None:
        for _ in range(5):
            reply = await client.post(PATH, b"{}", stream=True, deadlines=HASTY)
            async for batch in reply.events():
                if batch[-1].data == b"[DONE]":
                    reply.done()
                    break
            await asyncio.sleep(0.02)

    before = len(upstream.connections)
    using(upstream, main)
    assert len(upstream.connections) - before == 1


def test_closing_early_hangs_up(upstream: ChatUpstream) -> None:
    upstream.behave = lambda _: Says([*sse(b"1", done=False), Stall()], kind="text/event-stream")

    async def main(client: UpstreamClient) -> None:
        reply = await client.post(PATH, b"{}", stream=True, deadlines=Deadlines())
        await anext(reply.events())
        reply.close()
        reply.close()
        for _ in range(100):
            if upstream.hung_up > before:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the upstream was not told")

    before = upstream.hung_up
    using(upstream, main)


# --- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [401, 402, 403, 407])
def test_a_refused_secret_is_ours_to_mend(upstream: ChatUpstream, status: int) -> None:
    error = error_of(upstream, failing(status, {"message": f"Incorrect API key: {SECRET}", "code": "invalid_api_key"}))
    assert (type(error), error.code, error.status) == (UpstreamFailed, "upstream_refused", 502)
    assert "Incorrect" not in error.message
    assert errors.retry(error) == "other"


def test_too_many_requests(upstream: ChatUpstream) -> None:
    error = error_of(upstream, failing(429, {"message": "slow", "type": "tokens"}, Retry_After="7"))
    assert isinstance(error, RateLimited)
    assert (error.retry_after, error.type, error.code, error.status) == (7, "tokens", "rate_limit_exceeded", 429)
    assert errors.retry(error) == "same"
    quota = error_of(upstream, failing(429, {"message": "pay", "code": "insufficient_quota"}))
    assert (quota.code, quota.status) == ("upstream_refused", 502)


def test_what_the_upstream_dislikes_is_told(upstream: ChatUpstream) -> None:
    message = (
        f"'temperature' must be below 2. See https://x.test/docs or {SECRET}\nat /srv/app/main.py/x on 10.0.0.7:80"
    )
    error = error_of(upstream, failing(400, {"message": message, "code": "bad_value", "param": "temperature"}))
    assert type(error) is InvalidRequest
    assert (error.code, error.param) == ("bad_value", "temperature")
    assert error.message == (
        "The model's server does not take this request. It says: 'temperature' must be below 2. See … or … at … on …"
    )
    assert errors.retry(error) == "never"


@pytest.mark.parametrize(
    ("status", "error", "kind", "code"),
    [
        (400, {"message": "too long", "code": "context_length_exceeded"}, ContextLengthExceeded, None),
        (400, {"message": "This model's maximum context length is 10 tokens."}, ContextLengthExceeded, None),
        (400, {"message": "x", "type": "exceed_context_size_error", "code": 400}, ContextLengthExceeded, None),
        (400, {"message": "x", "code": "Not An Identifier", "param": "a b"}, InvalidRequest, "upstream_rejected"),
        (422, {"message": "x"}, InvalidRequest, "upstream_rejected"),
        (413, {"message": "x"}, PayloadTooLarge, "request_too_large"),
        (404, {"message": "no model 'm'", "code": 404}, NotFound, "model_not_found"),
        (404, {"message": "Not Found"}, UpstreamFailed, "upstream_invalid"),
        (405, {"message": "x"}, UpstreamFailed, "upstream_invalid"),
        (500, {"message": "x"}, UpstreamFailed, "upstream_error"),
        (502, {"message": "x"}, UpstreamFailed, "upstream_error"),
        (503, {"message": "x"}, Overloaded, "server_is_overloaded"),
        (529, {"message": "x"}, Overloaded, "server_is_overloaded"),
        (504, {"message": "x"}, DeadlineExceeded, "upstream_timeout"),
    ],
)
def test_statuses(
    upstream: ChatUpstream, status: int, error: Json, kind: type[AntiphonError], code: str | None
) -> None:
    raised = error_of(upstream, failing(status, error))
    assert type(raised) is kind
    assert code is None or raised.code == code


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>no</html>", b"\xff\xfe", b'"text"', b"[" * 100_000, b'{"error": 7}', b'{"detail": [{"x": 1}]}'],
)
def test_errors_that_are_none_of_the_known_forms(upstream: ChatUpstream, body: bytes) -> None:
    error = error_of(upstream, Says([body], status=400, kind="text/html"))
    assert error.message == "The model's server does not take this request."
    assert (error.code, error.param) == ("upstream_rejected", None)


def test_an_error_without_end_is_not_read_to_its_end(upstream: ChatUpstream) -> None:
    error = error_of(upstream, Says([b" " * 10_000] * 100, status=500))
    assert error.code == "upstream_error"
    error = error_of(upstream, Says([b'{"error"', BreakOff()], status=500))
    assert error.code == "upstream_error"


# --- faults -----------------------------------------------------------------------------------------------------------
def test_nobody_is_there(upstream: ChatUpstream) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = ChatUpstream(upstream.behave)
        nobody.url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        error = error_of(nobody, upstream.behave)
    assert (error.code, error.status) == ("upstream_unreachable", 502)
    nobody.url = "http://no-such-host.invalid/v1"
    assert error_of(nobody, upstream.behave).code == "upstream_unreachable"
    nobody.url = upstream.url.replace("http:", "https:")
    assert error_of(nobody, upstream.behave).code == "upstream_unreachable"
    assert errors.retry(error) == "same"


@pytest.mark.parametrize("ask", [whole, events])
@pytest.mark.parametrize("pieces", [[BreakOff()], [b'data: {"a', BreakOff()], [b'{"a":', BreakOff()]])
def test_an_upstream_that_hangs_up(upstream: ChatUpstream, ask: Any, pieces: list[Any]) -> None:
    kind = "text/event-stream" if ask is events else "application/json"
    error = error_of(upstream, Says(pieces, kind=kind), ask)
    assert (type(error), error.code) == (UpstreamBroken, "upstream_error")


@pytest.mark.parametrize("kind", ["text/html", "image/png"])
def test_the_wrong_kind_of_content(upstream: ChatUpstream, kind: str) -> None:
    for ask in (whole, events):
        assert error_of(upstream, Says([b"data: 1\n\n"], kind=kind), ask).code == "upstream_invalid"


def test_compressed_content_is_not_unpacked(upstream: ChatUpstream) -> None:
    error = error_of(upstream, Says([b"x"], headers={"Content-Encoding": "gzip"}))
    assert error.code == "upstream_invalid"


def test_sizes_are_bounded(upstream: ChatUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UPSTREAM_BODY", 1000)
    monkeypatch.setattr(limits, "MAX_UPSTREAM_EVENT", 1000)
    assert error_of(upstream, Says([b" " * 900] * 2)).code == "upstream_invalid"
    assert (
        error_of(upstream, Says([b"data: " + b"x" * 900] * 2, kind="text/event-stream"), events).code
        == "upstream_invalid"
    )


# --- deadlines --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("pieces", "deadlines", "wait"),
    [
        ([Stall()], Deadlines(first=0.2), "the beginning of its answer"),
        ([b": ping\n\n", 0.1, b": ping\n\n", 0.1, b": ping\n\n", Stall()], Deadlines(first=0.25), "the beginning"),
        ([*sse(b"1", done=False), Stall()], Deadlines(between=0.2), "its next piece"),
        (
            [piece for n in range(40) for piece in (*sse(b"1", done=False), 0.02)],
            Deadlines(whole=0.3),
            "the whole answer",
        ),
    ],
)
def test_a_stream_that_is_late(upstream: ChatUpstream, pieces: list[Any], deadlines: Deadlines, wait: str) -> None:
    began = time.monotonic()
    error = error_of(upstream, Says(pieces, kind="text/event-stream"), lambda client: events(client, deadlines))
    assert time.monotonic() - began < 1.0
    assert isinstance(error, DeadlineExceeded)
    assert (error.code, error.status) == ("upstream_timeout", 504)
    assert wait in error.message
    assert errors.retry(error) == "other"


def test_a_whole_answer_is_late_only_as_a_whole(upstream: ChatUpstream) -> None:
    quick = Deadlines(first=0.05, between=0.05, whole=0.4)
    upstream.behave = lambda _: Says([b"{", 0.15, b"}"])
    assert using(upstream, lambda client: whole(client, quick)) == b"{}"
    assert isinstance(error_of(upstream, Says([b"{", Stall()]), lambda client: whole(client, quick)), DeadlineExceeded)


def test_a_reader_that_is_slow_is_not_the_upstreams_fault(upstream: ChatUpstream) -> None:
    upstream.behave = lambda _: Says([*sse(b"1", done=False), 0.05, *sse(b"2")], kind="text/event-stream")

    async def main(client: UpstreamClient) -> int:
        reply = await client.post(PATH, b"{}", stream=True, deadlines=Deadlines(first=0.2, between=0.1))
        count = 0
        async for batch in reply.events():
            count += len(batch)
            await asyncio.sleep(0.3)
        return count

    assert using(upstream, main) == 3


@asynccontextmanager
async def raw_server(talk: Raw) -> AsyncIterator[UpstreamClient]:
    """A client of a server that speaks in bytes."""
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    connections = ConnectionPools()
    port = server.sockets[0].getsockname()[1]
    try:
        yield client_of(f"http://127.0.0.1:{port}/v1", connections)
    finally:
        server.close()
        await connections.close()


async def take(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    size = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    return await reader.readexactly(size)


def test_headers_that_do_not_come() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def main() -> None:
        async with raw_server(silent) as client:
            for stream in (True, False):
                with pytest.raises(DeadlineExceeded, match="to begin"):
                    await client.post(PATH, b"{}", stream=stream, deadlines=Deadlines(first=0.2, whole=0.4))

    asyncio.run(main())


def test_what_is_not_http() -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take(reader)
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with raw_server(other) as client:
            with pytest.raises(UpstreamFailed) as caught:
                await client.post(PATH, b"{}", stream=True, deadlines=HASTY)
            assert caught.value.code == "upstream_invalid"

    asyncio.run(main())


def closing(requests: list[bytes], seconds: float = 0.0) -> Raw:
    """As llama.cpp does: closes after an answer, without saying so; when the next request has come and `seconds` after.

    Then that request surely goes out on a connection that is being closed.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            requests.append(await take(reader))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()
            if await reader.read(65536) and seconds:
                requests.append(b"worked on")
                await asyncio.sleep(seconds)
        writer.transport.abort()

    return serve


def test_what_costs_nothing_is_sent_again_when_it_meets_a_connection_just_being_closed() -> None:
    requests: list[bytes] = []

    async def main() -> None:
        async with raw_server(closing(requests)) as client:
            for _ in range(4):
                reply = await client.post(PATH, b"{}", stream=False, deadlines=HASTY, repeatable=True)
                assert await reply.body() == b"{}"

    asyncio.run(main())
    assert len(requests) == 4


def test_what_may_cost_is_not_sent_again_by_itself_but_may_be_at_once() -> None:
    requests: list[bytes] = []

    async def main() -> None:
        async with raw_server(closing(requests)) as client:
            await whole(client)
            with pytest.raises(UpstreamFailed) as caught:
                await whole(client)
            assert errors.retry(caught.value) == "at once"
            await whole(client)

    asyncio.run(main())
    assert len(requests) == 2


def test_an_upstream_that_has_worked_before_it_closes_has_taken_the_request() -> None:
    requests: list[bytes] = []

    async def main() -> None:
        async with raw_server(closing(requests, 20 * limits.UPSTREAM_STALE_WITHIN)) as client:
            reply = await client.post(PATH, b"{}", stream=False, deadlines=HASTY, repeatable=True)
            await reply.body()
            with pytest.raises(UpstreamFailed) as caught:
                await client.post(PATH, b"{}", stream=False, deadlines=HASTY, repeatable=True)
            assert errors.retry(caught.value) == "same"

    asyncio.run(main())
    assert requests.count(b"worked on") == 1


def test_a_new_connection_that_breaks_is_not_tried_again() -> None:
    tries = 0

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        await take(reader)
        tries += 1
        writer.transport.abort()

    async def main() -> None:
        async with raw_server(rude) as client:
            with pytest.raises(UpstreamFailed):
                await whole(client)

    asyncio.run(main())
    assert tries == 1


# --- rotation ---------------------------------------------------------------------------------------------------------
def test_a_secret_that_was_rotated_is_taken_up_at_once(upstream: ChatUpstream, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old-secret\n")

    def behave(_: Json) -> Says:
        if upstream.asked[-1].headers["Authorization"] == "Bearer new-secret":
            return Says([b"{}"])
        return Says([b'{"error": {"message": "no"}}'], status=401)

    async def main() -> bytes:
        connections = ConnectionPools()
        client = UpstreamClient(UpstreamSpec("up", "chat", upstream.url, Secret(file=file)), connections)
        file.write_text("new-secret\n")
        try:
            return await whole(client)
        finally:
            await connections.close()

    upstream.behave = behave
    assert asyncio.run(main()) == b"{}"
