"""The command line as a user runs it, with a home of its own: in this process, or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from support.commands import run_command

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Variables for a command that sees nothing of this user's settings."""
    foreign = ("ANTIPHON_", "XDG_", "PIP_", "COVERAGE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        "HOME": str(tmp_path / "home"),
        "ANTIPHON_DATA_DIR": str(tmp_path / "data"),
        "ANTIPHON_MODELS_DIR": str(tmp_path / "models"),
    }


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """An empty working directory."""
    path = tmp_path / "cwd"
    path.mkdir()
    return path


@pytest.fixture
def run(cwd: Path, environ: dict[str, str]) -> Run:
    """Run `antiphon ARGS…` in an empty working directory, in this process."""

    def run(*args: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return run_command(*args, env={**environ, **(env or {})}, cwd=cwd)

    return run


@pytest.fixture
def start(cwd: Path, environ: dict[str, str]) -> Run:
    """Run `antiphon ARGS…` in an empty working directory, in a process of its own."""

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "antiphon", *args]
        return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=60, check=False)

    return run
