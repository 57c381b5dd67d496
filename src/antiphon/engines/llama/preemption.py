"""An answer that grows within the tokens that all slots share.

How long an answer becomes is not known beforehand. Reserving all that it may take would make requests wait for one
another; so an answer begins with some tokens and takes more as it grows. When none are left, it is preempted: it gives
its slot back, waits at the front of the queue, and later goes on from its tokens; its client sees a pause. An answer
under a grammar cannot go on from its middle: it ends there, as answers do that fill the model's context.

The child notices late that a completion was left, and draws some more tokens meanwhile. If these fill its cache, it
breaks off every answer. One that can go on from its tokens is preempted then, like any other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.engines.llama import resume
from antiphon.engines.llama.child_connection import ChildConnection
from antiphon.engines.llama.client import BrokenOff, Chunk
from antiphon.engines.llama.resume import Piece
from antiphon.engines.llama.slots import SlotTicket
from antiphon.tasks import end

Body = dict[str, Any]
#: Asks the child for a completion.
Ask = Callable[[Body], AsyncGenerator[Chunk, None]]


def tokens_of(body: Mapping[str, Any], drawn: int = 0) -> int:
    """Tokens of the pool that a completion needs which has `drawn` tokens: these and some more, up to its limit."""
    prompt: list[int] = body["prompt"]
    most: int = body["n_predict"]
    return len(prompt) + min(drawn + limits.ENGINE_ANSWER_STEP, most)


class PreemptibleCompletion:
    """Runs completions of one request with what its ticket holds."""

    def __init__(self, ticket: SlotTicket, connection: Callable[[], Awaitable[ChildConnection]]) -> None:
        self._ticket = ticket
        self._connection = connection

    def run(self, body: Mapping[str, Any], ask: Ask) -> AsyncGenerator[Chunk, None]:
        """The chunks of a completion, each with the tokens of all that was drawn."""
        return _ahead(self._run(body, ask))

    async def _run(self, body: Mapping[str, Any], ask: Ask) -> AsyncGenerator[Chunk, None]:
        whole = dict(body)
        resumable = "grammar" not in whole
        if resumable:
            whole["return_tokens"] = True
        rest, made, before, futile = whole, list[Piece](), 0, 0
        if not self._ticket.grow(tokens_of(whole)):  # it has a slot for another prompt, which was shorter
            self._ticket.yield_slot()
            await self._ticket.acquire(tokens_of(whole), first=True)
        while True:
            try:
                async with aclosing(ask(rest)) as chunks:
                    async for raw in chunks:
                        chunk = _shifted(raw, before)
                        if resumable:
                            made.append(Piece(chunk.content, chunk.tokens, chunk.tokens_predicted))
                        if chunk.stop:
                            self._ticket.empty()
                        yield chunk
                        if chunk.stop:
                            return
                        if not self._room(whole, chunk.tokens_predicted):
                            break
            except BrokenOff:
                futile = 0 if made and made[-1].drawn > before else futile + 1
                if not resumable or futile > limits.ENGINE_FUTILE_TRIES:
                    raise
            if not resumable:
                self._ticket.empty()
                yield Chunk(stop=True, stop_type="limit", tokens_predicted=chunk.tokens_predicted)
                return
            self._ticket.yield_slot()
            made = resume.shown(made)
            before = made[-1].drawn if made else 0
            tokens = await resume.tokens((await self._connection()).client, made)
            await self._ticket.acquire(tokens_of(whole, before), first=True)
            rest = {**whole, "prompt": [*whole["prompt"], *tokens], "n_predict": whole["n_predict"] - before}

    def _room(self, body: Body, drawn: int) -> bool:
        """Whether there is room for the next token."""
        if len(body["prompt"]) + drawn < self._ticket.tokens:
            return True
        return self._ticket.grow(tokens_of(body, drawn))


async def _ahead(chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
    """The same chunks, taken from the child as soon as they are made.

    The child does not wait for a slow reader. What it has drawn must be known at once, or it would draw more than there
    is room for, at the cost of everybody. What is kept meanwhile is at most one answer.
    """
    made: deque[Chunk] = deque()
    news = asyncio.Event()

    async def take() -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    made.append(chunk)
                    news.set()
        finally:
            news.set()

    taking = asyncio.create_task(take())
    try:
        while True:
            while made:
                yield made.popleft()
            if taking.done():
                taking.result()
                return
            news.clear()
            await news.wait()
    finally:
        await end(taking)


def _shifted(chunk: Chunk, before: int) -> Chunk:
    """A chunk that counts the tokens that were drawn before."""
    return msgspec.structs.replace(chunk, tokens_predicted=chunk.tokens_predicted + before) if before else chunk
