"""The built-in engine with prompts that are long for it: shared, read beside answers, ended in their middle."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing

import msgspec
import pytest

from antiphon.domain import limits
from antiphon.domain.errors import ContextLengthExceeded, EngineFailed, EngineUnavailable
from antiphon.engines.llama.engine import LlamaEngine
from antiphon.protocol.generation import Finish, Generation, Sampling, TextDelta, Tool
from contract.engine_contract import Run, asking, collect, finish_of, text_of
from contract.llama import SHALLOW, SMALL, loop, started

#: SmolLM2's <|im_end|> is banned, so that an answer is as long as it may be.
NEVER_ENDS = {2: -100.0}
SHORT = asking("Hi", sampling=Sampling(max_tokens=3))


def long_prompt(words: int, tokens: int = 3) -> Generation:
    return asking("word " * words, sampling=Sampling(max_tokens=tokens, temperature=0))


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with loop() as run:
        yield run


@pytest.fixture(scope="module")
def engine(run: Run) -> Iterator[LlamaEngine]:
    with started(run, SHALLOW, slots=2, context=1024) as engine:
        yield engine


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what only a look can tell."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - the child is looked at
            await asyncio.sleep(0.01)


async def until_busy(engine: LlamaEngine, slots: int) -> None:
    async def so() -> bool:
        return await busy(engine) == slots

    await until(so)


async def busy(engine: LlamaEngine) -> int:
    client = (await engine._child.connection()).client
    _, body = await client._call("GET", "/slots")
    return sum(slot["is_processing"] for slot in msgspec.json.decode(body))


async def answering(engine: LlamaEngine) -> int:
    """Have an answer made for as long as this task lives; returns how many pieces came."""
    pieces = 0
    endless = asking("Tell me a story.", sampling=Sampling(max_tokens=900, logit_bias=NEVER_ENDS))
    try:
        async with aclosing(await engine.generate(endless)) as stream:
            async for delta in stream:
                pieces += isinstance(delta, TextDelta)
    except asyncio.CancelledError:
        pass
    return pieces


def test_a_short_request_need_not_wait_for_a_long_prompt(run: Run, engine: LlamaEngine) -> None:
    async def main() -> None:
        long = asyncio.create_task(collect(engine, long_prompt(900)))
        await until_busy(engine, 1)
        await collect(engine, SHORT)
        assert not long.done()
        usage = finish_of(await long).usage
        assert usage.input_tokens > 900
        assert usage.cached_tokens < 100  # pieces that it read itself are not told as cached

    run(main())


def test_an_answer_goes_on_beside_a_long_prompt_and_the_prompt_is_read_right(run: Run) -> None:
    async def main(engine: LlamaEngine) -> None:
        words = asking(
            "The code is 7351. " + "word " * 400 + "What is the code?", sampling=Sampling(max_tokens=12, temperature=0)
        )
        alone = text_of(await collect(engine, words))
        story = asyncio.create_task(answering(engine))
        await until_busy(engine, 1)
        # With a seed nothing that is cached is used, so it is read anew, in pieces.
        seeded = msgspec.structs.replace(words, sampling=msgspec.structs.replace(words.sampling, seed=1))
        beside = text_of(await collect(engine, seeded))
        story.cancel()
        assert await story > 10
        assert beside.split()[:4] == alone.split()[:4]

    with started(run, SMALL, slots=2, context=1024) as engine:  # what it answers must depend on the whole prompt
        run(main(engine))


@pytest.fixture(scope="module")
def slow_engine(run: Run) -> Iterator[LlamaEngine]:
    """One that takes seconds to read a long prompt, so that this can be seen."""
    with started(run, SMALL, slots=2, context=1024) as engine:
        yield engine


@pytest.mark.parametrize("beside", [False, True])
def test_a_prompt_is_ended_in_its_middle_alone(run: Run, slow_engine: LlamaEngine, *, beside: bool) -> None:
    engine = slow_engine

    async def main() -> None:
        story = asyncio.create_task(answering(engine)) if beside else None
        await until_busy(engine, int(beside))
        ending = asyncio.create_task(collect(engine, long_prompt(900)))
        await until_busy(engine, 1 + beside)
        ending.cancel()
        await asyncio.wait({ending})
        await until_busy(engine, int(beside))
        if story is not None:
            assert not story.done()
            story.cancel()
            await story
        await collect(engine, SHORT)

    run(main())


def test_prompts_that_do_not_fit_together_wait_for_each_other(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(engine: LlamaEngine) -> None:
        prompts = [asking(f"{number} " + "word " * 330, sampling=Sampling(max_tokens=4)) for number in range(4)]
        for deltas in await asyncio.gather(*(collect(engine, prompt) for prompt in prompts)):
            assert finish_of(deltas).usage.output_tokens > 0

    monkeypatch.setattr(limits, "ENGINE_SLOT_TOKENS", 256)
    with started(run, SHALLOW, slots=2, context=512) as engine:
        assert engine.config.pool == 512
        run(main(engine))


def test_answers_that_outgrow_the_shared_context_come_to_their_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(engine: LlamaEngine) -> None:
        asked = [asking(f"{number}", sampling=Sampling(max_tokens=140, logit_bias=NEVER_ENDS)) for number in range(3)]
        for deltas in await asyncio.gather(*(collect(engine, each) for each in asked)):
            finish = finish_of(deltas)
            assert (finish.reason, finish.usage.output_tokens) == ("length", 140)
            assert len(text_of(deltas).encode()) > 130  # a token is at least a byte
            assert "\ufffd" not in text_of(deltas)

    monkeypatch.setattr(limits, "ENGINE_SLOT_TOKENS", 128)
    monkeypatch.setattr(limits, "ENGINE_ANSWER_STEP", 32)
    with started(run, SMALL, slots=2, context=256) as engine:
        assert engine.config.pool == 256
        run(main(engine))


def test_a_refusal_tells_messages_from_functions(run: Run, engine: LlamaEngine) -> None:
    big = Tool("big", "word " * 800, {"type": "object"})
    with pytest.raises(ContextLengthExceeded) as refused:
        run(engine.check(msgspec.structs.replace(long_prompt(500), tools=(big,))))
    found = re.search(
        r"resulted in (\d+) tokens \((\d+) in the messages, (\d+) in the functions\)", refused.value.message
    )
    assert found is not None
    total, messages, functions = map(int, found.groups())
    assert total == messages + functions
    assert 500 < messages < 600
    assert 800 < functions < 1000
    assert "length of the messages or functions" in refused.value.message


def test_knobs_have_an_effect(run: Run, engine: LlamaEngine) -> None:
    def answer(**more: float) -> str:
        # With a seed nothing that is cached is used, so the same prompt gives the same numbers.
        sampling = Sampling(max_tokens=20, seed=1, **more)  # type: ignore[arg-type]
        return text_of(run(collect(engine, asking("Repeat: ho ho ho ho ho ho", sampling=sampling))))

    greedy = answer(temperature=0)
    assert answer(top_k=1) == answer(min_p=1.0) == greedy
    assert answer(temperature=0, repetition_penalty=1.9) != greedy


def test_a_template_cannot_be_told_other_messages(run: Run, engine: LlamaEngine) -> None:
    plain = run(engine.count_tokens(SHORT))
    said = {"messages": [], "add_generation_prompt": False, "bos_token": "word " * 50, "style": "brief"}
    assert run(engine.count_tokens(msgspec.structs.replace(SHORT, template=said))) == plain


def test_while_the_child_is_silent_calls_are_refused_and_what_waits_is_carried_over(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(engine: LlamaEngine) -> None:
        first = engine.pid
        assert first is not None
        running = await engine.generate(asking("Tell me a story.", sampling=Sampling(max_tokens=900)))
        await anext(running)
        waiting = asyncio.create_task(collect(engine, SHORT))
        await until(lambda: asyncio.sleep(0, bool(engine.waiting)))
        os.kill(first, signal.SIGSTOP)
        # One that is being admitted, and one that comes later.
        with pytest.raises(EngineUnavailable) as refused:
            await asyncio.wait_for(engine.generate(SHORT), 20)
        assert refused.value.retry_after
        with pytest.raises(EngineUnavailable):
            await asyncio.wait_for(engine.count_tokens(SHORT), 1)
        assert not await engine.ready()
        with pytest.raises(EngineFailed):
            async for _ in running:
                pass
        assert isinstance((await waiting)[-1], Finish)
        assert engine.pid != first

    monkeypatch.setattr(limits, "ENGINE_SILENCE", 2.0)
    monkeypatch.setattr(limits, "ENGINE_HANG_TIMEOUT", 8.0)
    with started(run, SHALLOW, slots=1) as engine:
        run(main(engine))
