"""Servers that stand still and go on, and clocks that are set: nothing is lost, made twice, or taken from others."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from bench.chaos_server import Process, running

from antiphon.domain import limits
from antiphon.engines.scripted import ScriptedEngine
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Finish, TextDelta, Usage
from antiphon.run.clock import SystemClock
from conformance.sequence import check_sequence
from support.gate import ScriptGate, until
from support.inside import store_at
from support.serving import serving

DAY = 24 * 3600
#: In place of six seconds, so that a pause need not take long.
LEASE = 0.6
WORDS = 40
TEXT = "".join(f"w{number} " for number in range(WORDS))


def client(server: Process) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0, timeout=60)


def stream(server: Process, begun: threading.Barrier, **options: Any) -> list[Any]:
    """All events of a response that is streamed."""
    events = []
    for event in client(server).responses.create(model="gpt-5-mini", input="hi", stream=True, **options):
        events.append(event)
        if len(events) == 8:
            begun.wait(30)
    return events


def said(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


@contextmanager
def paused(server: Process) -> Iterator[None]:
    """The process stands still, as on a laptop that sleeps or in a machine that is paused."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


def test_a_server_that_stands_still_goes_on_with_all_that_it_made(tmp_path: Path, database: str) -> None:
    kinds: list[dict[str, Any]] = [{}, {"store": False}, {"background": True}, {"background": True}] * 2
    with running(Process(tmp_path, database=database, pace=0.03, words=WORDS, lease=LEASE)) as server:
        begun = threading.Barrier(len(kinds) + 1)
        with ThreadPoolExecutor(len(kinds)) as pool:
            streams = [pool.submit(stream, server, begun, **kind) for kind in kinds]
            begun.wait(30)
            for _ in range(2):
                with paused(server):
                    time.sleep(3 * LEASE)
            for each in streams:
                events = each.result(30)
                check_sequence([event.model_dump(exclude_unset=True) for event in events])
                assert events[-1].type == "response.completed"
                assert said(events) == TEXT
    url = database or f"sqlite:///{tmp_path / 'antiphon.db'}"
    rows = store_at(url, lambda store: store._database.read(_ledger))
    assert rows == [(200, WORDS)] * len(kinds), "each is paid for once"


def _ledger(session: Any) -> list[tuple[int, int]]:
    session._cursor.execute("SELECT status, output_tokens FROM ledger WHERE input_tokens > 0", {})
    return [tuple(row) for row in session._cursor.fetchall()]


def test_what_a_sleeping_server_made_is_taken_over_and_it_notices(tmp_path: Path, postgres_url: str) -> None:
    first = Process(tmp_path / "one", database=postgres_url, pace=0.03, words=WORDS, lease=LEASE)
    (tmp_path / "two").mkdir(mode=0o700)
    for name in ("secret.key", "default.key"):
        shutil.copy(tmp_path / "one" / name, tmp_path / "two" / name)
    with running(first):
        made = [client(first).responses.create(model="gpt-5-mini", input="hi", background=True).id for _ in range(4)]
        until(lambda: client(first).responses.retrieve(made[-1]).status == "in_progress", "they are begun")
        with running(Process(tmp_path / "two", database=postgres_url, pace=0.03, words=WORDS, lease=LEASE)) as second:
            there = client(second)
            with paused(first):
                followed = [list(there.responses.retrieve(each, stream=True)) for each in made]
            for events in followed:
                check_sequence([event.model_dump(exclude_unset=True) for event in events])
                assert said(events) == TEXT
            # The first one is there again, and makes what it is asked.
            assert client(first).responses.create(model="gpt-5-mini", input="hi").output_text == TEXT
            again = [list(client(first).responses.retrieve(each, stream=True)) for each in made]
            assert [[event.to_json() for event in events] for events in again] == [
                [event.to_json() for event in events] for events in followed
            ]


class Wall:
    """The wall clock of every server in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wrong = 0.0
        now = SystemClock.now
        monkeypatch.setattr(SystemClock, "now", lambda clock: now(clock) + self.wrong)


def test_a_clock_that_jumps_costs_nothing(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE", LEASE)
    monkeypatch.setattr(limits, "LEASE_RENEWAL", LEASE / 3)
    monkeypatch.setattr(limits, "CLAIM_TICK", 0.05)
    monkeypatch.setattr(limits, "SWEEP_TICK", 0.05)
    wall = Wall(monkeypatch)
    gate = ScriptGate()
    steps = [TextDelta("a"), gate.step(), TextDelta("b"), Finish("stop", Usage(1, 0, 2))]
    engine = ScriptedEngine(lambda _: steps, capabilities=Capabilities(context_tokens=10_000))
    url = database or f"sqlite:///{tmp_path / 'antiphon.db'}"
    with serving(engine, tmp_path, database=url) as served, ThreadPoolExecutor(1) as pool:
        sdk = served.client(timeout=30)
        made = sdk.responses.create(model="gpt-5-mini", input="hi", background=True)
        talk = sdk.conversations.create()
        listened = pool.submit(
            lambda: list(sdk.responses.create(model="gpt-5-mini", input="hi", stream=True, conversation=talk.id))
        )
        until(lambda: len(engine.asked) == 2, "both are begun")
        for wrong in (2 * DAY, 0.0, -2 * DAY, 0.0):
            wall.wrong = wrong
            time.sleep(2 * LEASE)
            with pytest.raises(openai.ConflictError):  # a turn is a turn
                sdk.responses.create(model="gpt-5-mini", input="hi", conversation=talk.id)
        gate.open()
        assert listened.result(30)[-1].type == "response.completed"
        until(lambda: sdk.responses.retrieve(made.id).status == "completed", "it is made")
        assert len(engine.asked) == 2
        wall.wrong = 2 * DAY
        time.sleep(4 * limits.SWEEP_TICK)
        # Neither it nor its log has been swept away, although they look old.
        assert list(sdk.responses.retrieve(made.id, stream=True))[-1].type == "response.completed"


def test_idempotency_keys_outlive_a_clock_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = Wall(monkeypatch)
    engine = ScriptedEngine(lambda _: [TextDelta("a"), Finish("stop", Usage(1, 0, 2))])
    with serving(engine, tmp_path) as served:
        answers = set()
        for wrong in (0.0, 2 * DAY, -2 * DAY, 0.0):
            wall.wrong = wrong
            made = served.client().responses.create(
                model="gpt-5-mini", input="hi", extra_headers={"Idempotency-Key": "k"}
            )
            answers.add(made.id)
        assert len(answers) == len(engine.asked) == 1
