"""How prompts are read beside answers that are being made.

llama.cpp puts one token of each answer and as much of a prompt as fits into every step. A step with a piece of a prompt
takes many times as long as one without, so an answer beside a long prompt comes almost to a stop, and a short prompt
waits behind a long one. Therefore a prompt is read at full speed only as long as it is alone. As soon as there is
another answer, its reading is broken off (what was read stays in the slot) and goes on in small pieces, between which
the answers have the processor for themselves. Slots are chosen here, so that no other request gets one between two
pieces.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from antiphon.domain import limits
from antiphon.engines.llama.client import Chunk, Timings
from antiphon.tasks import end

Body = dict[str, Any]
#: A slot is taken again for a prompt that shares this much of its beginning with what the slot holds.
_ALIKE = 0.1
#: Weight of the newest piece in the running average of the speed.
_NEWEST = 0.3


class Completing(Protocol):
    """What is needed of the child's client."""

    def complete(self, body: Body) -> AsyncGenerator[Chunk, None]:
        """Stream a completion."""


@dataclass(slots=True, eq=False)
class _Slot:
    """`tokens`: the prompt that it was last used for."""

    number: int
    tokens: Sequence[int] = ()
    used: int = 0
    taken: bool = False


@dataclass(slots=True, eq=False)
class _Run:
    """One completion. `read`: tokens of its prompt that its slot holds; `cached`: those of them that were there before.

    `crowded` is set while others are there too.
    """

    slot: _Slot
    total: int
    read: int = 0
    cached: int | None = None
    decoding: bool = False
    crowded: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def left(self) -> int:
        """Tokens of the prompt that are still to be read."""
        return self.total - self.read


class PrefillScheduler:
    """The completions of one child. Used from one event loop. `batch`: prompt tokens that the child takes in a step."""

    def __init__(self, client: Completing, slots: int, batch: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._slots = [_Slot(number) for number in range(slots)]
        self._batch = batch
        self._clock = clock
        self._runs: set[_Run] = set()
        self._turn = asyncio.Lock()
        self._uses = 0
        #: Prompt tokens per second, as pieces were read lately.
        self._speed = 0.0

    @property
    def working(self) -> bool:
        """Whether there is any completion."""
        return bool(self._runs)

    async def complete(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """The chunks of a completion, from its first token on. `prompt` is a list of tokens."""
        with self._running(body["prompt"]) as run:
            whole: Body = {**body, "id_slot": run.slot.number, "return_progress": True}
            while True:
                async with aclosing(self._client.complete(whole)) as chunks:
                    async for chunk in self._unless_crowded(run, chunks):
                        yield self._counted(run, chunk)
                        if chunk.stop:
                            return
                if run.decoding:
                    return
                # What was read before must not be read again.
                whole = {**whole, "cache_prompt": True}
                await self._read_in_pieces(run, whole)

    async def _unless_crowded(self, run: _Run, chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
        """The chunks; none, if the reading was broken off because others are there."""
        while not run.decoding and not self._gives_way(run):
            coming = asyncio.ensure_future(anext(chunks, None))
            crowded = asyncio.ensure_future(run.crowded.wait())
            try:
                await asyncio.wait({coming, crowded}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done() and self._gives_way(run):
                    break
                chunk = await coming
            finally:
                await end(crowded)
                await end(coming)
            if chunk is None:
                return
            if chunk.prompt_progress is not None:
                run.read = chunk.prompt_progress.processed
                run.cached = chunk.prompt_progress.cache if run.cached is None else run.cached
            else:
                run.decoding = True
                yield chunk
        if not run.decoding:
            # The step that is under way is finished all the same.
            run.read = min(run.read + self._batch, run.total - 1)
            return
        async for chunk in chunks:
            yield chunk

    def _gives_way(self, run: _Run) -> bool:
        """Whether others are there, and more than a piece is left. It is not known before the child has begun."""
        return run.crowded.is_set() and run.cached is not None and run.left > self._piece()

    async def _read_in_pieces(self, run: _Run, whole: Body) -> None:
        """Read as much of the prompt as can be read in pieces, until no other answer is made."""
        while run.crowded.is_set() and run.left > self._piece():
            async with self._turn:
                size = self._piece()
                goal = run.read + size
                began = self._clock()
                piece = {
                    "prompt": whole["prompt"][:goal],
                    "n_predict": 0,
                    "cache_prompt": True,
                    "stream": True,
                    "id_slot": run.slot.number,
                }
                async with aclosing(self._client.complete(piece)) as chunks:
                    async for _ in chunks:
                        pass
                took = self._clock() - began
                run.read = goal
                self._learn(size, took)
                if any(other.decoding for other in self._runs):
                    await asyncio.sleep(min(took, limits.ENGINE_PIECE_SECONDS * 4) * limits.ENGINE_PIECE_REST)

    def _piece(self) -> int:
        """Prompt tokens that are read at once while others are there."""
        answers = any(run.decoding for run in self._runs)
        seconds = limits.ENGINE_PIECE_SECONDS if answers else limits.ENGINE_PIECE_SECONDS * 4
        return max(limits.ENGINE_PIECE_TOKENS, min(int(self._speed * seconds), self._batch))

    def _learn(self, tokens: int, seconds: float) -> None:
        speed = tokens / max(seconds, 1e-3)
        self._speed = speed if not self._speed else self._speed + _NEWEST * (speed - self._speed)

    @staticmethod
    def _counted(run: _Run, chunk: Chunk) -> Chunk:
        """A chunk that tells the tokens that were cached before this completion, not those that it read in pieces."""
        if chunk.stop and run.cached is not None:
            return msgspec.structs.replace(chunk, timings=Timings(cache_n=run.cached))
        return chunk

    # --- slots --------------------------------------------------------------------------------------------------------
    @contextmanager
    def _running(self, prompt: Sequence[int]) -> Iterator[_Run]:
        slot = self._choose(prompt)
        run = _Run(slot, len(prompt))
        self._uses += 1
        slot.taken, slot.tokens, slot.used = True, prompt, self._uses
        self._runs.add(run)
        self._tell()
        try:
            yield run
        finally:
            slot.taken = False
            self._runs.discard(run)
            self._tell()

    def _tell(self) -> None:
        """Let everyone know whether others are there."""
        for run in self._runs:
            if len(self._runs) > 1:
                run.crowded.set()
            else:
                run.crowded.clear()

    def _choose(self, prompt: Sequence[int]) -> _Slot:
        """The free slot that holds most of this prompt's beginning, else the one that was used least lately."""
        free = [slot for slot in self._slots if not slot.taken] or self._slots
        best = max(free, key=lambda slot: common_prefix(slot.tokens, prompt))
        if common_prefix(best.tokens, prompt) > _ALIKE * len(prompt):
            return best
        return min(free, key=lambda slot: slot.used)


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two prompts begin with in common. Halving, because comparing slices is quick."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
