"""One process that compiles and checks, as its parent sees it: started when it is first needed, then kept."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import EngineUnavailable
from antiphon.domain.fairness import FairLock

Json = dict[str, Any]

COMMAND = (sys.executable, "-P", "-m", "antiphon.engines.schemas.child")
#: The process gets nothing else of our environment: keys of other services may stand in it.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT")


class TooComplex(Exception):
    """The question cost more time, memory or stack than it may."""


class CheckerProcess:
    """Asks one question at a time, from one event loop; projects take turns."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._turn = FairLock(limits.SCHEMA_QUEUE)

    @property
    def pid(self) -> int | None:
        """The process's number, while there is one."""
        return self._process.pid if self._process is not None else None

    async def ask(self, question: str, seconds: float, **fields: Any) -> Json:
        """The answer of the function that `child` has for `question`. Raises `TooComplex`."""
        line = msgspec.json.encode({"ask": question, "seconds": seconds, **fields}) + b"\n"
        async with self._turn:
            process = await self._running()
            try:
                async with asyncio.timeout(seconds + limits.SCHEMA_PATIENCE):
                    answer = await _exchange(process, line)
            except (TimeoutError, ConnectionError, ValueError):
                answer = b""
            except BaseException:
                # The question was given up. Its answer must not be taken for that of the next one.
                self._process = None
                await asyncio.shield(asyncio.ensure_future(_end(process)))
                raise
            if not answer.endswith(b"\n"):
                self._process = None
                await _end(process)
                raise TooComplex
        decoded: Json = msgspec.json.decode(answer)
        return decoded

    async def close(self) -> None:
        """End the process; it comes back when it is needed."""
        process, self._process = self._process, None
        if process is not None:
            await _end(process)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self.close()
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            limit=2 * limits.MAX_BODY,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(limits.SCHEMA_START_TIMEOUT):
                greeting = await _line(process)
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(_end(process)))
            raise
        if not greeting:
            await _end(process)
            raise EngineUnavailable("The process that compiles schemas could not be started.")
        self._process = process
        return process


async def _exchange(process: asyncio.subprocess.Process, line: bytes) -> bytes:
    assert process.stdin is not None
    process.stdin.write(line)
    await process.stdin.drain()
    return await _line(process)


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.readline()


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()
    # Reading to the end lets go of the pipe.
    if process.stdout is not None:
        with suppress(ValueError):
            await process.stdout.read()
