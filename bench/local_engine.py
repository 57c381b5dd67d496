"""The local model through Antiphon against bare xllamacpp: tokens per second, and time to the first token.

Three sides hold the same model with four slots, each in processes of its own: `bare` (xllamacpp's own HTTP port),
`engine` (`LlamaEngine`, in this process) and `api` (`antiphon serve`). They take turns, round by round, so that
whatever else the machine does hits all of them alike; ratios are medians over the rounds. Only one works at a time.

    python -m bench.local_engine [--model NAME] [--rounds N] [--sides bare,engine,api]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from antiphon.datadir import DataDir
from antiphon.engines.llama.config import LlamaConfig
from antiphon.engines.llama.engine import LlamaEngine
from antiphon.models import catalog, pull
from antiphon.protocol.generation import Finish, Generation, Message, Sampling, TextDelta, TextPart
from antiphon.settings.engine import user_models_dir

SLOTS, CONTEXT, TOKENS = 4, 1024, 96
PROMPT = "Write a very long story about a lighthouse keeper, a ship and a storm."
RATE_TARGET, FIRST_TARGET = 0.95, 15.0


@dataclass(frozen=True)
class Answer:
    """`first`, `last`: seconds to the first and the last token. `tokens`: how many there were."""

    first: float
    last: float
    tokens: int


#: Asks for one answer of TOKENS tokens.
Ask = Callable[[], Any]


@dataclass(frozen=True)
class Round:
    """`one`, `four`: generated tokens per second with one client and with four. `first`: ms to the first token."""

    one: float
    four: float
    first: float


async def measure(ask: Ask) -> Round:
    """One round: one client, then four."""
    alone = await ask()
    began = time.perf_counter()
    together = await asyncio.gather(*(ask() for _ in range(SLOTS)))
    took = time.perf_counter() - began
    return Round(
        one=(alone.tokens - 1) / (alone.last - alone.first),
        four=sum(answer.tokens for answer in together) / took,
        first=alone.first * 1000,
    )


# --- the sides --------------------------------------------------------------------------------------------------------
async def over_http(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Answer:
    """One streamed chat completion."""
    began = time.perf_counter()
    first = last = 0.0
    tokens = 0
    async with session.post(f"{url}/chat/completions", json=body) as answer:
        if answer.status != 200:
            raise RuntimeError(await answer.text())
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                tokens = chunk["usage"]["completion_tokens"]
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                last = time.perf_counter() - began
                first = first or last
    return Answer(first, last, tokens)


def chat(model: str, **more: Any) -> dict[str, Any]:
    """The request of both HTTP sides."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }


@asynccontextmanager
async def http_session(key: str) -> AsyncIterator[aiohttp.ClientSession]:
    """llama.cpp closes its connection after each stream, so none is used twice on either side."""
    connector = aiohttp.TCPConnector(force_close=True)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield session


@asynccontextmanager
async def bare(config: LlamaConfig) -> AsyncIterator[Ask]:
    """xllamacpp's server, and nothing of ours."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.local_engine", "--serve-bare", str(config.model)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    address = (await process.stdout.readline()).decode().strip()
    body = chat(config.name, top_k=config.chat.top_k, min_p=config.chat.min_p)
    try:
        async with http_session("bench") as session:
            yield lambda: over_http(session, f"{address}/v1", body)
    finally:
        process.kill()
        await process.wait()


def serve_bare(model: str) -> None:
    """The bare side's process: it ends with its stdin."""
    os.environ |= {"GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "passive"}
    from xllamacpp import CommonParams, Server  # after the environment is set, as in the engine's child

    params = CommonParams()
    params.model.path = model
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * CONTEXT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = len(os.sched_getaffinity(0))
    params.fit_params, params.ui, params.verbosity = False, False, 1
    params.cache_ram_mib = 256
    params.api_keys = ["bench"]
    server = Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


@asynccontextmanager
async def engine(config: LlamaConfig) -> AsyncIterator[Ask]:
    """The engine without the API around it."""
    generation = Generation(
        config.name,
        (Message("user", (TextPart(PROMPT),)),),
        sampling=Sampling(temperature=0, max_tokens=TOKENS),
    )
    made = LlamaEngine(config)

    async def ask() -> Answer:
        began = time.perf_counter()
        first = last = 0.0
        tokens = 0
        async with aclosing(await made.generate(generation)) as stream:
            async for delta in stream:
                if isinstance(delta, TextDelta):
                    last = time.perf_counter() - began
                    first = first or last
                elif isinstance(delta, Finish):
                    tokens = delta.usage.output_tokens
        return Answer(first, last, tokens)

    await made.start()
    try:
        yield ask
    finally:
        await made.stop()


@asynccontextmanager
async def api(config: LlamaConfig) -> AsyncIterator[Ask]:
    """The whole of `antiphon serve`."""
    settings = {
        "ANTIPHON_PORT": "0",
        "ANTIPHON_MODEL": config.name,
        "ANTIPHON_SLOTS": str(SLOTS),
        "ANTIPHON_CONTEXT": str(CONTEXT),
    }
    with tempfile.TemporaryDirectory() as directory:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "antiphon", "serve", "--data-dir", directory),
            env={**os.environ, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url, key = await _reachable(DataDir(Path(directory), create=False), process)
            async with http_session(key) as session:
                await _until_ready(session, url)
                yield lambda: over_http(session, f"{url}/v1", chat(config.name))
        finally:
            process.terminate()
            await process.wait()


async def _reachable(data: DataDir, process: asyncio.subprocess.Process) -> tuple[str, str]:
    """The server's address and key, once it has written them."""
    for _ in range(300):
        info, key = data.running(), data.default_key()
        if info is not None and key is not None:
            return f"http://{info.host}:{info.port}", key
        if process.returncode is not None:
            break
        await asyncio.sleep(0.1)
    raise RuntimeError("antiphon serve did not start")


async def _until_ready(session: aiohttp.ClientSession, url: str) -> None:
    for _ in range(600):
        async with session.get(f"{url}/readyz") as answer:
            if answer.status == 200:
                return
        await asyncio.sleep(0.1)
    raise RuntimeError("the model did not load")


SIDES = {"bare": bare, "engine": engine, "api": api}


# --- the comparison ---------------------------------------------------------------------------------------------------
async def compare(config: LlamaConfig, names: list[str], rounds: int) -> dict[str, list[Round]]:
    """Rounds of each side; the first one of all is not counted."""
    results: dict[str, list[Round]] = {name: [] for name in names}
    async with AsyncExitStack() as stack:
        asks = {name: await stack.enter_async_context(SIDES[name](config)) for name in names}
        for number in range(rounds + 1):
            # Another side begins each time: none always works on cores that another has just warmed up.
            shift = number % len(names)
            for name in [*names[shift:], *names[:shift]]:
                result = await measure(asks[name])
                if number:
                    results[name].append(result)
    return results


def report(results: dict[str, list[Round]]) -> bool:
    """Print figures and ratios; whether the targets are met (by the API, where it was measured)."""
    for name, rounds in results.items():
        one, four, first = (
            statistics.median(getattr(each, key) for each in rounds) for key in ("one", "four", "first")
        )
        print(
            f"{name:>7}: {one:6.1f} tokens/s with 1 client, {four:6.1f} with {SLOTS}, first token after {first:6.1f} ms"
        )
    met = True
    for name, rounds in results.items():
        if name == "bare":
            continue
        pairs = list(zip(rounds, results["bare"], strict=True))
        one = statistics.median(ours.one / theirs.one for ours, theirs in pairs)
        four = statistics.median(ours.four / theirs.four for ours, theirs in pairs)
        later = statistics.median(ours.first - theirs.first for ours, theirs in pairs)
        print(f"{name} / bare: {one:.3f} with 1 client, {four:.3f} with {SLOTS}; first token {later:+.1f} ms")
        met = one >= RATE_TARGET and four >= RATE_TARGET and later <= FIRST_TARGET
    verdict = "met" if met else "MISSED"
    print(f"target: at least {RATE_TARGET} and {RATE_TARGET}, at most +{FIRST_TARGET:.0f} ms: {verdict}")
    return met


def main() -> int:
    """Compare; exit status 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default=catalog.DEFAULT)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--serve-bare", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_bare:
        serve_bare(options.serve_bare)
        return 0
    model = catalog.find(options.model)
    path = pull.ensure(model, Path(os.environ.get("ANTIPHON_MODELS_DIR") or user_models_dir()))
    config = LlamaConfig(model=path, name=model.name, slots=SLOTS, context=CONTEXT, chat=model.chat)
    print(f"local engine: {model.name}, {TOKENS} tokens per answer, {options.rounds} interleaved rounds")
    results = asyncio.run(compare(config, options.sides.split(","), options.rounds))
    return 0 if report(results) else 1


if __name__ == "__main__":
    sys.exit(main())
