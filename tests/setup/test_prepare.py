"""What `make` does before anything else, on a machine that has never seen the project, and on any later day.

The checkout is a small one whose lock names wheels in a directory; `pip`, `venv` and the scripts are the real ones.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from support import wheels
from support.real import ROOT, environment
from support.wheels import wheel

pytestmark = pytest.mark.timeout(300)  # several environments are made, each with a pip of its own

#: Builds the small checkout's package, as hatchling does the real one's.
_BACKEND = """
import pathlib, wheels
def build_editable(folder, config_settings=None, metadata_directory=None):
    wheels.wheel(pathlib.Path(folder), "antiphon", "1.0", scripts="antiphon = antiphon:print")
    return "antiphon-1.0-py3-none-any.whl"
def get_requires_for_build_editable(config_settings=None):
    return []
"""
_PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "antiphon"
version = "1.0"
"""


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("prepare", ROOT / "scripts" / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Checkout:
    """A checkout, and a directory of wheels that is all that pip can install from."""

    root: Path
    shop: Path

    def lock(self, *lines: str) -> None:
        (self.root / "requirements" / "serve.txt").write_text("".join(lines))

    def environment(self, **more: str) -> dict[str, str]:
        asked = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.shop), "PYTHON": sys.executable}
        return environment(**(asked | more))

    def prepare(self, goal: str = "serve", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", str(self.root / "scripts" / "prepare.sh"), goal],
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def version(self, name: str) -> str:
        """Of an installed module, as the environment's Python sees it; empty if it is not there."""
        python = self.root / ".venv" / "bin" / "python"
        script = f"import {name}; print({name}.VERSION)"
        return subprocess.run([python, "-c", script], capture_output=True, text=True, check=False).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root, shop = tmp_path / "a checkout", tmp_path / "shop"
    for folder in (shop, root / "scripts", root / "requirements"):
        folder.mkdir(parents=True)
    for script in ("prepare.sh", "prepare.py"):
        shutil.copy(ROOT / "scripts" / script, root / "scripts" / script)
    shutil.copy(wheels.__file__, root / "wheels.py")
    (root / "Makefile").touch()
    (root / "backend.py").write_text(_BACKEND)
    (root / "pyproject.toml").write_text(_PROJECT)
    return Checkout(root, shop)


def trap(shop: Path) -> list[str]:
    """A lock of packages of which one asks for another's extra, in a shop that has newer releases of everything."""
    for version in ("2.0", "1.0"):
        top = wheel(shop, "top", version, "Requires-Dist: cover[toml]>=1.0")
        cover = wheel(shop, "cover", version, "Provides-Extra: toml", "Requires-Dist: readtoml>=1.0; extra == 'toml'")
        readtoml = wheel(shop, "readtoml", version)
    return [top, cover, readtoml]


def test_nothing_is_resolved(checkout: Checkout, prepare: ModuleType) -> None:
    checkout.lock(*trap(checkout.shop))
    done = checkout.prepare()
    assert done.returncode == 0, done.stderr
    assert [checkout.version(name) for name in ("top", "cover", "readtoml")] == ["1.0"] * 3
    # The trap is one: without `--no-deps`, pip looks for what the extra asks for by itself, and meets what has no hash.
    python, lock = checkout.root / ".venv" / "bin" / "python", checkout.root / "requirements" / "serve.txt"
    subprocess.run([python, "-m", "pip", "uninstall", "-qy", "top", "cover", "readtoml"], check=True)
    command = [part for part in prepare.pip_install(python, *prepare.locked(lock)) if part != "--no-deps"]
    resolved = subprocess.run(command, env=checkout.environment(), capture_output=True, text=True, check=False)
    assert resolved.returncode != 0
    assert "--require-hashes" in resolved.stderr


def test_later_days(checkout: Checkout) -> None:
    """Nothing is done twice; what changed is done again; a checkout that was moved gets a new environment."""
    one, two = (wheel(checkout.shop, "one", version) for version in ("1.0", "2.0"))
    checkout.lock(one)
    first = checkout.prepare()
    assert first.returncode == 0, first.stderr
    assert "making the virtual environment .venv with Python 3." in first.stderr
    assert first.stderr.count("done in ") == len(re.findall(r"about \d+ seconds", first.stderr)) == 3
    again = checkout.prepare()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")

    checkout.lock(two)
    os.utime(checkout.root / "requirements" / "serve.txt", (1, 1))  # an old checkout's file is no less a change
    assert "installing the locked packages" in checkout.prepare().stderr
    assert checkout.version("one") == "2.0"

    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    moved = checkout.prepare()
    assert "made anew" in moved.stderr
    assert checkout.version("one") == "2.0"
    assert str(checkout.root) in (checkout.root / ".venv" / "bin" / "antiphon").read_text()


def test_a_half_done_installation_is_not_taken_for_done(checkout: Checkout) -> None:
    good = wheel(checkout.shop, "one", "1.0")
    checkout.lock(good, "gone==1.0 --hash=sha256:" + "0" * 64 + "\n")
    failed = checkout.prepare()
    assert failed.returncode == 1
    assert "No matching distribution found for gone==1.0" in failed.stderr
    assert "Traceback" not in failed.stderr
    checkout.lock(good)
    done = checkout.prepare()
    assert done.returncode == 0, done.stderr
    assert "made anew" in done.stderr
    assert checkout.version("one") == "1.0"


def test_what_does_not_fit_together_is_told(checkout: Checkout) -> None:
    """A lock that is not complete fails at once, not some day in the middle of something."""
    checkout.lock(wheel(checkout.shop, "top", "1.0", "Requires-Dist: cover>=1.0"))
    failed = checkout.prepare()
    assert failed.returncode == 1
    assert "top 1.0 requires cover, which is not installed" in failed.stderr


@pytest.mark.parametrize("harm", ["none", "python", "state", "older", "unfinished"])
def test_an_environment_that_does_not_work_is_made_anew(
    checkout: Checkout, prepare: ModuleType, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """Its Python was removed or replaced, its record is not readable: seen before anything is installed."""
    monkeypatch.setattr(prepare, "_MAKE", ("-m", "venv", "--without-pip"))
    venv = prepare.Environment(checkout.root)
    assert venv.make()
    record = venv.path / "antiphon.json"
    if harm == "python":
        venv.python.unlink()
        venv.python.symlink_to("/nowhere/python3")
    elif harm == "state":
        record.write_text("{")
    elif harm == "older":
        record.write_text(json.dumps(json.loads(record.read_text()) | {"python": "3.10"}))
    elif harm == "unfinished":
        with pytest.raises(KeyboardInterrupt), venv.doing("serve", []):
            raise KeyboardInterrupt
    assert venv.make() == (harm != "none")
    assert not venv.make()


# --- which Python -----------------------------------------------------------------------------------------------------
def command(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory that holds all commands of a machine without Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("cat", "dirname"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


OLD = 'case "$2" in *print*) echo "Python 3.9.2";; *) exit 1;; esac'
RIGHT = '[ "$1" = -c ] || echo "$0 $@"'


def asked(checkout: Checkout, path: Path, python: str = "") -> subprocess.CompletedProcess[str]:
    return checkout.prepare("serve", PATH=str(path), PYTHON=python, GOAL="test")


def test_no_python(checkout: Checkout, path: Path) -> None:
    told = asked(checkout, path)
    assert told.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed, and python3 is missing" in told.stderr
    assert "apt-get install python3 python3-venv" in told.stderr
    assert "make PYTHON=/path/to/python3.12 test" in told.stderr


def test_a_python_that_is_too_old(checkout: Checkout, path: Path) -> None:
    command(path, "python3", OLD)
    assert "python3 is Python 3.9.2" in asked(checkout, path).stderr
    command(path, "python3.12", RIGHT)
    assert asked(checkout, path).stdout == f"{path}/python3.12 scripts/prepare.py serve\n"


def test_a_python_that_is_asked_for_is_used_or_refused(checkout: Checkout, path: Path) -> None:
    command(path, "python3", RIGHT)
    command(path, "older", OLD)
    told = asked(checkout, path, "older")
    assert told.returncode == 1
    assert "older is Python 3.9.2" in told.stderr


def test_what_the_environment_was_made_with_comes_first(checkout: Checkout, path: Path) -> None:
    command(path, "python3", OLD)
    (checkout.root / ".venv" / "bin").mkdir(parents=True)
    command(checkout.root / ".venv" / "bin", "python", RIGHT)
    assert asked(checkout, path).stdout == ".venv/bin/python scripts/prepare.py serve\n"


def test_a_user_s_settings_of_pip_do_not_change_what_is_installed(
    prepare: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_CONSTRAINT", "/some/constraints.txt")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    used = prepare.environment()
    assert "PIP_TARGET" not in used
    assert used["PIP_CONSTRAINT"] == os.devnull
    assert used["PIP_INDEX_URL"] == "https://mirror.example/simple"
