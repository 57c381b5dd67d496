"""Servers under test as processes: started on a core of their own, and watched from outside."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tree of processes has used so far: processor time in seconds, memory in bytes."""

    cpu: float
    rss: int


def tree(pid: int) -> list[int]:
    """A process and all that came from it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def usage(pid: int) -> Usage:
    """What this process and its children use."""
    cpu, rss = 0.0, 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            cpu += (int(fields[11]) + int(fields[12])) / _TICK
            rss += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * _PAGE
    return Usage(cpu, rss)


@contextlib.contextmanager
def started(
    command: Sequence[str], core: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command on one core until the block is left; its stdout is piped, its stderr goes to `log`."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = os.sched_getaffinity(0)
    with log.open("ab") as errors:
        # A child has its parent's cores from its first instruction on, and so have its threads and children.
        os.sched_setaffinity(0, {core})
        try:
            server = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**inherited, **(environment or {})}
            )
        finally:
            os.sched_setaffinity(0, before)
    assert server.stdout is not None
    try:
        yield server
    finally:
        children = tree(server.pid)[1:]
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
        server.stdout.close()


def port_of(server: subprocess.Popen[str], log: Path) -> int:
    """The port that a server of ours prints first."""
    assert server.stdout is not None
    line = server.stdout.readline().split()
    if not line:
        raise RuntimeError(f"the server did not start:\n{tail(log)}")
    return int(line[0])


def wait_ready(server: subprocess.Popen[str], url: str, log: Path, patience: float = 120.0) -> None:
    """Wait until `url` answers with success."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        try:
            with urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the server does not answer at {url}:\n{tail(log)}")


def tail(log: Path) -> str:
    """The end of a server's stderr."""
    return log.read_text(errors="replace")[-3000:]
