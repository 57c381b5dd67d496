"""A server with resources for tests only, one for each kind of body and answer that HTTP has here, and its handle.

It runs in a process of its own, which measures itself: see `support.metered`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

from antiphon.domain.limits import MIB
from support.metered import MeteredStream, StallMeter

CONTENT = bytes(number % 251 for number in range(1000))
MODIFIED = 1_700_000_000
LARGE = 256 * MIB
#: What `/test/count` takes at most.
MOST = 64 * MIB
KEY = "good"


@contextlib.contextmanager
def kinds(path: Path) -> Iterator[MeteredStream]:
    """Serve until the block is left. `path`: for files and the log."""
    command = [sys.executable, "-m", "support.kinds", str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    log_file = path / "server.log"
    with log_file.open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log_file.read_text("utf-8")
        yield MeteredStream(process, json.loads(line)["url"], KEY, log_file)
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def main(path: Path) -> None:
    """Serve until standard input ends."""
    import uvloop

    uvloop.run(_serve(path))


async def _serve(path: Path) -> None:
    from antiphon.domain.errors import Unauthenticated
    from antiphon.domain.tenancy import Caller, Key, Project
    from antiphon.http.api import Api
    from antiphon.http.server import HttpServer
    from antiphon.policy.observe.observer import Observer
    from antiphon.policy.pipeline.pipeline import Pipeline
    from antiphon.stores.blobs.directory import DirectoryBlobs
    from antiphon.telemetry import logs

    logs.configure("info", "json")

    async def authenticate(authorization: str | None) -> Caller:
        if authorization != f"Bearer {KEY}":
            raise Unauthenticated("Incorrect API key provided.")
        return Caller(Key("key_1", "proj_1", "", b"", "", 0), Project("proj_1", "test", 0))

    blobs = DirectoryBlobs(path / "blobs")
    await blobs.open()
    api = Api(
        [*_bodies(), *_forms(blobs), *_files(blobs), *_sockets()],
        authenticate,  # type: ignore[arg-type]  # all that is used of it
        None,  # type: ignore[arg-type]  # nobody administers
        Pipeline(),
        Observer(),
    )
    meter = StallMeter()
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(api, drain_timeout=1, has_socket=api.has_socket)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await server.wait_started(serving)
    meter.start()
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if sys.stdin.readline():
            print(json.dumps({"stall": meter.worst}), flush=True)
            meter.worst = 0.0
        else:
            loop.remove_reader(sys.stdin)
            api.close_sockets()
            server.stop()

    loop.add_reader(sys.stdin, asked)
    await serving
    await blobs.close()


def _bodies() -> list[Any]:
    from antiphon.http.exchange import Exchange
    from antiphon.http.resource import Resource
    from antiphon.wire import json as wire_json

    go_on = asyncio.Event()
    #: What the last request has come to.
    state: dict[str, Any] = {"pieces": 0, "size": 0, "ended": None}

    async def take(exchange: Exchange, *, wait: bool) -> None:
        state.update(pieces=0, size=0, ended=None)
        digest = hashlib.sha256()
        try:
            async for piece in exchange.body_stream(MOST):
                assert piece
                state["pieces"] += 1
                state["size"] += len(piece)
                digest.update(piece)
                if wait:
                    await go_on.wait()
            state["ended"] = "whole"
        except BaseException as error:
            state["ended"] = type(error).__name__
            raise
        await exchange.reply(200, wire_json.encode({"size": state["size"], "sha256": digest.hexdigest()}))

    async def count(exchange: Exchange) -> None:
        await take(exchange, wait=False)

    async def slow(exchange: Exchange) -> None:
        go_on.clear()
        await take(exchange, wait=True)

    async def release(exchange: Exchange) -> None:
        go_on.set()
        await exchange.reply(200, b"{}")

    async def show(exchange: Exchange) -> None:
        await exchange.reply(200, wire_json.encode(state))

    async def ignore(exchange: Exchange) -> None:
        await exchange.reply(200, b"{}")

    return [
        Resource("/test/count", {"POST": count, "PUT": count, "GET": show}, access="open", streams_body=True),
        Resource("/test/slow", {"POST": slow}, access="open"),
        Resource("/test/release", {"POST": release}, access="open"),
        Resource("/test/ignore", {"POST": ignore}, access="open"),
    ]


def _forms(blobs: Any) -> list[Any]:
    from antiphon.http.exchange import Exchange
    from antiphon.http.multipart import FormPart, read_form
    from antiphon.http.resource import Resource
    from antiphon.wire import json as wire_json

    async def whole(exchange: Exchange) -> None:
        shown = []
        async for part in read_form(exchange):
            told: dict[str, Any] = {"name": part.name, "filename": part.filename, "type": part.content_type}
            if part.filename is None:
                told["text"] = await part.text()
            else:
                told.update(await summed(part))
            shown.append(told)
        await exchange.reply(200, wire_json.encode(shown))

    async def summed(part: FormPart) -> dict[str, Any]:
        digest, size = hashlib.sha256(), 0
        async for piece in part:
            digest.update(piece)
            size += len(piece)
        return {"size": size, "sha256": digest.hexdigest()}

    async def names(exchange: Exchange) -> None:
        found = [part.name async for part in read_form(exchange)]
        await exchange.reply(200, wire_json.encode(found))

    async def first(exchange: Exchange) -> None:
        async for part in read_form(exchange):
            await exchange.reply(200, wire_json.encode(part.name))
            return

    async def upload(exchange: Exchange) -> None:
        async for part in read_form(exchange):
            if part.filename is not None:
                written = await blobs.put("uploads/one", part, max_size=MOST)
                await exchange.reply(200, wire_json.encode({"size": written.size, "sha256": written.sha256}))
                return

    return [
        Resource("/test/form", {"POST": whole}, access="open"),
        Resource("/test/names", {"POST": names}, access="open"),
        Resource("/test/first", {"POST": first}, access="open"),
        Resource("/test/upload", {"POST": upload}, access="open"),
    ]


def _files(blobs: Any) -> list[Any]:
    from antiphon.http.exchange import Exchange
    from antiphon.http.files import File, send_file
    from antiphon.http.resource import Resource

    async def content(start: int, end: int) -> AsyncGenerator[bytes, None]:
        for at in range(start, end, 100):
            yield CONTENT[at : min(at + 100, end)]

    async def zeros(start: int, end: int) -> AsyncGenerator[bytes, None]:
        piece = bytes(256 * 1024)
        while start < end:
            yield piece[: end - start]
            start += len(piece)

    async def short(start: int, end: int) -> AsyncGenerator[bytes, None]:
        yield CONTENT[start : end - 10]

    def handler(size: int, read: Any, name: str | None = None) -> dict[str, Any]:
        async def get(exchange: Exchange) -> None:
            await send_file(exchange, File(size, "tag-1", MODIFIED, "text/plain", read, name))

        return {"GET": get, "HEAD": get}

    async def stored(exchange: Exchange) -> None:
        found = await blobs.find("uploads/one")

        def read(start: int, end: int) -> AsyncGenerator[bytes, None]:
            got: AsyncGenerator[bytes, None] = blobs.get("uploads/one", start, end)
            return got

        await send_file(exchange, File(found.size, "u", found.modified_at, "application/octet-stream", read))

    return [
        Resource("/test/file", handler(len(CONTENT), content), access="open"),
        Resource("/test/named", handler(len(CONTENT), content, 'é"\r\n; x.txt'), access="open"),
        Resource("/test/empty", handler(0, content), access="open"),
        Resource("/test/large", handler(LARGE, zeros), access="open"),
        Resource("/test/short", handler(len(CONTENT), short), access="open"),
        Resource("/test/stored", {"GET": stored}, access="open"),
    ]


def _sockets() -> list[Any]:
    from antiphon.http.disconnect import ClientGone
    from antiphon.http.resource import SocketResource
    from antiphon.http.socket_connection import SocketConnection

    class Echo:
        """Says what it hears."""

        def __init__(self, connection: SocketConnection) -> None:
            self._connection = connection
            self._stopping = asyncio.Event()

        def stop(self, reason: Exception) -> None:
            self._stopping.set()

        async def run(self) -> None:
            talking = asyncio.create_task(self._talk())
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({talking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not talking.done():
                talking.cancel()
                await self._connection.close(1001, "bye")

        async def _talk(self) -> None:
            call = await self._connection.new_call()
            query = self._connection.query.decode()
            await self._connection.send_json(
                {**self._connection.path_params, "query": query, "endpoint": call.endpoint}
            )
            with contextlib.suppress(ClientGone):
                while True:
                    message = await self._connection.receive()
                    if isinstance(message, bytes):
                        await self._connection.send_bytes(message[::-1])
                    else:
                        await self._connection.send_json({"said": message})

    return [SocketResource("/v1/test/{room}/echo", Echo)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
