"""The command line as a user runs it: a process of its own, with a home of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Variables for a process that sees nothing of this user's settings."""
    foreign = ("ANTIPHON_", "XDG_", "PIP_", "COVERAGE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        "HOME": str(tmp_path / "home"),
        "ANTIPHON_DATA_DIR": str(tmp_path / "data"),
        "ANTIPHON_MODELS_DIR": str(tmp_path / "models"),
    }


@pytest.fixture
def run(tmp_path: Path, environ: dict[str, str]) -> Run:
    """Run `antiphon ARGS…` in an empty working directory."""

    def run(*args: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        cwd = tmp_path / "cwd"
        cwd.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "antiphon", *args],
            cwd=cwd,
            env={**environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
