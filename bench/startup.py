"""Starting up: seconds until /healthz answers, resident memory of the API process, and the CLI's `--help`.

The reference for the times is an interpreter that does nothing, started in the same run.
"""

from __future__ import annotations

import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROUNDS = 5
MIB = 1024 * 1024
SERVER = """
import asyncio, sys
from pathlib import Path
import uvloop
from antiphon import app
from antiphon.datadir import DataDir
from antiphon.engines.scripted import ScriptedEngine
from antiphon.settings import load
from antiphon.telemetry import logs
path = Path(sys.argv[1])
loaded = load({"data_dir": str(path), "port": int(sys.argv[2])}, {}, path)
logs.configure("warning")
data_dir = DataDir(path)
uvloop.run(app.run(loaded.settings, data_dir, ScriptedEngine(), lambda *_: None, asyncio.Event()))
"""


def environment() -> dict[str, str]:
    """Ours, with byte-compiling as any installation has it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds_of(command: list[str]) -> float:
    """The best of a few runs: the rest is the machine's noise."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
        times.append(time.perf_counter() - began)
    return min(times)


def healthy_after(port: int, process: subprocess.Popen[bytes], began: float) -> float:
    """Seconds from `began` until /healthz answers 200."""
    while process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return time.perf_counter() - began
        except OSError:
            time.sleep(0.005)
    raise RuntimeError("the server ended")


def server(port: int) -> tuple[float, float]:
    """Seconds until it answers (median; database new the first time), and MiB resident after a few requests."""
    times, memory = [], 0.0
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            process = subprocess.Popen([sys.executable, "-c", SERVER, directory, str(port)], env=environment())
            try:
                times.append(healthy_after(port, process, began))
                memory = max(memory, _used(process, port, Path(directory)))
            finally:
                process.terminate()
                process.wait(30)
    return statistics.median(times), memory


def _used(process: subprocess.Popen[bytes], port: int, directory: Path) -> float:
    from bench import load

    key = (directory / "default.key").read_text().strip()
    body = b'{"model":"gpt-5-mini","input":"hello"}'
    load.run(port, load.request("/v1/responses", key, body), connections=4, seconds=1.0)
    return psutil.Process(process.pid).memory_info().rss / MIB


def main() -> int:
    """Print a table; the exit status is 1 if a target is missed."""
    nothing = seconds_of([sys.executable, "-c", "pass"])
    help_time = seconds_of([str(Path(sys.executable).parent / "antiphon"), "--help"])
    healthy, memory = server(18_431)
    rows = [
        ("antiphon --help", help_time, 0.3, "s"),
        ("/healthz answers after", healthy, 1.0, "s"),
        ("resident memory, API process", memory, 100.0, "MiB"),
    ]
    print(f"{'what':30} {'value':>8} {'target':>8}  of an empty interpreter's start")
    for what, value, target, unit in rows:
        times = f"{value / nothing:6.1f} x" if unit == "s" else ""
        print(f"{what:30} {value:6.2f} {unit:3} {target:6.1f} {unit:3} {times}")
    return int(any(value > target for _, value, target, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
