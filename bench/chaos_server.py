"""A whole server with a scripted engine in a process of its own, so that it can be killed.

python -m bench.chaos_server DATA_DIR DATABASE PACE CONTINUES WORDS [LEASE]

prints "PORT KEY" once it answers. Every answer has WORDS words, one each PACE seconds: "w0 w1 w2 …", so that a gap, a
doubled word or a wrong order shows. CONTINUES: whether the engine can go on with an answer that was cut off.
LEASE: how long another server on the same database may be silent (seconds), if not as usual.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


def main() -> None:
    """See above."""
    import uvloop

    from antiphon import app
    from antiphon.datadir import DataDir
    from antiphon.domain import limits
    from antiphon.engines.scripted import ScriptedEngine
    from antiphon.ports import Capabilities
    from antiphon.protocol.generation import Finish, TextDelta, Usage
    from antiphon.settings import Settings
    from antiphon.telemetry import logs

    directory, database, pace, continues, words, *lease = sys.argv[1:]
    if lease:
        limits.LEASE, limits.LEASE_RENEWAL = float(lease[0]), float(lease[0]) / 3
    logs.configure("warning")
    data_dir = DataDir(Path(directory))
    settings = Settings(data_dir=data_dir.path, port=0, database=database, drain_timeout=2.0)
    end = Finish("stop", Usage(1, 0, int(words)))
    steps = [*(TextDelta(f"w{number} ") for number in range(int(words))), end]
    engine = ScriptedEngine(
        lambda _: steps,
        pace=float(pace),
        capabilities=Capabilities(context_tokens=1_000_000, continues=continues == "yes"),
    )

    def announce(_: str, port: int) -> None:
        print(port, data_dir.default_key(), flush=True)

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await app.run(settings, data_dir, engine, announce, stop)

    uvloop.run(run())


class Process:
    """A running server."""

    def __init__(
        self,
        directory: Path,
        *,
        database: str = "",
        pace: float = 0.01,
        continues: bool = True,
        words: int = 50,
        lease: float | None = None,
    ) -> None:
        url = database or f"sqlite:///{directory / 'antiphon.db'}"
        arguments = [str(directory), url, str(pace), "yes" if continues else "no", str(words)]
        arguments += [] if lease is None else [str(lease)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.chaos_server", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        assert self.process.stdout is not None
        port, self.key = self.process.stdout.readline().split()
        self.port = int(port)
        self.url = f"http://127.0.0.1:{port}"

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self._wait()

    def stop(self) -> None:
        """End it as an administrator would."""
        self.process.terminate()
        self._wait()

    def _wait(self) -> None:
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def running(process: Process) -> Iterator[Process]:
    """Stop a server at the end of the block, if it has not ended before."""
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.stop()


if __name__ == "__main__":
    main()
