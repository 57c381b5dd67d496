"""A package index for tests: a directory of wheels, and pip told to look nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "wheelhouse"
    directory.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


class Record:
    """Remembers what a pull told."""

    def __init__(self) -> None:
        self.updates: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def update(self, done: int, total: int) -> None:
        self.updates.append((done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def record() -> Record:
    return Record()
