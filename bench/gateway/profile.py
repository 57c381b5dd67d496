"""Where a server's time goes, by py-spy: samples of its stacks while it is under load."""

from __future__ import annotations

import contextlib
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.gateway.contenders import installed
from bench.gateway.load import LoadError

RATE = 500
TOP = 30


@contextlib.contextmanager
def profiled(pid: int, seconds: float, output: Path | None) -> Iterator[None]:
    """Sample the process while the block runs, for `seconds` at most; print the hottest functions. None: do nothing.

    The samples are kept at `output` as collapsed stacks, as flame graph tools take them. Sampling stops the server for
    moments: rates that are measured meanwhile are too low.
    """
    if output is None:
        yield
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [str(installed("py-spy", "py-spy") / "py-spy"), "record", "--pid", str(pid), "--format", "raw"]
    # Threads that wait for work would be counted too: so only what holds the interpreter is.
    command += ["--gil", "--rate", str(RATE), "--duration", str(max(1, round(seconds))), "--output", str(output)]
    sampler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        _, said = sampler.communicate(timeout=60)
    if sampler.returncode:
        raise LoadError(f"py-spy failed: {said[-300:]}")
    show(output)


def show(stacks: Path) -> None:
    """Print the functions that most time was spent in: by themselves, and with all that they called."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    total = 0
    for line in stacks.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_function(frame) for frame in stack.split(";")]
        total += int(count)
        alone[frames[-1]] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    print(f"  {'alone':>6} {'within':>6}   of {total} samples ({stacks})")
    for name, count in alone.most_common(TOP):
        print(f"  {count / total:6.1%} {within[name] / total:6.1%}   {name}")


def _function(frame: str) -> str:
    """`name (…/package/module.py)`, without the line."""
    name, _, place = frame.rpartition(" (")
    file = place.rstrip(")").rpartition(":")[0] or place.rstrip(")")
    return f"{name} ({'/'.join(file.split('/')[-2:])})"
