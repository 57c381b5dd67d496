"""The way to the child for all that is asked of it: the child that runs, or the next one if that ends.

What is asked in a moment between two children, or of one that has just ended, is asked of the next one, once. While a
child does not answer, what is new is refused at once, and what has been admitted waits until it speaks again or is
replaced (`heartbeat.py`).
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from math import ceil
from typing import TypeVar

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed, EngineUnavailable, SetupError
from antiphon.engines.llama.child_connection import ChildConnection
from antiphon.engines.llama.config import LlamaConfig
from antiphon.engines.llama.process import ChildProcess
from antiphon.engines.llama.supervisor import State, Supervisor
from antiphon.tasks import end

#: How long `ready` waits for the child's word (seconds).
_HEALTH_TIMEOUT = 2.0
T = TypeVar("T")


class ChildAccess:
    """The child of one engine. It is started when it is first needed."""

    def __init__(self, config: LlamaConfig) -> None:
        self._config = config
        self._key = secrets.token_urlsafe(32)
        self.supervisor = Supervisor(self._launch, self._connect)

    async def connection(self) -> ChildConnection:
        """The child that runs; waits while it starts. Raises `SetupError` or `EngineUnavailable`."""
        if not self._config.model.is_file():
            raise SetupError(
                f"The file of the model '{self._config.name}' is missing. Run: antiphon models pull {self._config.name}"
            )
        return await self.supervisor.connection()

    async def responsive(self) -> ChildConnection:
        """A child that answers, for what has been admitted: waits until a silent one speaks again or is replaced."""
        while (connection := await self.connection()).heartbeat.silent:
            await connection.heartbeat.until_answers()
        return connection

    async def admit(self, work: Callable[[ChildConnection], Awaitable[T]]) -> T:
        """Do what comes before an answer. If the child ends meanwhile, do it once more with the next one.

        Raises `EngineUnavailable` at once while the child does not answer.
        """
        connection = await self.connection()
        try:
            return await _unless_silent(connection, work)
        except EngineFailed as error:
            if not await self.supervisor.replaced(connection):
                raise EngineUnavailable(error.message) from error
        try:
            return await _unless_silent(await self.connection(), work)
        except EngineFailed as error:
            raise EngineUnavailable(error.message) from error

    async def ready(self) -> bool:
        """Whether the child is up and answers."""
        if self.supervisor.state is not State.READY:
            return False
        connection = await self.connection()
        return await connection.client.healthy(_HEALTH_TIMEOUT)

    async def _launch(self) -> ChildProcess:
        config = self._config
        return await ChildProcess.launch(
            json.dumps(
                {
                    "model": str(config.model),
                    "name": config.name,
                    "slots": config.slots,
                    "pool": config.pool,
                    "batch": config.batch,
                    "threads": config.threads,
                    "pinning": config.pinning,
                    "cache_ram_mib": config.cache_ram_mib,
                    "gpu_layers": config.gpu_layers,
                    "quiet_machine": config.quiet_machine,
                    "api_key": self._key,
                }
            ).encode()
        )

    async def _connect(self, child: ChildProcess) -> ChildConnection:
        return await ChildConnection.connect(child, self._key, self._config)


async def _unless_silent(connection: ChildConnection, work: Callable[[ChildConnection], Awaitable[T]]) -> T:
    """Do it, unless the child stops answering: then raises `EngineUnavailable`."""
    if connection.heartbeat.silent:
        raise _no_answer()
    doing = asyncio.ensure_future(work(connection))
    silent = asyncio.ensure_future(connection.heartbeat.until_silent())
    try:
        await asyncio.wait({doing, silent}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
    finally:
        await end(silent)
        await end(doing)
    raise _no_answer()


def _no_answer() -> EngineUnavailable:
    return EngineUnavailable(
        "The local model's process does not answer at the moment. Please try again later.",
        retry_after=ceil(limits.ENGINE_HANG_TIMEOUT / 2),
    )
