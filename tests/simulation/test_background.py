"""Servers on one database, one life after the other: each is killed while it makes responses, its database fails, its
engine fails and is crowded. A failing seed replays: `pytest -k "background and seed-17"`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from simulation.course import Course, play

SEEDS = range(24)
#: Clients of one life.
CLIENTS = 4


async def lives(course: Course) -> None:
    """Several lives of a server, then a quiet one that sees everything through, and ends in good order."""
    chance = course.chance
    for life in range(chance.randint(1, 3)):
        server = course.server(chance.choice([0.0, 0.01, 0.04]))
        for number in range(CLIENTS):
            course.client(server, CLIENTS * life + number, within=2)
        await asyncio.sleep(chance.uniform(0.1, 4))
        server.process.crash()
    quiet = course.server()
    await course.settled()
    await course.check(quiet)
    stopping = quiet.process.spawn(quiet.stop())
    await course.until(stopping.done, 10, lambda: "it does not stop")


def run(path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> float:
    return play(path, seed, monkeypatch, lives)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_every_course_ends_well(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "antiphon.db", seed, monkeypatch)


def test_a_seed_plays_the_same_course_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {run(tmp_path / f"{attempt}.db", 5, monkeypatch) for attempt in range(3)}
    assert len(ends) == 1
