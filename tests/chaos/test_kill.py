"""A small dose of `python -m bench.chaos`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bench import chaos


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_that_was_seen_is_lost_on_sqlite(tmp_path: Path, seed: int) -> None:
    report = asyncio.run(chaos.play(tmp_path / "data", rounds=1, responses=30, seed=seed))
    assert report.clean, report
    assert report.responses == 30
    assert report.continued


def test_nothing_that_was_seen_is_lost_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    report = asyncio.run(chaos.play(tmp_path / "data", rounds=1, responses=20, seed=3, database=postgres_url))
    assert report.clean, report
    assert report.responses == 20
    assert report.continued
