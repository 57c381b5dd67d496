"""A load generator that costs little: keep-alive connections as raw protocols, answers read but not parsed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import cast

_LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to: answers per second, latencies in milliseconds."""

    answers: int
    rate: float
    p50: float
    p99: float


class LoadError(Exception):
    """The server answered with something else than success, or hung up."""


class Connection(asyncio.Protocol):
    """One connection: sends its request again as soon as the answer is whole."""

    def __init__(self, message: bytes, budget: list[int], took: list[float], done: asyncio.Future[None]) -> None:
        self._message = message
        self._budget = budget
        self._took = took
        self._done = done
        self._transport: asyncio.Transport
        self._began = 0.0
        self._had = b""
        #: Bytes of the answer that are still to come; None: its head is; -1: it is chunked.
        self._left: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail, unless all is done."""
        if not self._done.done():
            self._done.set_exception(LoadError("the server hung up"))

    def _send(self) -> None:
        if self._budget[0] <= 0:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._budget[0] -= 1
        self._had, self._left = b"", None
        self._began = time.perf_counter()
        self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        """Count what came; at the end of the answer, go on."""
        if self._left is None:
            data = self._head(data)
            if self._left is None:
                return
        if self._left == -1:
            tail = data if len(data) >= 7 else (self._had + data)[-7:]
            self._had = tail[-7:]
            if not tail.endswith(_LAST_CHUNK):
                return
        else:
            self._left -= len(data)
            if self._left > 0:
                return
        self._took.append(time.perf_counter() - self._began)
        self._send()

    def _head(self, data: bytes) -> bytes:
        """Read the head, once it is whole; gives what of the body came with it."""
        self._had += data
        end = self._had.find(b"\r\n\r\n")
        if end < 0:
            return b""
        head = self._had[:end].lower()
        if not head.startswith(b"http/1.1 200"):
            if not self._done.done():
                self._done.set_exception(LoadError(self._had[:1000].decode(errors="replace")))
            self._transport.close()
            return b""
        at = head.find(b"content-length:")
        self._left = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -1
        # With the line end of the head, so that an empty chunked body is known by its last chunk.
        body = self._had[end + 4 :] if self._left >= 0 else self._had[end + 2 :]
        self._had = b""
        return body


def request(path: str, key: str, body: bytes) -> bytes:
    """A whole POST request."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _run(port: int, message: bytes, connections: int, seconds: float, calls: int | None) -> Result:
    loop = asyncio.get_running_loop()
    took: list[float] = []
    budget = [calls if calls is not None else 1 << 60]
    done = [loop.create_future() for _ in range(connections)]
    began = time.perf_counter()
    if calls is None:
        loop.call_later(seconds, budget.__setitem__, 0, 0)
    opened: list[asyncio.Transport] = []
    try:
        for each in done:
            transport, _ = await loop.create_connection(
                lambda each=each: Connection(message, budget, took, each), "127.0.0.1", port
            )
            opened.append(transport)
        await asyncio.wait_for(asyncio.gather(*done), None if calls is not None else seconds + 30)
        lasted = time.perf_counter() - began
    finally:
        # After a failure, the others must not hear of answers when the loop is closed.
        for transport in opened:
            transport.abort()
        await asyncio.gather(*done[: len(opened)], return_exceptions=True)
    took.sort()
    return Result(len(took), len(took) / lasted, took[len(took) // 2] * 1e3, took[int(len(took) * 0.99)] * 1e3)


def run(port: int, message: bytes, *, connections: int, seconds: float = 0.0, calls: int | None = None) -> Result:
    """Send `message` over so many connections for so long, or so often. Raises `LoadError`."""
    import uvloop

    return uvloop.run(_run(port, message, connections, seconds, calls))
