"""A load generator that costs little: keep-alive connections over asyncio streams, answers read but not parsed."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass


@dataclass
class Result:
    """What a run came to: rates per second, latencies in milliseconds."""

    rate: float
    p50: float
    p99: float


def request(path: str, key: str, body: bytes) -> bytes:
    """A whole POST request."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(message)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode(errors="replace") + (await reader.read(2000)).decode(errors="replace"))
    marker = head.lower().find(b"content-length:")
    if marker >= 0:
        await reader.readexactly(int(head[marker + 15 :].split(b"\r\n", 1)[0]))
        return
    tail = b""
    while not tail.endswith(b"0\r\n\r\n"):
        piece = await reader.read(65536)
        if not piece:
            raise RuntimeError("the connection ended in the middle of a stream")
        tail = (tail + piece)[-16:]


async def _connection(port: int, message: bytes, until: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    while time.perf_counter() < until:
        began = time.perf_counter()
        await _once(reader, writer, message)
        took.append((time.perf_counter() - began) * 1000)
    writer.close()


def run(port: int, message: bytes, *, connections: int, seconds: float, core: int | None = None) -> Result:
    """Send `message` over so many connections for so long, from `core` if one is given."""
    import uvloop

    if core is not None:
        os.sched_setaffinity(0, {core})

    async def main() -> Result:
        took: list[float] = []
        began = time.perf_counter()
        await asyncio.gather(*[_connection(port, message, began + seconds, took) for _ in range(connections)])
        lasted = time.perf_counter() - began
        took.sort()
        return Result(len(took) / lasted, took[len(took) // 2], took[int(len(took) * 0.99)])

    return uvloop.run(main())
