"""A server in a process of its own that measures itself: how long its event loop was held up, and its memory.

`python -m support.metered DIRECTORY` serves; `metered()` starts that and gives its handle. It answers each line on its
standard input with a line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from antiphon.domain.limits import MIB

#: Between two looks at the loop (seconds).
_STEP = 0.005
#: How long one request may make others wait (seconds), on a machine that decodes 50 MiB of text in `_PASS` seconds.
MOST_DELAY = 0.1
_PASS = 0.06


class StallMeter:
    """The longest time that an event loop was held up.

    Between two ticks, it is the time that went by, or the processor time that was used, whichever is less: so a machine
    that has other things to do is not taken for a loop that is held up. `cpu`: the clock of that processor time; the
    process's counts whatever holds the interpreter, also in other threads. `collected`: the processor time that the
    garbage collector has used so far and that does not count.
    """

    def __init__(
        self, cpu: Callable[[], float] = time.process_time, collected: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._cpu = cpu
        self._collected = collected
        self.worst = 0.0

    def start(self) -> None:
        """Begin, in the loop that is measured."""
        self._loop = asyncio.get_running_loop()
        self._tick(time.monotonic(), self._used())

    def _used(self) -> float:
        return self._cpu() - self._collected()

    def _tick(self, then: float, used: float) -> None:
        now, cpu = time.monotonic(), self._used()
        self.worst = max(self.worst, min(now - then - _STEP, cpu - used))
        self._loop.call_later(_STEP, self._tick, time.monotonic(), self._used())


class Collections:
    """The processor time (seconds) that the garbage collector has used on each thread, from `start` to `stop`."""

    def __init__(self) -> None:
        self._used: dict[int, float] = {}
        self._began = 0.0

    def start(self) -> None:
        """Begin to count."""
        gc.callbacks.append(self._count)

    def stop(self) -> None:
        """Count no more."""
        gc.callbacks.remove(self._count)

    def used(self) -> float:
        """What was used on the thread that asks."""
        return self._used.get(threading.get_ident(), 0.0)

    def _count(self, phase: str, _: dict[str, int]) -> None:
        # Collections do not overlap: a thread that collects goes on to the end of it.
        if phase == "start":
            self._began = time.thread_time()
        else:
            thread = threading.get_ident()
            self._used[thread] = self._used.get(thread, 0.0) + time.thread_time() - self._began


def most_delay() -> float:
    """`MOST_DELAY`, or more on a machine that is slower just now than the one it was written on."""
    body = b'"' + b"a" * 50 * MIB + b'"'
    began = time.thread_time()
    msgspec.json.decode(body)
    return MOST_DELAY * max(1.0, (time.thread_time() - began) / _PASS)


@dataclass
class MeteredStream:
    """The running server."""

    process: subprocess.Popen[str]
    url: str
    key: str
    log_file: Path

    @property
    def headers(self) -> dict[str, str]:
        """What opens it."""
        return {"Authorization": f"Bearer {self.key}"}

    def stall(self) -> float:
        """The longest time (seconds) that its loop was held up since this was last asked."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print("stall", file=self.process.stdin, flush=True)
        return float(json.loads(self.process.stdout.readline())["stall"])

    def log(self) -> str:
        """All that it has logged."""
        return self.log_file.read_text("utf-8")

    def memory(self) -> int:
        """What it has in memory now (bytes)."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


@contextlib.contextmanager
def metered(path: Path, files: int = 0, **options: object) -> Iterator[MeteredStream]:
    """Serve an engine that says "ok", with these settings, until the block is left.

    `files`: that it may have open; 0: as many as it likes.
    """
    command = [sys.executable, "-m", "support.metered", str(path), str(files), json.dumps(options)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    log_file = path / "server.log"
    with log_file.open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        where = json.loads(process.stdout.readline())
        yield MeteredStream(process, where["url"], where["key"], log_file)
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def main(path: Path, files: int, options: dict[str, object]) -> None:
    """Serve until standard input ends."""
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    import uvloop

    uvloop.run(_serve(path, options))


async def _serve(path: Path, options: dict[str, object]) -> None:
    from antiphon import app
    from antiphon.app.command import spare_the_collector
    from antiphon.datadir import DataDir
    from antiphon.engines.scripted import ScriptedEngine
    from antiphon.ports import Capabilities
    from antiphon.protocol.generation import Finish, Generation, TextDelta, Usage
    from antiphon.settings import Settings
    from antiphon.telemetry import logs

    logs.configure("info", "json")

    def script(_: Generation) -> list[TextDelta | Finish]:
        engine.asked.clear()
        return [TextDelta("ok"), Finish("stop", Usage(1, 0, 1))]

    engine = ScriptedEngine(script, capabilities=Capabilities(context_tokens=2**40))
    settings = Settings(data_dir=path, port=0, database=f"sqlite:///{path / 'antiphon.db'}", **options)  # type: ignore[arg-type]
    data_dir = DataDir(path)
    stop = asyncio.Event()
    meter = StallMeter()

    def announce(host: str, port: int) -> None:
        meter.start()
        print(json.dumps({"url": f"http://{host}:{port}", "key": data_dir.default_key()}), flush=True)

    def asked() -> None:
        if sys.stdin.readline():
            print(json.dumps({"stall": meter.worst}), flush=True)
            meter.worst = 0.0
        else:
            stop.set()
            asyncio.get_running_loop().remove_reader(sys.stdin)

    spare_the_collector()
    asyncio.get_running_loop().add_reader(sys.stdin, asked)
    await app.run(settings, data_dir, engine, announce, stop)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
