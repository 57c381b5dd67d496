"""A proxy that stands before an API server and spoils its answers, in the way that the name of the model asks for.

The model is called `FAULT.REST`, such as `reset_middle.anything`; the server behind is asked for the model that the
proxy was told of. So one proxy serves any number of tests at once, and each test has a target of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

#: What no client may ever get to read: the proxy's refusals are full of it.
WORDS = "SPOILT-TEXT-OF-THE-UPSTREAM"
_PIECE = 65_536


@dataclass(frozen=True)
class Answer:
    """An answer of the server behind. `body` has no transfer encoding left."""

    status: int
    content_type: str
    body: bytes


class Line:
    """The connection to whoever asked, with all the ways to mistreat it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send some bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int, content_type: str, **headers: str) -> None:
        """A status and headers; the body ends with the connection, unless a length is among the headers."""
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {content_type}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def whole(self, status: int, content_type: str, body: bytes, **headers: str) -> None:
        """A whole answer."""
        await self.head(status, content_type, Content_Length=str(len(body)), **headers)
        await self.send(body)

    def reset(self) -> None:
        """Break the connection so that the other side sees a reset."""
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def stall(self) -> None:
        """Say nothing more, until the other side has enough of it or the test is over."""
        await asyncio.sleep(60)


Fault = Callable[[Line, Answer], Awaitable[None]]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    """Register a way to spoil an answer under the function's name."""
    FAULTS[function.__name__.strip("_")] = function
    return function


def _middle(body: bytes) -> int:
    """Somewhere inside: of a stream of events, inside one of them."""
    return len(body) * 2 // 3


def _refusal(code: str, kind: str = "server_error") -> bytes:
    message = f"{WORDS} key sk-planted-secret-1234567890 at http://10.1.2.3:99/v1 Traceback (most recent call last)"
    return json.dumps({"error": {"message": message, "type": kind, "code": code, "param": None}}).encode()


# --- nothing wrong ----------------------------------------------------------------------------------------------------
@fault
async def _none(line: Line, answer: Answer) -> None:
    await line.whole(answer.status, answer.content_type, answer.body)


@fault
async def _bytewise(line: Line, answer: Answer) -> None:
    """Every byte a packet of its own: events and characters are split everywhere."""
    await line.head(answer.status, answer.content_type)
    for index in range(len(answer.body)):
        await line.send(answer.body[index : index + 1])
        if index % 16 == 0:
            await asyncio.sleep(0)


@fault
async def _split_characters(line: Line, answer: Answer) -> None:
    """Cut inside each character that has more than one byte."""
    await line.head(answer.status, answer.content_type)
    start = 0
    for match in re.finditer(rb"[\xc0-\xff]", answer.body):
        await line.send(answer.body[start : match.end()])
        await asyncio.sleep(0.002)
        start = match.end()
    await line.send(answer.body[start:])


@fault
async def _merged(line: Line, answer: Answer) -> None:
    """The whole stream at once, with comments and other line ends."""
    body = answer.body
    if answer.content_type.startswith("text/event-stream"):
        body = b": hello\r\n\r\n" + body.replace(b"\n", b"\r\n")
    await line.whole(answer.status, answer.content_type, body)


# --- connections ------------------------------------------------------------------------------------------------------
@fault
async def _hangup_before(line: Line, answer: Answer) -> None:
    """Not one byte."""


@fault
async def _reset_before(line: Line, answer: Answer) -> None:
    line.reset()


@fault
async def _reset_middle(line: Line, answer: Answer) -> None:
    await line.head(answer.status, answer.content_type)
    await line.send(answer.body[: _middle(answer.body)])
    await asyncio.sleep(0.05)
    line.reset()


@fault
async def _hangup_in_head(line: Line, answer: Answer) -> None:
    await line.send(b"HTTP/1.1 200 OK\r\nContent-Ty")


@fault
async def _hangup_after_head(line: Line, answer: Answer) -> None:
    await line.head(answer.status, answer.content_type)


@fault
async def _hangup_after_first_byte(line: Line, answer: Answer) -> None:
    await line.head(answer.status, answer.content_type, Content_Length=str(len(answer.body)))
    await line.send(answer.body[:1])


@fault
async def _truncated(line: Line, answer: Answer) -> None:
    """A proper end of HTTP in the middle of the answer."""
    await line.whole(answer.status, answer.content_type, answer.body[: _middle(answer.body)])


@fault
async def _not_http(line: Line, answer: Answer) -> None:
    await line.send(b"SSH-2.0-OpenSSH_9.6 " + WORDS.encode() + b"\r\n")


# --- time -------------------------------------------------------------------------------------------------------------
@fault
async def _stall_before(line: Line, answer: Answer) -> None:
    await line.stall()


@fault
async def _stall_after_head(line: Line, answer: Answer) -> None:
    await line.head(answer.status, answer.content_type)
    await line.stall()


@fault
async def _stall_middle(line: Line, answer: Answer) -> None:
    await line.head(answer.status, answer.content_type)
    await line.send(answer.body[: _middle(answer.body)])
    await line.stall()


@fault
async def _drip(line: Line, answer: Answer) -> None:
    """A byte now and then: never silent for long, and never done."""
    await line.head(answer.status, answer.content_type)
    for index in range(len(answer.body)):
        await line.send(answer.body[index : index + 1])
        await asyncio.sleep(0.05)


@fault
async def _comments_only(line: Line, answer: Answer) -> None:
    """It says that it is alive, and nothing else."""
    await line.head(answer.status, answer.content_type)
    for _ in range(600):
        await line.send(b": still here\n\n")
        await asyncio.sleep(0.1)


# --- nonsense ---------------------------------------------------------------------------------------------------------
@fault
async def _garbage(line: Line, answer: Answer) -> None:
    """The right type, and no JSON."""
    streamed = answer.content_type.startswith("text/event-stream")
    body = f"{{'{WORDS}': nope".encode()
    await line.whole(answer.status, answer.content_type, b"data: " + body + b"\n\n" if streamed else body)


@fault
async def _garbage_middle(line: Line, answer: Answer) -> None:
    cut = answer.body.find(b"\n\n", _middle(answer.body)) + 2
    await line.whole(answer.status, answer.content_type, answer.body[:cut] + f"data: {WORDS}}}\n\n".encode())


@fault
async def _wrong_shape(line: Line, answer: Answer) -> None:
    """JSON, but not what it must be."""
    streamed = answer.content_type.startswith("text/event-stream")
    body = json.dumps({"choices": 7, "output": WORDS, "type": 3}).encode()
    await line.whole(answer.status, answer.content_type, b"data: " + body + b"\n\n" if streamed else body)


@fault
async def _bad_utf8(line: Line, answer: Answer) -> None:
    await line.whole(answer.status, answer.content_type, answer.body.replace("ü".encode(), b"\xff\xfe"))


@fault
async def _wrong_type(line: Line, answer: Answer) -> None:
    await line.whole(200, "text/html", f"<html>{WORDS}</html>".encode())


@fault
async def _empty(line: Line, answer: Answer) -> None:
    await line.whole(200, answer.content_type, b"")


@fault
async def _error_in_stream(line: Line, answer: Answer) -> None:
    """An error object in place of the answer, after HTTP status 200."""
    streamed = answer.content_type.startswith("text/event-stream")
    body = _refusal("server_error")
    await line.whole(200, answer.content_type, b"data: " + body + b"\n\n" if streamed else body)


@fault
async def _redirect(line: Line, answer: Answer) -> None:
    await line.whole(302, "text/plain", WORDS.encode(), Location="http://127.0.0.1:9/elsewhere")


def _streamed(answer: Answer) -> bool:
    return answer.content_type.startswith("text/event-stream")


def _blocks(answer: Answer) -> list[bytes]:
    """The events of a stream."""
    return [block + b"\n\n" for block in answer.body.split(b"\n\n") if block]


@fault
async def _error_object(line: Line, answer: Answer) -> None:
    """An error that has no member of that name, in the middle of the answer, which then ends as if all was well."""
    error = json.dumps({"object": "error", "message": WORDS, "code": 500}).encode()
    if _streamed(answer):
        blocks = _blocks(answer)
        error = b"".join([*blocks[: len(blocks) // 2], b"data: " + error + b"\n\n", b"data: [DONE]\n\n"])
    await line.whole(200, answer.content_type, error)


@fault
async def _error_event(line: Line, answer: Answer) -> None:
    """The same, as an event of its own type."""
    error = json.dumps({"detail": WORDS}).encode()
    if _streamed(answer):
        blocks = _blocks(answer)
        error = b"".join([*blocks[: len(blocks) // 2], b"event: error\ndata: " + error + b"\n\n", b"data: [DONE]\n\n"])
    await line.whole(200, answer.content_type, error)


@fault
async def _no_reason(line: Line, answer: Answer) -> None:
    """The mark of the end, and nothing that says why. A whole answer is at its end all the same."""
    body = answer.body.replace(b'"finish_reason":"stop"', b'"finish_reason":null')
    if _streamed(answer):
        body = b"".join(block for block in _blocks(answer) if b"response.completed" not in block)
        body = body.replace(b'"finish_reason":"stop"', b'"finish_reason":null')
    await line.whole(200, answer.content_type, body)


@fault
async def _pings(line: Line, answer: Answer) -> None:
    """What keeps a stream alive, in every form, between all events."""
    ping = b'data:\n\ndata: ping\n\nevent: ping\ndata: {"type": "ping"}\n\n: ping\n\ndata: {}\n\n'
    body = ping + ping.join(_blocks(answer)) if _streamed(answer) else answer.body
    await line.whole(200, answer.content_type, body)


@fault
async def _plain_type(line: Line, answer: Answer) -> None:
    await line.whole(200, "text/plain; charset=latin-1", answer.body)


@fault
async def _odd_type(line: Line, answer: Answer) -> None:
    """Each is called what the other is."""
    kind = "application/json" if _streamed(answer) else "text/event-stream"
    await line.whole(200, kind, b"\xef\xbb\xbf" + answer.body)


# --- refusals ---------------------------------------------------------------------------------------------------------
def _refusing(status: int, code: str, kind: str, **headers: str) -> Fault:
    async def refuse(line: Line, answer: Answer) -> None:
        await line.whole(status, "application/json", _refusal(code, kind), **headers)

    return refuse


FAULTS |= {
    "status_400": _refusing(400, "bad_thing", "invalid_request_error"),
    "status_401": _refusing(401, "invalid_api_key", "invalid_request_error"),
    "status_403": _refusing(403, "forbidden", "invalid_request_error"),
    "status_404": _refusing(404, "model_not_found", "invalid_request_error"),
    "status_429": _refusing(429, "rate_limit_exceeded", "requests"),
    "status_429_later": _refusing(429, "rate_limit_exceeded", "requests", Retry_After="30"),
    "status_500": _refusing(500, "server_error", "server_error"),
    "status_503": _refusing(503, "overloaded", "server_error"),
    "status_503_later": _refusing(503, "overloaded", "server_error", Retry_After="30"),
    "status_504": _refusing(504, "timeout", "server_error"),
}


class FaultProxy:
    """See the module. `asked` counts what was asked for, by the model's name."""

    def __init__(self, host: str, port: int, model: str) -> None:
        """The server behind, and the model it is to be asked for."""
        self._behind = host, port
        self._model = model
        self.asked: Counter[str] = Counter()
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request on one connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1])) if length else b""
            document: dict[str, Any] = json.loads(body) if body else {}
            model = str(document.get("model", "none"))
            spoil = self._fault(model)
            self.asked[model] += 1
            if document:
                body = json.dumps({**document, "model": self._model}).encode()
            await spoil(Line(writer), await self._ask(head, body))
        with contextlib.suppress(OSError):
            writer.close()

    def _fault(self, model: str) -> Fault:
        """`twice_FAULT`: spoils the first two answers only."""
        name = model.partition(".")[0]
        if name.startswith("twice_"):
            return FAULTS[name.removeprefix("twice_") if self.asked[model] < 2 else "none"]
        return FAULTS[name]

    async def _ask(self, head: bytes, body: bytes) -> Answer:
        reader, writer = await asyncio.open_connection(*self._behind)
        try:
            lines = [
                line
                for line in head.split(b"\r\n")
                if not line.lower().startswith((b"content-length:", b"connection:", b"host:"))
            ]
            lines[1:1] = [b"Host: behind", b"Connection: close", b"Content-Length: %d" % len(body)]
            writer.write(b"\r\n".join(lines) + body)
            raw = await reader.read()
            while piece := await reader.read(_PIECE):
                raw += piece
        finally:
            writer.close()
        return _answer(raw)


def _answer(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        body = b"".join(_chunks(body))
    return Answer(int(lines[0].split()[1]), headers["content-type"], body)


def _chunks(body: bytes) -> Iterator[bytes]:
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        yield body[:length]
        body = body[length + 2 :]
        if not length:
            return


@contextlib.contextmanager
def fault_proxy(host: str, port: int, model: str) -> Iterator[FaultProxy]:
    """A proxy before the server at this address, in a thread of its own."""
    proxy = FaultProxy(host, port, model)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fault proxy")
    thread.start()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(proxy.handle, "127.0.0.1", 0)

    async def stop() -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
