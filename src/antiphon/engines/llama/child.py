"""The child process: llama.cpp's server around one model, and nothing else.

Run as `python -m antiphon.engines.llama.child`. It holds no database and no keys but the one it is given. It reads one
JSON line from stdin (`ChildConfig` of `config.py`; the key comes this way because others can read arguments and the
environment), answers one JSON line on stdout, and lives until stdin ends: so it cannot outlive its parent, however that
one died. Imports stay within the standard library and xllamacpp.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the parent, which drains first
    _die_with_parent()
    answers = _take_stdout()
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(0)
    config: dict[str, Any] = json.loads(line)
    try:
        server, answer = _serve(config)
    except Exception as error:
        # Whatever llama.cpp says about a file it cannot load; the parent decides what of it is shown.
        answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        answers.flush()
        os._exit(1)
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    while sys.stdin.buffer.read(4096):
        pass
    # The parent is gone or wants us gone: nothing here needs to be put in order first.
    del server
    os._exit(0)


def _die_with_parent() -> None:
    """Have Linux kill us when the parent dies, even while the model is loading (stdin is not watched then)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _take_stdout() -> Any:
    """Keep stdout for the one answer; whatever llama.cpp prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _serve(config: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Start llama.cpp's server; returns it (it lives as long as the object) and the answer to the parent."""
    if not config["quiet_machine"]:
        # Before the import, which starts OpenMP: threads that spin while they wait lose most of their speed as soon
        # as anything else runs on their cores.
        os.environ["GOMP_SPINCOUNT"] = "0"
        os.environ["OMP_WAIT_POLICY"] = "passive"
    if config["pinning"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, config["pinning"])
    from xllamacpp import CommonParams, Server  # after the environment is set

    from antiphon.engines.llama.vocabulary import control_tokens

    params = CommonParams()
    params.model.path = config["model"]
    params.model_alias = {config["name"]}
    params.n_parallel = config["slots"]
    # All slots share one cache: a long prompt may have most of it while others are short. The parent sees to it that
    # what runs together fits.
    params.kv_unified = True
    params.n_ctx = config["pool"]
    params.n_batch = params.n_ubatch = config["batch"]
    params.n_gpu_layers = config["gpu_layers"]
    params.fit_params = False
    threads = config["threads"] or _threads()
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    # One thread for each stream, and some for the short calls that admit the next requests.
    params.n_threads_http = config["slots"] + 8
    params.cache_ram_mib = config["cache_ram_mib"]
    # A slot whose prompt is read in pieces looks idle between two of them.
    params.cache_idle_slots = False
    params.api_keys = [config["api_key"]]
    params.cors_origins = ""
    params.endpoint_slots = True
    params.ui = False
    params.use_jinja = True
    # The API begins a new assistant turn after a trailing assistant message; it does not continue that one.
    params.prefill_assistant = False
    # A ping would hide an engine that hangs from the parent's timeout.
    params.sse_ping_interval = -1
    params.verbosity = 1  # errors: prompts must not reach a log
    server = Server(params)
    answer = {
        "address": server.listening_address,
        "threads": threads,
        "control_tokens": control_tokens(Path(config["model"])),
    }
    return server, answer


def _threads() -> int:
    """Cores we may use. Above four, two of a pair of hyper-threads add nothing to matrix products."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable if usable <= 4 else (usable + 1) // 2


if __name__ == "__main__":
    main()
