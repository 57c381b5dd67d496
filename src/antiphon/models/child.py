"""Run a downloading program, and watch its bytes arrive.

Downloads run in a child process: what it imports does not stay in the server's memory, it can be ended at any moment,
and its progress is seen without its help, by the size of its files.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

from antiphon.domain import limits
from antiphon.domain.errors import SetupError

#: Seconds between two looks at the growing files.
_LOOK_EVERY = 0.2


class SourceFailed(SetupError):
    """One source could not give the file; the next one may. The message says why, in one line or a few."""


def run(argv: Sequence[str], env: Mapping[str, str], arrived: Callable[[], int]) -> tuple[int, str]:
    """Run `argv` to its end and return its exit code and what it wrote to stderr.

    `arrived` is called a few times a second, counts the bytes that are here, and may report them. Raises `SourceFailed`
    if the program cannot be started or if nothing arrives for `PULL_STALL_TIMEOUT` seconds. However this returns, the
    program has ended.
    """
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(  # noqa: S603 - a fixed command; its values come from the catalog
                argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
            )
        except OSError as error:
            raise SourceFailed(f"{argv[0]} cannot be started: {error.strerror}") from error
        try:
            code = _watch(process, arrived)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        errors.seek(0)
        return code, errors.read().decode("utf-8", "replace")


def _watch(process: subprocess.Popen[bytes], arrived: Callable[[], int]) -> int:
    """Wait for the program, as long as its bytes keep coming."""
    before, since = -1, time.monotonic()
    while True:
        try:
            return process.wait(_LOOK_EVERY)
        except subprocess.TimeoutExpired:
            now = arrived()
        if now != before:
            before, since = now, time.monotonic()
        elif time.monotonic() - since > limits.PULL_STALL_TIMEOUT:
            raise SourceFailed(f"nothing arrived for {limits.PULL_STALL_TIMEOUT:.0f} s")
