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


#: From this part of its core on, a server's rate is its own; below, something else has held it back.
USED_UP = 0.9

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
        remarks = ["MISSED"] if ratio < target.must else []
        missed |= ratio < target.must
        if min(mine.core, other.core) < USED_UP:
            remarks.append("(a core was not used up: go by CPU)")
        figures = f"{ratio:8.2f} {other.cpu / mine.cpu:8.2f} {target.must or '-':>8} {target.aim:8.2f}"
        print(f"{f'{target.case}: ours / {target.other}':40} {figures}  {' '.join(remarks)}".rstrip())
    for case in ("chat", "stream"):
        mine, other = results.get(("ours", case, 1)), results.get(("direct", case, 1))
        if mine is None or other is None:
            continue
        added = mine.result.p50 - other.result.p50
        missed |= added > cases.ADDED_MUST
        figures = f"{added:8.2f} {'':8} {cases.ADDED_MUST:8.2f} {cases.ADDED_AIM:8.2f}"
        remark = "  MISSED" if added > cases.ADDED_MUST else ""
        print(f"{f'{case}: added p50 at 1 connection (ms)':40} {figures}{remark}")
    return missed


def plain(results: Results) -> list[dict[str, object]]:
    """For programs."""
    return [
        {"contender": name, "case": case, "connections": connections, **asdict(measured)}
        for (name, case, connections), measured in results.items()
    ]
