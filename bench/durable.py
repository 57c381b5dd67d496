"""What durability costs: resuming a long stream, many idle streams, and a long chain of responses.

- Resuming a finished stream of 2,000 events: milliseconds to the first byte, against /healthz in the same run.
- 1,000 clients that follow background responses on which nothing happens: KiB of the server's memory for each.
- Turn 50 of a chain by previous_response_id: time of the whole request, against turn 2 in the same run.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.chaos_server import Process, running

WORDS = 1_990
FOLLOWERS = 1_000
TURNS = 50
SAMPLES = 300
TARGETS = {"first byte": 20.0, "idle stream": 64.0, "turn 50": 1.5}


def _session(server: Process) -> aiohttp.ClientSession:
    headers = {"Authorization": f"Bearer {server.key}"}
    return aiohttp.ClientSession(server.url, headers=headers, connector=aiohttp.TCPConnector(limit=0))


async def _create(session: aiohttp.ClientSession, **body: Any) -> Any:
    async with session.post("/v1/responses", json={"model": "gpt-5-mini", "input": "go", **body}) as answer:
        return await answer.json()


async def _wait(session: aiohttp.ClientSession, response_id: str, status: str) -> None:
    while True:
        async with session.get(f"/v1/responses/{response_id}") as answer:
            if (await answer.json())["status"] == status:
                return
        await asyncio.sleep(0.05)


async def _first_byte(session: aiohttp.ClientSession, path: str) -> float:
    began = time.perf_counter()
    async with session.get(path) as answer:
        await answer.content.readany()
        took = (time.perf_counter() - began) * 1000
        await answer.read()
    return took


async def resume(directory: Path) -> tuple[float, float]:
    """Milliseconds to the first byte of a resumed stream and of /healthz (medians)."""
    with running(Process(directory, pace=0.0, words=WORDS)) as server:
        async with _session(server) as session:
            made = await _create(session, background=True)
            await _wait(session, made["id"], "completed")
            path = f"/v1/responses/{made['id']}?stream=true"
            took = [await _first_byte(session, path) for _ in range(11)]
            health = [await _first_byte(session, "/healthz") for _ in range(11)]
    return statistics.median(took), statistics.median(health)


async def _follow(session: aiohttp.ClientSession, response_id: str, ready: asyncio.Semaphore) -> None:
    async with session.get(f"/v1/responses/{response_id}?stream=true") as answer:
        await answer.content.readany()
        ready.release()
        await answer.read()


async def idle(directory: Path) -> float:
    """KiB of the server's resident memory for each of many streams on which nothing happens."""
    with running(Process(directory, pace=1000.0, words=10)) as server:
        process = psutil.Process(server.process.pid)
        async with _session(server) as session:
            made = [await _create(session, background=True) for _ in range(FOLLOWERS)]
            await asyncio.sleep(1.0)
            before = process.memory_info().rss
            ready = asyncio.Semaphore(0)
            following = [asyncio.create_task(_follow(session, each["id"], ready)) for each in made]
            for _ in following:
                await ready.acquire()
            after = process.memory_info().rss
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
    return (after - before) / 1024 / FOLLOWERS


async def chain(directory: Path) -> tuple[float, float]:
    """Milliseconds of turn 2 and of turn 50 (medians of requests that take turns)."""
    took: dict[int, list[float]] = {2: [], TURNS: []}
    with running(Process(directory, pace=0.0, words=1)) as server:
        async with _session(server) as session:
            first = last = (await _create(session))["id"]
            for _ in range(TURNS - 2):
                last = (await _create(session, previous_response_id=last))["id"]
            for _ in range(SAMPLES):
                for turn, before in ((2, first), (TURNS, last)):
                    began = time.perf_counter()
                    await _create(session, previous_response_id=before)
                    took[turn].append((time.perf_counter() - began) * 1000)
    return statistics.median(took[2]), statistics.median(took[TURNS])


def main() -> int:
    """Print a table; the exit status is 1 if a target is missed."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        first, health = asyncio.run(resume(path / "resume"))
        memory = asyncio.run(idle(path / "idle"))
        second, fiftieth = asyncio.run(chain(path / "chain"))
    ratio = fiftieth / second
    print(f"first byte of a resumed stream: {first:.1f} ms (/healthz {health:.1f} ms), target {TARGETS['first byte']}")
    print(f"an idle background stream: {memory:.1f} KiB, target {TARGETS['idle stream']}")
    print(f"turn 50: {fiftieth:.2f} ms, turn 2: {second:.2f} ms, ratio {ratio:.2f}, target {TARGETS['turn 50']}")
    return int(first > TARGETS["first byte"] or memory > TARGETS["idle stream"] or ratio > TARGETS["turn 50"])


if __name__ == "__main__":
    sys.exit(main())
