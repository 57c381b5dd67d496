"""A Chat Completions server for tests: it answers as told, on a real socket, in a thread of this process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = dict[str, Any]
SECRET = "sk-upstream-secret-0123456789"


class BreakOff:
    """Break the connection here."""


class Stall:
    """Say nothing more, and keep the connection."""


@dataclass
class Says:
    """An HTTP answer. `pieces` are written one by one; numbers are waits (seconds)."""

    pieces: Sequence[bytes | float | BreakOff | Stall] = ()
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: Json


Behaviour = Callable[[Json], Says]

ENVELOPE: Json = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "up"}
USAGE: Json = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def chunk(delta: Json | None = None, *, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    """One chunk as JSON."""
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return json.dumps({**ENVELOPE, "choices": [choice], **more}).encode()


def usage_chunk(usage: Json = USAGE) -> bytes:
    """The chunk that holds only the usage."""
    return json.dumps({**ENVELOPE, "choices": [], "usage": usage}).encode()


def sse(*events: bytes, done: bool = True) -> list[bytes]:
    """Events of a stream, each to be written at once."""
    return [b"data: %b\n\n" % event for event in (*events, *([b"[DONE]"] if done else ()))]


def streamed(*events: bytes, done: bool = True) -> Says:
    """A whole stream."""
    return Says(sse(*events, done=done), kind="text/event-stream")


def completed(message: Json, *, finish: str = "stop", usage: Json | None = USAGE, **choice: Any) -> Says:
    """A whole completion."""
    body: Json = {
        "id": "chatcmpl-up",
        "object": "chat.completion",
        "created": 1,
        "model": "up",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}],
    }
    return Says([json.dumps({**body, "usage": usage} if usage else body).encode()])


def saying(*texts: str) -> Behaviour:
    """Says these pieces of text, whether it is to stream or not."""

    def behave(body: Json) -> Says:
        if not body.get("stream"):
            return completed({"content": "".join(texts)})
        usage = [usage_chunk()] if (body.get("stream_options") or {}).get("include_usage") else []
        pieces = [chunk({"content": text}) for text in texts]
        return streamed(chunk({"role": "assistant", "content": ""}), *pieces, chunk(finish="stop"), *usage)

    return behave


def failing(status: int, error: Json | None = None, **headers: str) -> Behaviour:
    """Refuses everything."""
    body = json.dumps({"error": error or {"message": f"no, {SECRET}", "type": "server_error"}}).encode()
    return lambda _: Says([body], status=status, headers={name.replace("_", "-"): v for name, v in headers.items()})


class ChatUpstream:
    """What it is asked, and what it answers. `behave` may be changed at any time."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.asked: list[Asked] = []
        self.url = ""
        #: Answers whose client hung up before their end.
        self.hung_up = 0
        self.connections: set[object] = set()

    @property
    def last(self) -> Json:
        """The body of the last request."""
        return self.asked[-1].body

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take a request, and do as told."""
        raw = await request.read()
        body = json.loads(raw) if raw else {}
        self.asked.append(Asked(request.path, dict(request.headers), body))
        self.connections.add(request.transport)
        says = self.behave(body)
        response = web.StreamResponse(status=says.status, headers={"Content-Type": says.kind, **says.headers})
        try:
            await self._write(request, response, says)
        except (ConnectionError, asyncio.CancelledError):
            self.hung_up += 1
            raise
        return response

    async def _write(self, request: web.Request, response: web.StreamResponse, says: Says) -> None:
        if says.pieces and isinstance(says.pieces[0], BreakOff):
            assert request.transport is not None
            request.transport.abort()
            return
        await response.prepare(request)
        for piece in says.pieces:
            if isinstance(piece, bytes):
                await response.write(piece)
            elif isinstance(piece, BreakOff):
                assert request.transport is not None
                request.transport.abort()
                return
            elif isinstance(piece, Stall):
                await asyncio.Event().wait()
            else:
                await asyncio.sleep(piece)
        await response.write_eof()


@contextmanager
def chat_upstream(behave: Behaviour | None = None) -> Iterator[ChatUpstream]:
    """The server, until the block is left."""
    upstream = ChatUpstream(behave or saying("Hel", "lo"))
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", upstream.answer)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        upstream.url = f"http://{host}:{port}/v1"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    def run() -> None:
        loop.run_until_complete(main())
        loop.close()

    thread = threading.Thread(target=run, name="upstream")
    thread.start()
    assert ready.wait(10)
    try:
        yield upstream
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
