"""The parent's side of the process that compiles and checks: started when it is first needed, then kept."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import EngineUnavailable, InvalidRequest
from antiphon.protocol.generation import JsonSchema

Json = dict[str, Any]
Code = Literal["invalid_json_schema", "invalid_function_parameters"]

COMMAND = (sys.executable, "-P", "-m", "antiphon.engines.schemas.child")
#: The process gets nothing else of our environment: keys of other services may stand in it.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT")


class TooComplex(Exception):
    """The question cost more time, memory or stack than it may."""


class SchemaWorker:
    """Asks one question at a time, from one event loop."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The process's number, while there is one."""
        return self._process.pid if self._process is not None else None

    async def admit(self, schema: JsonSchema, *, what: str, code: Code, param: str) -> str:
        """A client's schema as JSON text, once it is known that answers can be checked against it.

        Raises `InvalidRequest` with `code` and `param`, and a message that names `what`.
        """
        text, _ = await self.compiled(schema, (), strict=False, what=what, code=code, param=param)
        return text

    async def compiled(
        self, schema: JsonSchema, rules: Sequence[str], *, strict: bool, what: str, code: Code, param: str | None
    ) -> tuple[str, int | None]:
        """The same, and which of `rules` (grammars, from the strictest to the loosest) is the first that compiles.

        Strict: it must be the first one.
        """
        text = schema_text(schema, what=what, code=code, param=param)
        try:
            answer = await self._schema(text, rules, strict=strict)
        except TooComplex:
            answer = {"error": "it is too complex to compile."}
        if "error" in answer:
            raise refused(answer["error"], what=what, code=code, param=param)
        return text, answer["rule"]

    async def repair(self, text: str) -> str:
        """`text` with the mistakes put right that models make in JSON; empty if there is nothing to put right."""
        try:
            answer = await self._ask("repair", limits.SCHEMA_CHECK_TIMEOUT, text=text)
        except TooComplex:
            return ""
        return str(answer["text"])

    async def find(self, schema: str, text: str) -> str:
        """The first complete object or list within `text` that fits `schema`; empty if there is none."""
        try:
            answer = await self._ask("find", limits.SCHEMA_CHECK_TIMEOUT, schema=schema, text=text)
        except TooComplex:
            return ""
        return str(answer["text"])

    async def _schema(self, schema: str, rules: Sequence[str], *, strict: bool) -> Json:
        """See `child.compile_schema`. Raises `TooComplex`."""
        return await self._ask("schema", limits.GRAMMAR_TIMEOUT, schema=schema, rules=rules, strict=strict)

    async def grammar(self, grammar: str) -> str:
        """Why `grammar` does not compile; empty if it does. Raises `TooComplex`."""
        answer = await self._ask("grammar", limits.GRAMMAR_TIMEOUT, grammar=grammar)
        return str(answer["error"])

    async def misfit(self, schema: str, text: str) -> str | None:
        """Why the JSON `text` does not fit `schema`, or None if it does."""
        return await self._check("json", schema=schema, text=text)

    async def mismatch(self, grammar: str, text: str) -> str | None:
        """Why `grammar` does not allow `text`, or None if it does."""
        return await self._check("text", grammar=grammar, text=text)

    async def close(self) -> None:
        """End the process; it comes back when it is needed."""
        process, self._process = self._process, None
        if process is not None:
            await _end(process)

    async def _check(self, question: str, **fields: Any) -> str | None:
        try:
            answer = await self._ask(question, limits.SCHEMA_CHECK_TIMEOUT, **fields)
        except TooComplex:
            return "it takes too long to check"
        return answer["error"] or None

    async def _ask(self, question: str, seconds: float, **fields: Any) -> Json:
        line = msgspec.json.encode({"ask": question, "seconds": seconds, **fields}) + b"\n"
        async with self._turn:
            process = await self._running()
            try:
                async with asyncio.timeout(seconds + limits.SCHEMA_PATIENCE):
                    answer = await _exchange(process, line)
            except (TimeoutError, ConnectionError, ValueError):
                answer = b""
            except BaseException:
                # Whoever asked has gone. The answer must not be taken for that of the next question.
                self._process = None
                await asyncio.shield(asyncio.ensure_future(_end(process)))
                raise
            if not answer.endswith(b"\n"):
                self._process = None
                await _end(process)
                raise TooComplex
        decoded: Json = msgspec.json.decode(answer)
        return decoded

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


def schema_text(schema: JsonSchema, *, what: str, code: Code, param: str | None) -> str:
    """A client's schema as JSON text. Raises `InvalidRequest` if it is no JSON, or too large."""
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError, RecursionError):
        raise refused("it is not JSON.", what=what, code=code, param=param) from None
    if len(text) > limits.MAX_SCHEMA_CHARS:
        why = f"it has {len(text)} characters, the limit is {limits.MAX_SCHEMA_CHARS}."
        raise refused(why, what=what, code=code, param=param)
    return text


def refused(why: str, *, what: str, code: Code, param: str | None) -> InvalidRequest:
    """The refusal of a schema."""
    return InvalidRequest(f"Invalid schema for {what}: {why}", code=code, param=param)


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
