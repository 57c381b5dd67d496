"""What was measured, as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from bench.gateway import cases
from bench.gateway.load import Result


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: its result, processor time of one answer (ms), memory (MB), and the part of its core that was used."""

    result: Result
    cpu: float
    rss: float
    core: float


#: By contender, case, connections.
Results = dict[tuple[str, str, int], Measured]

HEAD = (
    f"{'contender':14} {'case':10} {'conns':>5} {'per s':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms':>8} {'core':>5} "
    f"{'MB':>6}"
)


def line(name: str, case: str, connections: int, measured: Measured) -> str:
    """A line of the table."""
    result = measured.result
    return (
        f"{name:14} {case:10} {connections:5} {result.rate:8.0f} {result.p50:8.3f} {result.p99:8.3f} "
        f"{measured.cpu:8.3f} {measured.core:5.0%} {measured.rss:6.0f}"
    )


def ratios(results: Results) -> bool:
    """Print ours against the others; whether something that must be is missed."""
    missed = False
    print(f"\n{'32 connections':40} {'rate':>8} {'by CPU':>8} {'must':>8} {'aim':>8}")
    for target in cases.TARGETS:
        mine, other = results.get(("ours", target.case, 32)), results.get((target.other, target.case, 32))
        if mine is None or other is None:
            continue
        ratio = mine.result.rate / other.result.rate
        short = ratio < target.must
        missed |= short
        name = f"{target.case}: ours / {target.other}"
        must = f"{target.must:8.2f}" if target.must else f"{'-':>8}"
        print(
            f"{name:40} {ratio:8.2f} {other.cpu / mine.cpu:8.2f} {must} {target.aim:8.2f}{'  MISSED' if short else ''}"
        )
    for case in ("chat", "stream"):
        mine, other = results.get(("ours", case, 1)), results.get(("direct", case, 1))
        if mine is None or other is None:
            continue
        added = mine.result.p50 - other.result.p50
        short = added > cases.ADDED_MUST
        missed |= short
        name = f"{case}: added p50 at 1 connection (ms)"
        print(
            f"{name:40} {added:8.2f} {'':8} {cases.ADDED_MUST:8.2f} {cases.ADDED_AIM:8.2f}{'  MISSED' if short else ''}"
        )
    return missed


def _mark(*, missed: bool) -> str:
    return "  MISSED" if missed else ""


def plain(results: Results) -> list[dict[str, object]]:
    """For programs."""
    return [
        {"contender": name, "case": case, "connections": connections, **asdict(measured)}
        for (name, case, connections), measured in results.items()
    ]
