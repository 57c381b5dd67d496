"""Antiphon as a gateway, against a bare pass-through and its peers, in one run on pinned cores.

The server under test has core 0 to itself; the load generator and the mock upstream share core 1. Where a contender
leaves its core idle with 32 connections (`core` below 90 %), it was the load that was measured, or a neighbour on the
machine: then the processor time of a request tells more than the rate.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.gateway import cases, load, memory, process, profile, report
from bench.gateway.cases import CASES, STARTS, Case
from bench.gateway.contenders import LOAD_CORE, Running, mock
from bench.gateway.report import Measured

CONNECTIONS = (1, 32)


def measure(case: Case, running: Running, connections: int, seconds: float, stacks: Path | None = None) -> Measured:
    """Warm up, then measure one case. `stacks`: where a profile goes."""
    message = load.request(case.path, running.key, case.body)
    load.run(running.port, message, connections=connections, seconds=min(1.0, seconds / 2))
    before, began = process.usage(running.pid), time.perf_counter()
    with profile.profiled(running.pid, seconds, stacks):
        result = load.run(running.port, message, connections=connections, seconds=seconds)
    after, lasted = process.usage(running.pid), time.perf_counter() - began
    cpu = after.cpu - before.cpu
    return Measured(result, cpu / max(1, result.answers) * 1000, after.rss / 1e6, cpu / lasted)


def run(name: str, options: argparse.Namespace, upstream: Running, seconds: float) -> report.Results:
    """All cases of one contender, each with all numbers of connections."""
    results: report.Results = {}
    asked = [case for case in CASES if name in case.contenders and (not options.cases or case.name in options.cases)]
    if not asked:
        return results
    with contextlib.ExitStack() as stack:
        directory = options.keep / name if options.keep else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory.mkdir(parents=True, exist_ok=True)
        url = f"http://127.0.0.1:{upstream.port}/v1"
        running = upstream if name == "direct" else stack.enter_context(STARTS[name](url, directory))
        if running.note:
            print(f"{name}: {running.note}", flush=True)
        for case in asked:
            for connections in options.connections or CONNECTIONS:
                stacks = options.profile / f"{name}-{case.name}-{connections}.txt" if options.profile else None
                measured = measure(case, running, connections, seconds, stacks)
                results[name, case.name, connections] = measured
                print(report.line(name, case.name, connections, measured), flush=True)
    return results


def main() -> int:
    """Print what was measured, line by line, then the ratios; the exit status is 1 if something that must be is not."""
    options = _options()
    os.sched_setaffinity(0, {LOAD_CORE})
    seconds = options.seconds or (1.0 if options.quick else 5.0)
    names = options.only or ["direct", "reference", "ours", *(cases.PEERS if options.peers else ())]
    results: report.Results = {}
    failed = False
    with tempfile.TemporaryDirectory() as directory, mock(Path(directory)) as upstream:
        if options.memory:
            return memory.main(options.only or ["ours"], upstream, options.memory)
        print(report.HEAD, flush=True)
        for name in names:
            try:
                results |= run(name, options, upstream, seconds)
            except (RuntimeError, load.LoadError, OSError) as error:
                print(f"{name}: {error}", flush=True)
                failed = True
    missed = report.ratios(results) or failed
    if options.json:
        print(json.dumps(report.plain(results)))
    return int(missed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one second for each measurement instead of five")
    parser.add_argument("--seconds", type=float, help="seconds for each measurement")
    parser.add_argument("--only", action="append", choices=["direct", *STARTS], help="only this contender (repeatable)")
    parser.add_argument(
        "--case", dest="cases", action="append", choices=[case.name for case in CASES], help="only this case"
    )
    parser.add_argument("--connections", type=int, action="append", help="so many connections (repeatable; 1 and 32)")
    parser.add_argument("--profile", type=Path, help="sample the server's stacks into this directory, with py-spy")
    parser.add_argument("--peers", action="store_true", help="smg and LiteLLM too; installed at the first use")
    parser.add_argument("--keep", type=Path, help="an empty directory for what servers write (logs, database)")
    parser.add_argument("--json", action="store_true", help="all figures as a line of JSON at the end")
    parser.add_argument(
        "--memory", type=int, nargs="?", const=200_000, help="instead: memory over so many calls (200,000)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
