"""One run of the child process: started, spoken to, ended."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from antiphon.domain import limits

#: Lines of the child's stderr that are kept, and the length of each.
_LOG_LINES, _LOG_WIDTH = 100, 500
#: After SIGTERM, this long until SIGKILL.
_TERM_TIMEOUT = 2.0
#: The child gets nothing else of our environment: keys of other services may stand in it.
_ENVIRONMENT = frozenset(
    {
        *("PATH", "HOME", "USER", "TMPDIR", "TEMP", "TMP", "LANG", "SYSTEMROOT", "OMP_NUM_THREADS"),
        *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    }
)
_ENVIRONMENT_PREFIXES = ("LC_", "CUDA_", "GGML_", "HIP_", "ROCR_", "VK_", "MTL_")
#: llama.cpp's own error lines, failed assertions, and uncaught exceptions: none of them quotes a prompt.
_ERROR_LINE = re.compile(r"[0-9.]+ E |.*GGML_ASSERT|terminate called|\s*what\(\)|[A-Za-z.]+Error: ")

COMMAND = (sys.executable, "-P", "-m", "antiphon.engines.llama.child")


class ChildGreeting(msgspec.Struct, frozen=True):
    """The child's one line: where it listens, or why it cannot."""

    address: str = ""
    threads: int = 0
    control_tokens: tuple[str, ...] = ()
    error: str | None = None


class ChildGone(Exception):
    """The child ended before it was ready. `reason` is what it said, if it knew."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason or "the process ended while it was starting")
        self.reason = reason


class ChildProcess:
    """A running child. Make one with `launch`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._reader = asyncio.create_task(self._read_log(), name="llama-child-log")
        self.answer = ChildGreeting()

    @classmethod
    async def launch(cls, config: bytes, command: Sequence[str] = COMMAND) -> ChildProcess:
        """Start the child, give it `config` (one line of JSON), and wait until it is ready.

        Raises `ChildGone`, or TimeoutError after `limits.ENGINE_START_TIMEOUT`.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(os.environ),
            limit=limits.MIB,
            start_new_session=True,  # Ctrl-C in a terminal must not reach it before we have drained
        )
        child = cls(process)
        try:
            async with asyncio.timeout(limits.ENGINE_START_TIMEOUT):
                child.answer = await child._greet(config)
        except BaseException:
            await child.end()
            raise
        return child

    async def _greet(self, config: bytes) -> ChildGreeting:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with suppress(ConnectionError):
            stdin.write(config + b"\n")
            await stdin.drain()
        line = await stdout.readline()
        try:
            answer = msgspec.json.decode(line, type=ChildGreeting)
        except msgspec.DecodeError:
            raise ChildGone(None) from None
        if answer.error is not None:
            raise ChildGone(answer.error)
        return answer

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait for its end; returns the exit code (negative: the signal that ended it)."""
        return await self._process.wait()

    def kill(self) -> None:
        """End it now. `wait` returns soon after."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        """End it and wait: closed stdin and SIGTERM, then SIGKILL."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_TERM_TIMEOUT):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await self._reader

    def last_words(self) -> list[str]:
        """The last lines of its log that look like errors."""
        return [line for line in self._log if _ERROR_LINE.match(line)][-10:]

    async def _read_log(self) -> None:
        """Keep the last lines of stderr. Read in pieces: a line may be longer than any limit."""
        stderr = self._process.stderr
        assert stderr is not None
        rest = b""
        while piece := await stderr.read(8192):
            *lines, rest = (rest + piece).split(b"\n")
            rest = rest[:_LOG_WIDTH]
            self._log.extend(line[:_LOG_WIDTH].decode("utf-8", "replace") for line in lines if line.strip())
        if rest.strip():
            self._log.append(rest.decode("utf-8", "replace"))


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What of our environment the child may see."""
    return {
        name: value
        for name, value in ours.items()
        if name.upper() in _ENVIRONMENT or name.upper().startswith(_ENVIRONMENT_PREFIXES)
    }
