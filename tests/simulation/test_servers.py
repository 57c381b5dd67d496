"""Several servers on one database: they crash, stand still for seconds or minutes, have clocks that differ and are set,
and a database that fails. A failing seed replays: `pytest -k "servers and seed-17"`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from simulation.course import CLIENTS, Course, play

SEEDS = range(24)
SERVERS = 3
DISTURBANCES = 8


async def together(course: Course) -> None:
    """Servers and clients under disturbances; then all is quiet, and everything is seen through."""
    chance = course.chance
    for _ in range(SERVERS):
        course.server(chance.choice([0.0, 0.01])).process.wrong = chance.choice([-300, -5, 0, 5, 300])
    for number in range(CLIENTS):
        course.client(chance.choice(course.servers), number, within=20)
    for _ in range(DISTURBANCES):
        await asyncio.sleep(chance.uniform(0.2, 5))
        course.disturb()
    for server in course.servers:
        server.store.rate = 0.0
    # Another one begins, and those that stand still come back while it works.
    quiet = course.server()
    await course.settled()
    await course.check(quiet)


def run(path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> float:
    return play(path, seed, monkeypatch, together)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_every_course_ends_well(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "antiphon.db", seed, monkeypatch)


def test_a_seed_plays_the_same_course_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({run(tmp_path / f"{attempt}.db", 5, monkeypatch) for attempt in range(2)}) == 1
