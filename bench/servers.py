"""The servers that the load is put on, each a process of its own, on a core of its own.

`python -m bench.servers ours DIR` serves the whole of Antiphon with a scripted engine; `… bare` the least an ASGI
server can do, as the reference.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

DELTAS = 50


@contextlib.contextmanager
def process(kind: str, core: int | None = None) -> Iterator[tuple[int, str, int]]:
    """Run a server; gives its port, its key, and its process id."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            [sys.executable, "-m", "bench.servers", kind, directory],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert server.stdout is not None
        if core is not None:
            os.sched_setaffinity(server.pid, {core})
        try:
            port, key = server.stdout.readline().split()
            yield int(port), key, server.pid
        finally:
            server.terminate()
            server.wait(30)


def ours(directory: str) -> None:
    """Antiphon with an engine that says fifty words (or one, where the request says "one")."""
    import uvloop

    from antiphon import app
    from antiphon.datadir import DataDir
    from antiphon.engines.scripted import ScriptedEngine, Step
    from antiphon.protocol.generation import Finish, Generation, TextDelta, Usage
    from antiphon.settings import Settings
    from antiphon.telemetry import logs

    many: list[Step] = [TextDelta(" word")] * DELTAS
    end = Finish("stop", Usage(8, 0, DELTAS))

    def script(generation: Generation) -> list[Step]:
        return [TextDelta("word"), end] if generation.sampling.max_tokens == 16 else [*many, end]

    logs.configure("warning")
    path = Path(directory)
    data_dir = DataDir(path)
    settings = Settings(data_dir=path, port=0, database=f"sqlite:///{path / 'antiphon.db'}")

    def announce(_: str, port: int) -> None:
        print(port, data_dir.default_key(), flush=True)

    async def main() -> None:
        await app.run(settings, data_dir, ScriptedEngine(script), announce, asyncio.Event())

    uvloop.run(main())


def bare() -> None:
    """A fixed body, or fifty fixed chunks for a body that asks for a stream."""
    import socket

    import uvicorn
    import uvloop

    body = b'{"output":"' + b"word" * 200 + b'"}'
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    chunk = b"event: response.output_text.delta\ndata: " + b'{"delta":" word"}' * 10 + b"\n\n"

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]  # the barest ASGI there is
        asked = (await receive())["body"]
        if b'"stream"' not in asked:
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": body})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for _ in range(DELTAS):
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], "none", flush=True)
    config = uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False, http="httptools", ws="none")
    uvloop.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    bare() if sys.argv[1] == "bare" else ours(sys.argv[2])
