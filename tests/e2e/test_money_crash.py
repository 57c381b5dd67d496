"""Whoever kills the server in the middle of calls loses none of what they may have cost."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from openai import OpenAI

from support.inside import store_at
from support.real import environment

#: A server of its own process, whose engine says one word and then nothing for ever.
SERVER = """
import asyncio, sys
from pathlib import Path
from antiphon import app
from antiphon.app import core
from antiphon.datadir import DataDir
from antiphon.domain.routes import Routes
from antiphon.engines.scripted import ScriptedEngine
from antiphon.protocol.generation import TextDelta
from antiphon.settings import Settings
from support.money import DOLLAR_A_TOKEN, PricedRoute

engine = ScriptedEngine(lambda _: [TextDelta("one"), asyncio.Event()])
core.routes_of = lambda *_, **__: Routes({"scripted": PricedRoute("scripted", engine, DOLLAR_A_TOKEN)})
path = Path(sys.argv[1])
data_dir = DataDir(path)
settings = Settings(data_dir=path, port=0, database=f"sqlite:///{path / 'antiphon.db'}")
announce = lambda host, port: print(port, data_dir.default_key(), flush=True)
asyncio.run(app.run(settings, data_dir, engine, announce, asyncio.Event()))
"""


def test_spending_survives_kill_9(tmp_path: Path) -> None:
    async def limit(store: Any) -> None:
        from antiphon.domain.budgets import Budget

        await store.put_budget(Budget("b", "organization", "", "month", 10 * 10**9, True, False, 1), 1.0)

    database = f"sqlite:///{tmp_path / 'antiphon.db'}"
    store_at(database, limit)
    root = Path(__file__).resolve().parents[1]
    child = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(PYTHONPATH=f"{root}:{':'.join(sys.path)}"),
    )
    try:
        assert child.stdout is not None
        line = ""
        while not line[:1].isdigit():
            line = child.stdout.readline()
            assert line, "the server did not start"
        port, key = line.split()
        client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0)
        begun = threading.Barrier(4)

        def call() -> None:
            # How its client learns that the server is gone is not the question here.
            with contextlib.suppress(Exception):
                stream = client.chat.completions.create(
                    model="scripted", messages=[{"role": "user", "content": "x"}], max_completion_tokens=2, stream=True
                )
                for chunk in stream:
                    if chunk.choices and chunk.choices[0].delta.content:
                        begun.wait(10)

        calls = [threading.Thread(target=call) for _ in range(3)]
        for thread in calls:
            thread.start()
        begun.wait(20)
    finally:
        child.kill()
        child.wait()
    for thread in calls:
        thread.join(10)

    async def settled(store: Any) -> tuple[int, int]:
        [held] = await store.list_budgets()
        assert (held.spent, held.reserved) == (0, 6 * 10**9)
        await store.settle_lapsed(4e9, 10)
        [budget] = await store.list_budgets()
        return budget.spent, budget.reserved

    assert store_at(database, settled) == (6 * 10**9, 0)
