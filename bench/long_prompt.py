"""An answer beside a long prompt that is being read: how much of its speed it keeps, and what the prompt pays.

One engine with two slots. Each round measures a prompt alone, an answer alone, and the same answer beside the same
prompt. Ratios are medians over the rounds, so that whatever else the machine does matters less.

    python -m bench.long_prompt [--model NAME] [--rounds N] [--prompt TOKENS]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import psutil

from antiphon.engines.llama.config import BATCH, LlamaConfig
from antiphon.engines.llama.engine import LlamaEngine
from antiphon.models import catalog, pull
from antiphon.protocol.generation import Finish, Generation, Message, Sampling, TextDelta, TextPart
from antiphon.settings.engine import user_models_dir

#: The least of its speed that an answer must keep beside a prompt.
TARGET = 1 / 3
#: Seconds for which an answer's speed alone is measured.
ALONE = 8.0
WORDS = ("river", "stone", "light", "seven", "paper", "green", "winter", "house", "music", "north")


@dataclass(frozen=True)
class Round:
    """Tokens per second: of an answer and of a prompt, alone and beside each other."""

    answer_alone: float
    prompt_alone: float
    answer_beside: float
    prompt_beside: float


def asked(name: str, text: str, tokens: int) -> Generation:
    """A request without a seed, so that it may use what is cached."""
    return Generation(
        name, (Message("user", (TextPart(text),)),), sampling=Sampling(temperature=1.0, max_tokens=tokens)
    )


def long_text(tokens: int) -> str:
    """About so many tokens, new ones each time, so that nothing of them is cached."""
    return " ".join(random.choice(WORDS) for _ in range(tokens))


class Answerer:
    """A long answer, read all the time; counts its pieces."""

    def __init__(self, engine: LlamaEngine) -> None:
        self._engine = engine
        self.pieces = 0
        self.begun = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            story = asked(self._engine.name, "Count to ten thousand in words: one, two, three", 3000)
            async with aclosing(await self._engine.generate(story)) as stream:
                async for delta in stream:
                    if isinstance(delta, TextDelta):
                        self.pieces += 1
                        self.begun.set()

    async def end(self) -> None:
        """Break it off."""
        self.task.cancel()
        await asyncio.wait({self.task})


async def read(engine: LlamaEngine, tokens: int) -> tuple[int, float]:
    """Have a prompt read; its tokens, and the seconds that it took."""
    began = time.perf_counter()
    read_tokens = 0
    async with aclosing(await engine.generate(asked(engine.name, long_text(tokens), 1))) as stream:
        async for delta in stream:
            if isinstance(delta, Finish):
                read_tokens = delta.usage.input_tokens - delta.usage.cached_tokens
    return read_tokens, time.perf_counter() - began


async def measure(engine: LlamaEngine, tokens: int) -> Round:
    """One round."""
    count, took = await read(engine, tokens)
    prompt_alone = count / took
    answering = Answerer(engine)
    await answering.begun.wait()
    before = answering.pieces
    await asyncio.sleep(ALONE)
    answer_alone = (answering.pieces - before) / ALONE
    before = answering.pieces
    count, took = await read(engine, tokens)
    beside = (answering.pieces - before) / took
    await answering.end()
    return Round(answer_alone, prompt_alone, beside, count / took)


async def main() -> int:
    """Measure, print, and say by the exit status whether an answer keeps its third."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=catalog.DEFAULT)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=4000)
    parser.add_argument("--context", type=int, default=32_768)
    parser.add_argument("--batch", type=int, default=BATCH)
    given = parser.parse_args()
    model = catalog.find(given.model)
    path = pull.ensure(model, Path(user_models_dir()))
    engine = LlamaEngine(
        LlamaConfig(model=path, name=model.name, slots=2, context=given.context, batch=given.batch, chat=model.chat)
    )
    await engine.start()
    rounds = []
    try:
        for number in range(given.rounds):
            rounds.append(await measure(engine, given.prompt))
            print(f"round {number + 1}: {shown(rounds[-1])}", flush=True)
        assert engine.pid is not None
        memory = psutil.Process(engine.pid).memory_info().rss
    finally:
        await engine.stop()
    ratio = statistics.median(each.answer_beside / each.answer_alone for each in rounds)
    pays = statistics.median(each.prompt_beside / each.prompt_alone for each in rounds)
    print(f"an answer keeps {ratio:.2f} of its speed beside a prompt of {given.prompt} tokens (target {TARGET:.2f})")
    print(f"the prompt is read at {pays:.2f} of its speed meanwhile; the process takes {memory / 1e6:.0f} MB")
    return 0 if ratio >= TARGET else 1


def shown(each: Round) -> str:
    """A round in one line."""
    return (
        f"answer {each.answer_alone:.1f} tokens/s alone, {each.answer_beside:.1f} beside; "
        f"prompt {each.prompt_alone:.0f} tokens/s alone, {each.prompt_beside:.0f} beside"
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
