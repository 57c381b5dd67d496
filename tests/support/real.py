"""A real `antiphon serve` in a process of its own, with a real model from this machine's cache."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from antiphon.datadir import DataDir
from antiphon.domain import limits

#: The model for what needs no wits: it answers at once, and often wrongly.
SMALL = "smollm2-135m"
#: The default model: it calls tools and fills in schemas.
CODER = "qwen2.5-coder-0.5b"
#: Loading a model on a busy machine takes its time.
_READY_WITHIN = 90.0
ROOT = Path(__file__).resolve().parents[2]


def program() -> Path:
    """The `antiphon` command of the environment that runs the tests."""
    return Path(sys.executable).with_name("antiphon")


def environment(**more: str) -> dict[str, str]:
    """The variables that a fresh user's shell would have: none of Antiphon's, but the place of the models."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANTIPHON_", "OPENAI_")) or name == "ANTIPHON_MODELS_DIR"
    }
    return {**kept, **more}


@dataclass
class Server:
    """A running server. `url` without `/v1`."""

    process: subprocess.Popen[bytes]
    data_dir: DataDir
    log_file: Path
    url: str = field(init=False)
    key: str = field(init=False)

    @property
    def base_url(self) -> str:
        """What an SDK wants as its base URL."""
        return f"{self.url}/v1"

    @property
    def variables(self) -> dict[str, str]:
        """What `antiphon env` sets."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": self.key}

    def log(self) -> str:
        """Everything it has printed."""
        return self.log_file.read_text("utf-8", "replace")

    def engine(self) -> psutil.Process:
        """The engine's child process. There must be exactly one."""
        found = engines_of(psutil.Process(self.process.pid))
        assert len(found) == 1, found
        return found[0]

    def ready(self) -> bool:
        """Whether `/readyz` says yes."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def wait_ready(self) -> None:
        """Wait until it can answer. Fails with its log if it ends or takes too long."""
        wait_for(lambda: self.ready() or self.process.poll() is not None, _READY_WITHIN, self.log)
        assert self.process.poll() is None, f"the server ended:\n{self.log()}"

    def terminate(self) -> int:
        """SIGTERM, and wait; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(limits.DRAIN_TIMEOUT + 2 * limits.CLOSE_TIMEOUT)


def engines_of(process: psutil.Process) -> list[psutil.Process]:
    """The engine processes among the children of a process."""
    return [child for child in process.children() if "antiphon.engines.llama.child" in child.cmdline()]


def wait_for(is_so: Callable[[], bool], seconds: float, story: Callable[[], str] = str) -> None:
    """Poll what cannot be awaited: another process. Fails with `story` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s:\n{story()}"
        time.sleep(0.05)


@contextlib.contextmanager
def launch(
    path: Path, *options: str, cwd: Path | None = None, ready: bool = True, **variables: str
) -> Iterator[Server]:
    """`antiphon serve` on a free port with its data directory at `path`/data, until the block is left.

    `ready`: wait until it can answer; else only until it listens. Nothing of it is left behind, whatever happens.
    """
    log_file = path / "server.log"
    data_dir = DataDir(path / "data", create=False)
    command = [str(program()), "serve", "--data-dir", str(data_dir.path), *options]
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=cwd or path,
            env=environment(**{"ANTIPHON_PORT": "0", **variables}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, data_dir, log_file)
    try:
        wait_for(lambda: _listens(server) or process.poll() is not None, _READY_WITHIN, server.log)
        assert process.poll() is None, f"the server did not start:\n{server.log()}"
        if ready:
            server.wait_ready()
        yield server
    finally:
        _end(server)


def _listens(server: Server) -> bool:
    """Whether it has written where it listens, and for which key; takes note of both."""
    info, key = server.data_dir.running(), server.data_dir.default_key()
    if info is None or info.pid != server.process.pid or key is None:
        return False
    server.url, server.key = f"http://{info.host}:{info.port}", key
    return True


def _end(server: Server) -> None:
    if server.process.poll() is not None:
        return
    family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    server.process.terminate()
    try:
        server.process.wait(limits.DRAIN_TIMEOUT + 2 * limits.CLOSE_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the server did not stop:\n{server.log()}") from None
    finally:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        server.process.wait()


def banner_of(log: str) -> tuple[str, str, str]:
    """The address, the `eval` line and the curl command that a server has printed."""
    found = re.search(
        r"\n  Antiphon is listening on (http://\S+/v1)   \((.+)\)\n"
        r"  In another shell:  (eval \"\$\(.+\)\")     then try:\n"
        r"(      curl .+\\\n        -d .+)\n",
        log,
    )
    assert found, log
    return found[1], found[3], found[4]


def run_program(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The `antiphon` command with these arguments; its output as text."""
    command = [str(program()), *arguments]
    settings: dict[str, Any] = {"env": environment(), "timeout": 60, **options}
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)
