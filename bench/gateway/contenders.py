"""Who is measured, how each is started and pointed at the mock upstream. The one place with their settings."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.mock import MODEL
from bench.gateway.process import port_of, started, wait_ready

#: The server under test has this core to itself; the load and the mock upstream share the other.
SERVER_CORE, LOAD_CORE = 0, 1
#: Where peers are installed, each into an environment of its own.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "antiphon-bench"


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that answers: its port, the key it takes, the process whose tree is measured."""

    port: int
    key: str
    pid: int
    note: str = ""


#: Starts a contender: gets the mock's base URL and a directory to work in.
Start = Callable[[str, Path], AbstractContextManager[Running]]


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def mock(directory: Path) -> Iterator[Running]:
    """The upstream itself; its rate is what the load generator can do at most."""
    log = directory / "mock.log"
    with started([sys.executable, "-m", "bench.gateway.mock"], LOAD_CORE, log) as server:
        yield Running(port_of(server, log), "none", server.pid)


@contextlib.contextmanager
def reference(upstream: str, directory: Path) -> Iterator[Running]:
    """A bare pass-through: uvicorn, uvloop, httptools, aiohttp, and nothing else."""
    log = directory / "reference.log"
    with started([sys.executable, "-m", "bench.gateway.passthrough", upstream], SERVER_CORE, log) as server:
        yield Running(port_of(server, log), "none", server.pid)


# --- ours -------------------------------------------------------------------------------------------------------------
def _settings(upstream: str) -> str:
    """Our antiphon.toml: a route to the mock, nothing local."""
    return f"""
model = "none"
port = 0
log_level = "info"
log_format = "json"

[upstreams.mock]
kind = "chat"
url = "{upstream}"

[routes.{MODEL}]
targets = [{{ upstream = "mock", model = "{MODEL}" }}]
"""


#: What is switched on with the command line before the load. Limits far above it, so that they count and never refuse.
_SWITCHED_ON = (("limits", "set", "--project", "default", "--rpm", "100000000", "--tpm", "1000000000"),)


def _antiphon(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "antiphon", *arguments, "--data-dir", str(data)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def ours(upstream: str, directory: Path) -> Iterator[Running]:
    """Antiphon as it is run: its own command, SQLite, keys, limits, the ledger, metrics, a log line for each call."""
    data = directory / "data"
    data.mkdir(mode=0o700)
    (data / "antiphon.toml").write_text(_settings(upstream))
    log = directory / "ours.log"
    command = [
        sys.executable,
        "-m",
        "antiphon",
        "serve",
        "--data-dir",
        str(data),
        "--config",
        str(data / "antiphon.toml"),
    ]
    with started(command, SERVER_CORE, log) as server:
        assert server.stdout is not None
        for line in server.stdout:
            if "listening on" in line:
                port = int(line.split("/v1")[0].rsplit(":", 1)[1])
                break
        else:
            raise RuntimeError(f"antiphon did not start:\n{log.read_text()[-3000:]}")
        notes = []
        for arguments in _SWITCHED_ON:
            done = _antiphon(*arguments, data=data)
            if done.returncode:
                notes.append(f"'antiphon {' '.join(arguments[:2])}' failed: {done.stderr.strip()[:100]}")
        yield Running(port, (data / "default.key").read_text().strip(), server.pid, "; ".join(notes))


#: For a peer's environment: with our path of modules, it would find our modules there instead of its own.
_OWN = {"PYTHONPATH": ""}


# --- peers ------------------------------------------------------------------------------------------------------------
def installed(name: str, requirement: str) -> Path:
    """The `bin` of a peer's environment, made at the first use (`pip install` from the configured registry)."""
    place = CACHE / name
    if not (place / "installed").exists():
        print(f"installing {requirement} into {place}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", requirement]
        subprocess.run(pip, check=True, stderr=subprocess.DEVNULL, env={**os.environ, **_OWN})
        subprocess.run([str(place / "bin" / "python"), "-m", "compileall", "-q", str(place / "lib")], check=False)
        (place / "installed").touch()
    return place / "bin"


def _smg(mode: tuple[str, ...]) -> Start:
    @contextlib.contextmanager
    def start(upstream: str, directory: Path) -> Iterator[Running]:
        port, metrics = free_port(), free_port()
        log = directory / "smg.log"
        command = [str(installed("smg", "smg") / "smg"), "launch", *mode, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--worker-urls", upstream.removesuffix("/v1"), "--prometheus-port", str(metrics)]
        command += ["--prometheus-host", "127.0.0.1", "--log-level", "error", "--api-key", "bench"]
        with started(command, SERVER_CORE, log, _OWN) as server:
            wait_ready(server, f"http://127.0.0.1:{port}/readiness", log)
            yield Running(port, "bench", server.pid)

    return start


#: Its pass-through for workers that speak HTTP.
smg = _smg(("--policy", "round_robin"))
#: Over HTTP it makes no responses from chat completions: it relays those of its upstream, and stores them in memory.
smg_responses = _smg(("--backend", "openai", "--history-backend", "memory"))


@contextlib.contextmanager
def litellm(upstream: str, directory: Path) -> Iterator[Running]:
    """The proxy of LiteLLM with a master key, one worker, no database."""
    port = free_port()
    log = directory / "litellm.log"
    parameters = {"model": f"openai/{MODEL}", "api_base": upstream, "api_key": "upstream"}
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "general_settings": {"master_key": "sk-bench"},
        "litellm_settings": {"set_verbose": False, "telemetry": False},
    }
    (directory / "litellm.yaml").write_text(json.dumps(config))  # JSON is YAML
    command = [str(installed("litellm", "litellm[proxy]==1.103.2") / "litellm")]
    command += ["--config", str(directory / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    quiet = {**_OWN, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
    with started(command, SERVER_CORE, log, quiet) as server:
        wait_ready(server, f"http://127.0.0.1:{port}/health/liveliness", log)
        yield Running(port, "sk-bench", server.pid)
