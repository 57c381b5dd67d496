"""Prepare what a target of the Makefile needs: `.venv`, locked packages, models. Does again only what has changed.

    python scripts/prepare.py serve|setup|dev|test

Run by `prepare.sh` with any Python from 3.11 on; uses nothing but the standard library. Nothing is resolved here: the
lock files are complete, and pip is told to take exactly what they say. What has been done is written into the
environment itself (`.venv/antiphon.json`), so that an environment that is removed, moved, copied, half made, or whose
Python is gone is seen as such, and made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
#: Models that the tests ask.
TEST_MODELS = ("qwen2.5-coder-0.5b", "smollm2-135m")
#: Seconds between two signs of life while pip works: on a terminal, and in a log.
_LIVE, _LOGGED = 1.0, 10.0
#: Lines of pip's that are shown if it fails.
_LAST_LINES = 25
#: A user's settings of pip or Python that would put packages elsewhere, or hold other versions against the lock's.
_REMOVED = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_DRY_RUN")
_SET = {"PIP_USER": "0", "PIP_CONSTRAINT": os.devnull, "PIP_ROOT_USER_ACTION": "ignore"}


#: How an environment is made.
_MAKE = ("-m", "venv")


class Failed(Exception):
    """What could not be done, and what to do about it."""


def pip_install(python: Path, *what: str) -> list[str]:
    """The command that installs exactly `what`, and nothing that it may ask for."""
    return [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-deps", *what]


def locked(lock: Path) -> tuple[str, ...]:
    """Arguments that install a lock file: every package in it must have the hash that it names there."""
    return ("--require-hashes", "--requirement", str(lock))


def environment() -> dict[str, str]:
    """The variables that pip is run with: the user's (index, proxy, certificates), but for what the locks decide."""
    return {name: value for name, value in os.environ.items() if name not in _REMOVED} | _SET


class Environment:
    """The virtual environment of a checkout, and what is known about it."""

    def __init__(self, root: Path) -> None:
        """`root`: of the checkout."""
        self.root = root
        self.path = root / ".venv"
        self.python = self.path / "bin" / "python"
        self._state_file = self.path / "antiphon.json"

    def make(self, *, anew: bool = False) -> bool:
        """Make it, unless a sound one is there; returns whether it is new.

        One without a record is taken as it is, and completed.
        """
        if not anew and self._is_sound():
            return False
        if self.path.is_symlink() or self.path.is_file():
            self.path.unlink()
        elif self.path.exists():
            _say(f"{self.path.name} cannot be used as it is (moved, not finished, or its Python is gone): made anew")
            shutil.rmtree(self.path)
        base = _base_python()
        _check_venv(base)
        version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
        with _step(f"making the virtual environment {self.path.name} with {version}", "about 5 seconds"):
            done = subprocess.run([base, *_MAKE, str(self.path)], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Failed(f"{base} -m venv failed:\n{done.stdout}{done.stderr}")
        self._write({"place": str(self.path), "python": self._version(), "done": {}})
        return True

    def needs(self, name: str, files: Sequence[Path]) -> bool:
        """Whether step `name`, which depends on these files' contents, is still to be done."""
        return self._state()["done"].get(name) != _fingerprint(files)

    @contextlib.contextmanager
    def doing(self, name: str, files: Sequence[Path]) -> Iterator[None]:
        """Do step `name`. If it is cut off, however, the environment is not taken for a sound one again."""
        state = self._state()
        self._write(state | {"unfinished": name})
        yield
        state["done"][name] = _fingerprint(files)
        self._write(state)

    def _is_sound(self) -> bool:
        state = self._state()
        version = self._version()
        return version != "" and "unfinished" not in state and self._same(state, version)

    def _same(self, state: dict[str, Any], version: str) -> bool:
        """Whether it stands where it was made, with the Python that it was made with and that is asked for."""
        asked = "{}.{}".format(*sys.version_info[:2])
        wanted = asked if os.environ.get("PYTHON") else version
        return bool(state["place"] == str(self.path) and state["python"] == version == wanted)

    def _version(self) -> str:
        """`3.11`, as its Python says; empty if that does not run."""
        script = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            done = subprocess.run([self.python, "-c", script], capture_output=True, text=True, check=False)
        except OSError:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text("utf-8"))
        except FileNotFoundError:
            return {"place": str(self.path), "python": self._version(), "done": {}}
        except (OSError, ValueError):
            return {"place": "", "python": "", "done": {}}
        return state

    def _write(self, state: dict[str, Any]) -> None:
        fresh = self._state_file.with_suffix(".new")
        fresh.write_text(json.dumps(state), "utf-8")
        fresh.replace(self._state_file)


def prepare(goal: str, root: Path = ROOT) -> None:
    """Do what `goal` needs and has not got."""
    venv = Environment(root)
    with _alone(root):
        new = venv.make()
        try:
            _install(venv, goal)
        except _Clash as clash:
            if new:
                raise
            _say(f"{clash}; made anew")
            venv.make(anew=True)
            _install(venv, goal)
    if goal == "setup":
        _run([str(venv.path / "bin" / "antiphon"), "models", "pull", "--default"])
    if goal == "test":
        _run([str(venv.path / "bin" / "antiphon"), "models", "pull", *TEST_MODELS])


class _Clash(Failed):
    """Packages that were there before do not go with the locked ones."""


def _install(venv: Environment, goal: str) -> None:
    locks = {"serve": "80 MB to fetch the first time: about 30 seconds at 10 MB/s"}
    if goal in ("dev", "test"):
        locks["dev"] = "150 MB to fetch the first time: about 45 seconds at 10 MB/s"
    changed = False
    for name, estimate in locks.items():
        lock = venv.root / "requirements" / f"{name}.txt"
        if venv.needs(name, [lock]):
            changed = True
            what = {"serve": "packages", "dev": "packages for tests and checks"}[name]
            with venv.doing(name, [lock]), _step(f"installing the locked {what}", estimate):
                _pip(pip_install(venv.python, *locked(lock)), total=_pins(lock))
    project = [venv.root / "pyproject.toml"]
    if changed or venv.needs("project", project):
        with venv.doing("project", project), _step("installing Antiphon itself from src", "about 5 seconds"):
            _pip(pip_install(venv.python, "--no-build-isolation", "--editable", str(venv.root)))
            check(venv.python)


def check(python: Path) -> None:
    """Raise unless every package in the environment has what it asks for (`pip check`)."""
    command = [str(python), "-m", "pip", "check", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode != 0:
        raise _Clash(f"pip check: {done.stdout.strip() or done.stderr.strip()}")


# --- pip, told as it goes ---------------------------------------------------------------------------------------------
def _pip(command: list[str], total: int = 0) -> None:
    """Run pip; say every few seconds how far it is, and what went wrong if it fails. `total`: packages to come."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
    )
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    telling = _Telling(total)
    last: list[str] = []
    while True:
        try:
            line = lines.get(timeout=_LIVE)
        except queue.Empty:
            telling.tell()
            continue
        if line is None:
            break
        last = [*last[1 - _LAST_LINES :], line]
        telling.note(line)
        telling.tell()
    telling.close()
    if process.wait() != 0:
        story = "\n".join(f"  {line}" for line in last)
        raise Failed(f"pip failed:\n{story}\nWhat was fetched is kept by pip; run the same command again to go on.")


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line.decode("utf-8", "replace").rstrip())
    lines.put(None)


class _Telling:
    """How far pip is, from the lines that it prints: a line that changes on a terminal, one now and then in a log."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._had = 0
        self._doing = "starting pip"
        self._began = time.monotonic()
        self._live = sys.stderr.isatty()
        self._told = self._began

    def note(self, line: str) -> None:
        """Take note of a line of pip's."""
        if match := re.match(r"(Collecting|Requirement already satisfied:|Obtaining) ([^\s=]+)", line):
            self._had += 1
            of = f" of {self._total}" if self._total else ""
            self._doing = f"package {self._had}{of}, {match[2].rsplit('/')[-1]}"
        elif line.startswith("Ignoring "):  # its markers are for other systems
            self._total -= 1
        elif line.startswith("Installing collected"):
            self._doing = "unpacking what was fetched"

    def tell(self) -> None:
        """Say it, if it is time to."""
        now = time.monotonic()
        if now - self._told < (_LIVE if self._live else _LOGGED):
            return
        self._told = now
        text = f"antiphon:   {self._doing}; {now - self._began:.0f} s"
        sys.stderr.write(f"\r\x1b[K{text}" if self._live else f"{text}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave an empty line for what comes."""
        if self._live:
            sys.stderr.write("\r\x1b[K")


# --- small things -----------------------------------------------------------------------------------------------------
def _say(text: str) -> None:
    sys.stderr.write(f"antiphon: {text}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def _step(what: str, estimate: str) -> Iterator[None]:
    """Say what is begun and how long it may take; at its end, how long it took."""
    _say(f"{what} ({estimate})")
    began = time.monotonic()
    yield
    _say(f"done in {time.monotonic() - began:.0f} s")


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Let two targets of one checkout not be prepared at the same time."""
    with (root / "Makefile").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another make is preparing this checkout; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _pins(lock: Path) -> int:
    return len(re.findall(r"^[A-Za-z0-9][^\s]*==", lock.read_text("utf-8"), re.MULTILINE))


def _fingerprint(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _base_python() -> str:
    """The interpreter to make an environment with: this one, or what this one's own environment was made with."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return base if os.access(base, os.X_OK) else sys.executable


def _check_venv(python: str) -> None:
    """Debian and its kin split these modules off."""
    done = subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    if done.returncode != 0:
        name = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        raise Failed(f"{python} has no venv module; on Debian and Ubuntu: apt-get install python3-venv (or {name})")


def _run(command: list[str]) -> None:
    if code := subprocess.run(command, check=False).returncode:
        raise SystemExit(code)


def main() -> None:
    """Prepare the goal that is named; exit with a reason if that cannot be."""
    try:
        prepare(sys.argv[1])
    except Failed as failed:
        sys.exit(f"antiphon: {failed}")
    except OSError as error:
        sys.exit(f"antiphon: {error.filename or 'the setup'}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
