"""The built-in engine when things go wrong: full, crashed, hung, abandoned."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from antiphon.domain.errors import EngineFailed, EngineUnavailable, Overloaded, SetupError
from antiphon.engines.llama.config import LlamaConfig
from antiphon.engines.llama.engine import LlamaEngine
from antiphon.protocol.generation import Delta, Finish, Generation, Sampling
from contract.engine_contract import Run, asking, collect, finish_of
from contract.llama import SHALLOW, config, loop, started

#: SmolLM2's <|im_end|> is banned, so that the answer is as long as it may be.
LONG = asking("Tell me a story.", sampling=Sampling(max_tokens=900, logit_bias={2: -100.0}))
SHORT = asking("Hi", sampling=Sampling(max_tokens=3))


@pytest.fixture
def run() -> Iterator[Run]:
    with loop() as run:
        yield run


async def slots_in_use(engine: LlamaEngine) -> int:
    import msgspec

    client = (await engine._child.connection()).client
    _, body = await client._call("GET", "/slots")
    return sum(slot["is_processing"] for slot in msgspec.json.decode(body))


def test_a_full_queue_refuses_and_a_place_comes_back(run: Run) -> None:
    async def main(engine: LlamaEngine) -> None:
        streams = [await engine.generate(LONG) for _ in range(2)]
        await anext(streams[0])
        with pytest.raises(Overloaded) as refused:
            await engine.generate(SHORT)
        assert 1 <= (refused.value.retry_after or 0) <= 30
        await streams[1].aclose()
        waiting = await engine.generate(SHORT)
        await streams[0].aclose()
        assert [delta async for delta in waiting]

    with started(run, SHALLOW, slots=1, queue=1) as engine:
        run(main(engine))


def test_a_refused_generation_keeps_no_place(run: Run) -> None:
    async def main(engine: LlamaEngine) -> None:
        for _ in range(3):
            with pytest.raises(Exception, match="maximum context length"):
                await engine.generate(asking("word " * 2000))
            (await engine.generate(SHORT)).__del__()  # forgotten before it was read
        await collect(engine, SHORT)

    with started(run, SHALLOW, slots=1, queue=0) as engine:
        run(main(engine))


def test_closing_frees_the_childs_slot_within_a_token(run: Run) -> None:
    async def main(engine: LlamaEngine) -> float:
        async with aclosing(await engine.generate(LONG)) as stream:
            for _ in range(3):
                await anext(stream)
            assert await slots_in_use(engine) == 1
        closed = time.perf_counter()
        while await slots_in_use(engine):  # it answers between two tokens
            pass
        return time.perf_counter() - closed

    with started(run, SHALLOW, slots=1) as engine:
        assert run(main(engine)) < 1.0


async def outcome(engine: LlamaEngine, generation: Generation) -> list[Delta] | EngineFailed:
    try:
        return await collect(engine, generation)
    except EngineFailed as error:
        return error


def test_a_crash_under_load_fails_what_runs_and_nothing_else(run: Run) -> None:
    async def main(engine: LlamaEngine) -> None:
        first = engine.pid
        assert first is not None
        streams = [await engine.generate(LONG) for _ in range(2)]
        for stream in streams:
            await anext(stream)
        waiting = asyncio.create_task(outcome(engine, SHORT))
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        for stream in streams:
            with pytest.raises(EngineFailed, match="ended in the middle"):
                async for _ in stream:
                    pass
        late = [asyncio.create_task(outcome(engine, SHORT)) for _ in range(4)]
        for task in late:
            assert isinstance((await task)[-1], Finish)  # type: ignore[index]  # an error has no last delta
        assert not isinstance(await waiting, EngineFailed)
        assert engine.pid != first
        assert await engine.ready()

    with started(run, SHALLOW) as engine:
        run(main(engine))


def test_a_child_that_hangs_is_replaced(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(engine: LlamaEngine) -> None:
        first = engine.pid
        assert first is not None
        stream = await engine.generate(LONG)
        await anext(stream)
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(EngineFailed) as failed:
            async for _ in stream:
                pass
        assert failed.value.code == "engine_timeout"
        await collect(engine, SHORT)
        assert engine.pid != first

    monkeypatch.setattr("antiphon.domain.limits.ENGINE_TOKEN_TIMEOUT", 2.0)
    with started(run, SHALLOW, slots=1) as engine:
        run(main(engine))


def test_stop_leaves_no_process_and_fails_what_runs(run: Run) -> None:
    async def main() -> int:
        engine = LlamaEngine(config(SHALLOW))
        stream = await engine.generate(LONG)  # started by the first request
        await anext(stream)
        pid = engine.pid
        assert pid is not None
        await engine.stop()
        with pytest.raises(EngineFailed):
            async for _ in stream:
                pass
        return pid

    assert not psutil.pid_exists(run(main()))


ORPHAN = """
import asyncio, sys
from pathlib import Path
from antiphon.engines.llama.config import LlamaConfig
from antiphon.engines.llama.engine import LlamaEngine
async def main():
    engine = LlamaEngine(LlamaConfig(model=Path(sys.argv[1]), name="m", slots=1, context=256))
    await engine.start()
    print(engine.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_the_child_does_not_outlive_its_parent(run: Run) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, str(config(SHALLOW).model)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent, parent.stdout as out:
        child = psutil.Process(int(out.readline()))
        assert child.is_running()
        parent.kill()
        parent.wait()
        child.wait(2)  # raises if it is still there
    assert not child.is_running()


def test_a_missing_model_says_what_to_run(run: Run, tmp_path: Path) -> None:
    engine = LlamaEngine(LlamaConfig(model=tmp_path / "none.gguf", name="some-model"))
    with pytest.raises(SetupError, match="antiphon models pull some-model"):
        run(engine.start())
    assert not run(engine.ready())
    run(engine.stop())


def test_a_broken_model_is_unavailable_and_names_no_path(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + bytes(200))
    engine = LlamaEngine(LlamaConfig(model=file, name="broken"))
    with pytest.raises(EngineUnavailable) as unavailable:
        run(engine.start())
    assert str(tmp_path) not in unavailable.value.message
    run(engine.stop())


def test_pinning_and_threads_reach_the_child(run: Run) -> None:
    cpu = min(os.sched_getaffinity(0))
    with started(run, SHALLOW, slots=1, pinning=(cpu,), threads=1) as engine:
        assert psutil.Process(engine.pid).cpu_affinity() == [cpu]
        assert finish_of(run(collect(engine, SHORT))).usage.output_tokens > 0
