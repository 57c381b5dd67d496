"""Runs Python scripts that use the SDK, each in a process of its own that need not import it first.

The processes are forks of one that has imported it and done nothing else. As a program, this file is that one:
`python warm.py`, a line of JSON on stdin for each script (`script`, `cwd`, `env`, `said`: the file for what it prints),
and a line with its exit code on stdout.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class WarmPython:
    """The process that is forked."""

    process: subprocess.Popen[str]

    def run(self, script: Path, *, env: dict[str, str], seconds: int) -> subprocess.CompletedProcess[str]:
        """What `python -W error SCRIPT` does in the script's directory, with stdout and stderr together.

        Raises subprocess.TimeoutExpired after `seconds`.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        said = script.with_suffix(".said")
        asked = {"script": str(script), "cwd": str(script.parent), "env": env, "said": str(said), "seconds": seconds}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        code = json.loads(self.process.stdout.readline())
        if code == -signal.SIGALRM:
            raise subprocess.TimeoutExpired(str(script), seconds)
        return subprocess.CompletedProcess([str(script)], code, said.read_text("utf-8", "replace"), "")


@contextmanager
def warm_python() -> Iterator[WarmPython]:
    """Start it, until the block is left."""
    command = [sys.executable, "-W", "error", __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield WarmPython(process)


# --- the program ------------------------------------------------------------------------------------------------------
def _main() -> None:
    import openai
    import openai.resources.chat.completions
    import openai.resources.responses

    assert openai
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            _be_script(asked)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


def _be_script(asked: dict[str, Any]) -> None:
    """Never returns."""
    code = 1
    signal.alarm(asked["seconds"])
    try:
        said = os.open(asked["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        sys.argv = [asked["script"]]
        sys.path[0] = asked["cwd"]
        runpy.run_path(asked["script"], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _main()
