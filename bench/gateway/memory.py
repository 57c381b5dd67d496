"""Whether memory grows with calls: the slope of a line through samples taken every so many calls."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.gateway import cases, load, process
from bench.gateway.contenders import Running

SAMPLES = 20
CONNECTIONS = 32


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line that fits these points best."""
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def main(names: Sequence[str], upstream: Running, calls: int) -> int:
    """Half of the calls whole chat completions, half streams. The exit status is 1 if ours grows too much.

    The first quarter is for caches to fill, and is not part of the slope.
    """
    missed = False
    for name in names:
        with (
            tempfile.TemporaryDirectory() as directory,
            cases.STARTS[name](f"http://127.0.0.1:{upstream.port}/v1", Path(directory)) as running,
        ):
            points = _samples(name, running, calls)
        grown = slope(points[len(points) // 4 :])
        missed |= name == "ours" and grown > cases.SLOPE_MUST
        print(f"{name}: {grown:+.2f} MB per 100,000 calls (must be below {cases.SLOPE_MUST:.0f})")
    return int(missed)


def _samples(name: str, running: Running, calls: int) -> list[tuple[float, float]]:
    """(hundred thousands of calls, MB) after each part of the calls."""
    points: list[tuple[float, float]] = []
    for sample in range(SAMPLES):
        for case in (cases.CHAT, cases.STREAM):
            message = load.request(case.path, running.key, case.body)
            load.run(running.port, message, connections=CONNECTIONS, calls=calls // SAMPLES // 2)
        made = calls // SAMPLES * (sample + 1)
        points.append((made / 100_000, process.usage(running.pid).rss / 1e6))
        print(f"{name}: {made:8,} calls {points[-1][1]:8.1f} MB", flush=True)
    return points
