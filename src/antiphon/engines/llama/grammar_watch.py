"""Checks that an answer keeps to its grammar while it is made.

llama.cpp goes on without a grammar when the grammar becomes too large for it in the middle of an answer, and says so to
its log only. So each piece of text that it makes is put to the same grammar beside it. The first pieces are shown only
when they are known to be right; later ones are checked while the next are made, and the end waits for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed, EngineUnavailable
from antiphon.domain.ids import new_id
from antiphon.engines.schemas.checker import TooComplex
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.telemetry.logs import logger
from antiphon.telemetry.metrics import Count

_log = logger(__name__)


class GrammarLost(EngineFailed):
    """The engine has gone on without the grammar that it was given (500)."""

    code = "grammar_lost"


class GrammarWatch:
    """One answer under one grammar, which is known to compile."""

    def __init__(self, worker: SchemaWorker, grammar: str, lost: Count) -> None:
        """`lost`: counts answers that broke their grammar."""
        self._worker = worker
        self._grammar = grammar
        self._lost = lost
        self._name = new_id("watch_")
        self._text = ""
        self._pieces = 0
        #: Bytes of the text that are known to be right.
        self._right = 0
        self._checked = 0
        self._checking: asyncio.Task[None] | None = None
        self._given_up = False

    async def take(self, content: str) -> None:
        """More of the answer. Raises `GrammarLost` as soon as it is known to break its grammar."""
        self._text += content
        self._pieces += 1
        if self._checking is not None and self._checking.done():
            done, self._checking = self._checking, None
            done.result()
        if self._pieces <= limits.WATCHED_FIRST:
            await self._check(end=False)
        elif self._checking is None:
            self._checking = asyncio.create_task(self._check(end=False), name="watch")

    async def finish(self, *, whole: bool) -> None:
        """The answer is at its end; `whole`: it has come there by itself. Raises `GrammarLost`."""
        if self._checking is not None:
            await self._checking
            self._checking = None
        await self._check(end=whole)

    async def close(self) -> None:
        """End a check that is under way."""
        if self._checking is not None:
            self._checking.cancel()
            with suppress(asyncio.CancelledError, EngineFailed):
                await self._checking
            self._checking = None

    async def _check(self, *, end: bool) -> None:
        if self._given_up or (self._checked == len(self._text) and not end):
            return
        size, grammar = len(self._text), None if self._checked else self._grammar
        try:
            result = await self._worker.watch(
                self._name, self._right, self._text[self._checked : size], end=end, grammar=grammar
            )
            if "lost" in result:  # another process than before
                result = await self._worker.watch(self._name, 0, self._text[:size], end=end, grammar=self._grammar)
        except (TooComplex, EngineUnavailable):
            # What is said is still checked against its schema at the end.
            self._given_up = True
            _log.warning("an answer can no longer be watched", grammar_size=len(self._grammar))
            return
        if result.get("error"):
            self._lost.value += 1
            _log.error("the engine broke a grammar", problem=result["error"], grammar_size=len(self._grammar))
            raise GrammarLost("The local model's engine did not keep to what the answer must be.")
        self._right += len(self._text[self._checked : size].encode())
        self._checked = size


@asynccontextmanager
async def watching(worker: SchemaWorker, grammar: str | None, lost: Count) -> AsyncIterator[GrammarWatch | None]:
    """A watch over an answer, or None for one without a grammar."""
    if grammar is None:
        yield None
        return
    watch = GrammarWatch(worker, grammar, lost)
    try:
        yield watch
    finally:
        await watch.close()
