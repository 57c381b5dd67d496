"""An engine that plays a script: for tests, for benchmarks, and for trying an application without a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from antiphon.domain.errors import EngineFailed
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Delta, Finish, Generation, Message, Progress, TextDelta, Usage

#: What a script holds: deltas to say, errors to raise, events to wait for.
Step = Delta | BaseException | asyncio.Event
Script = Callable[[Generation], Sequence[Step]]


def saying(text: str, *, pieces: int = 1, input_tokens: int = 8) -> Script:
    """A script that says `text` in so many pieces, whatever it is asked."""
    size = max(1, -(-len(text) // pieces))
    parts = [TextDelta(text[start : start + size]) for start in range(0, len(text), size)]
    steps: list[Step] = [*parts, Finish("stop", Usage(input_tokens=input_tokens, output_tokens=len(parts)))]
    return lambda _: steps


def echo(generation: Generation) -> Sequence[Step]:
    """A script that says the last user message again, word by word."""
    said = [turn.text for turn in generation.turns if isinstance(turn, Message) and turn.role == "user"]
    words = (said[-1] if said else "").split(" ")
    deltas = [TextDelta(word if not index else f" {word}") for index, word in enumerate(words)]
    return [*deltas, Finish("stop", Usage(input_tokens=_words(generation), output_tokens=len(words)))]


def _words(generation: Generation) -> int:
    """Words of the whole conversation: what is a token here."""
    return sum(len(turn.text.split()) for turn in generation.turns if isinstance(turn, Message))


class ScriptedEngine:
    """Plays a script for each generation. `admit` may raise before anything is generated, as a real engine does.

    `pace` is the time between two deltas (seconds). With the capability `continues` it can go on with an answer that
    was cut off. `asked` keeps the generations it was asked for (the last 1,000); `closed` counts those that were ended
    early.
    """

    def __init__(
        self,
        script: Script = echo,
        *,
        name: str = "scripted",
        capabilities: Capabilities | None = None,
        admit: Callable[[Generation], None] | None = None,
        pace: float = 0.0,
    ) -> None:
        self._script = script
        self._name = name
        self._capabilities = capabilities or Capabilities(context_tokens=1_000_000)
        self._admit = admit
        self._pace = pace
        self.asked: list[Generation] = []
        self.closed = 0
        self.started = False
        self._stopped = asyncio.Event()

    @property
    def name(self) -> str:
        """The model's name as answers show it."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What this engine claims it can do."""
        return self._capabilities

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Play the script from its start."""
        if self._admit is not None:
            self._admit(generation)
        self.asked.append(generation)
        del self.asked[:-1000]
        done = int(generation.progress[-1]) if generation.progress else 0
        return self._play(self._script(generation), done, track=generation.track)

    async def _play(self, steps: Sequence[Step], done: int, *, track: bool) -> AsyncGenerator[Delta, None]:
        finished = False
        try:
            for number, step in enumerate(steps[done:], start=done + 1):
                # A real engine's deltas arrive one by one, and others get their turn in between.
                await asyncio.sleep(self._pace)
                if isinstance(step, asyncio.Event):
                    await self._until(step)
                elif isinstance(step, BaseException):
                    finished = True
                    raise step
                else:
                    if track:
                        yield Progress(str(number).encode())
                    yield step
            finished = True
        finally:
            self.closed += not finished

    async def _until(self, event: asyncio.Event) -> None:
        """Wait for an event, but not beyond the engine's own end."""
        waits = [asyncio.ensure_future(each.wait()) for each in (event, self._stopped)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._stopped.is_set():
            raise EngineFailed("The engine was stopped.")

    async def check(self, generation: Generation) -> None:
        """Refuse what `admit` refuses."""
        if self._admit is not None:
            self._admit(generation)

    async def count_tokens(self, generation: Generation) -> int:
        """One token for each word of the conversation."""
        return _words(generation)

    async def start(self) -> None:
        """A script needs no preparation."""
        self.started = True
        self._stopped.clear()

    async def stop(self) -> None:
        """Generations that wait for an event fail, as those of a stopped engine must."""
        self.started = False
        self._stopped.set()

    async def ready(self) -> bool:
        """Unless it was stopped: there is nothing to load."""
        return not self._stopped.is_set()
