"""Simulated courses of background responses: crashes, a failing database, a failing and a crowded engine, two servers
at once, machines that sleep, clocks that are set.

Whatever happens, each response that a client was told of reaches exactly one end, its events are in a legal order
without gap or duplicate, and whoever follows it sees the same bytes. A failing seed replays: `pytest -k "seed-17"`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from antiphon.domain.errors import AntiphonError, EngineFailed, Overloaded, StoreFailed
from antiphon.domain.routes import Routes
from antiphon.domain.sealing import Sealer
from antiphon.domain.tenancy import Project
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.engines.single import SingleRoute
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.ports import Capabilities, Route
from antiphon.protocol.generation import Finish, Generation, TextDelta, Usage
from antiphon.protocol.unknown import Unknown
from antiphon.run.bus import Bus
from antiphon.run.compaction import Compactor
from antiphon.run.prepare import Preparer
from antiphon.run.prompts import Prompts
from antiphon.run.tail import Poller
from conformance.sequence import check_sequence
from simulation.world import Database, Faulty, VirtualClock, VirtualLoop, play, predictable_ids
from support.calls import call_of
from support.making import Making

SEEDS = range(24)
DAY = 24 * 3600
RESPONSES = 8
WORDS = 12
ENDED = {"completed", "failed", "incomplete", "cancelled"}
PROJECT = "proj_one"


class Server:
    """One life of a server process on the shared database."""

    def __init__(self, world: World, *, rate: float) -> None:
        world.servers.append(self)
        self.store = Faulty(world.database, world.chance, rate)
        store: Any = self.store
        engine = ScriptedEngine(
            world.script,
            pace=0.05,
            capabilities=Capabilities(context_tokens=10_000, continues=world.continues),
            admit=world.admit,
        )
        self.clock = clock = VirtualClock(world.loop)
        compactor = Compactor(Sealer(bytes(32)))
        gate = Pipeline()
        routes: Routes[Route] = Routes({"m": SingleRoute("m", engine, 0)})
        preparer = Preparer(store, routes, gate, Prompts(store, clock), compactor)
        bus = Bus()
        self.bus = bus
        self.poller = Poller(store, bus)
        self.worker = Making(store, gate, preparer, bus, clock, alone=False)
        self.responses = self.worker.responses

    def crash(self) -> None:
        """End as a process does that is killed: nothing more happens, nothing is put in order."""
        self.store.dead = True


class World:
    """All that one seed decides."""

    def __init__(self, database: Database, loop: VirtualLoop, chance: random.Random) -> None:
        self.database = database
        self.loop = loop
        self.chance = chance
        self.continues = chance.random() < 0.7
        #: What clients were told: response ids, with the events they have seen.
        self.told: dict[str, bytes] = {}
        #: What waits for ever in a dead server must not be collected: that would end it.
        self.servers: list[Server] = []
        self.keep: list[asyncio.Task[None]] = []

    def script(self, _: Generation) -> Sequence[Step]:
        words: list[Step] = [TextDelta(f"w{number} ") for number in range(WORDS)]
        if self.chance.random() < 0.1:
            return [*words[: self.chance.randrange(WORDS)], EngineFailed("The engine broke.")]
        return [*words, Finish("stop", Usage(1, 0, WORDS))]

    def admit(self, _: Generation) -> None:
        if self.chance.random() < 0.2:
            raise Overloaded("The queue is full.")

    # --- clients ------------------------------------------------------------------------------------------------------
    async def client(self, server: Server) -> None:
        """Ask for a response, follow it for a while, perhaps cancel it."""
        await asyncio.sleep(self.chance.uniform(0, 2))
        body = {"model": "m", "input": "go", "background": True, "stream": True}
        try:
            accepted = await server.responses.begin_background(call_of(PROJECT), body, Unknown())
        except AntiphonError:
            return
        self.told[accepted.id] = b""
        with contextlib.suppress(StoreFailed):
            if self.chance.random() < 0.15:
                await asyncio.sleep(self.chance.uniform(0, 1))
                await server.responses.cancel(PROJECT, accepted.id)
                return
            async for chunk in await server.responses.follow(PROJECT, accepted.id, after=-1):
                self.told[accepted.id] += chunk

    # --- afterwards ---------------------------------------------------------------------------------------------------
    async def settled(self, server: Server) -> None:
        """Wait until every response that was told of has ended."""
        deadline = self.loop.now + 120
        for response_id in self.told:
            while json.loads(await server.responses.get(PROJECT, response_id))["status"] not in ENDED:
                assert self.loop.now < deadline, f"{response_id} is stuck"
                await asyncio.sleep(0.25)

    async def check(self, server: Server) -> None:
        """Look at every response once more, as a client that was away would."""
        for response_id, seen in self.told.items():
            whole = b"".join([chunk async for chunk in await server.responses.follow(PROJECT, response_id, after=-1)])
            assert whole.startswith(seen), "what was seen has changed"
            events = [json.loads(event.split(b"data: ", 1)[1]) for event in whole.split(b"\n\n") if event]
            check_sequence(events)
            final = json.loads(await server.responses.get(PROJECT, response_id))
            assert events[-1]["response"] == final
            said = "".join(event.get("delta", "") for event in events)
            expected = "".join(f"w{number} " for number in range(WORDS))
            assert said == expected if final["status"] == "completed" else expected.startswith(said)


async def course(loop: VirtualLoop, database: Database, chance: random.Random) -> None:
    """Several lives of a server, one after the other, then a quiet one that sees everything through."""
    world = World(database, loop, chance)
    for _ in range(chance.randint(1, 3)):
        server = Server(world, rate=chance.choice([0.0, 0.01, 0.04]))
        tasks = [asyncio.create_task(_start(server))]
        tasks += [asyncio.create_task(world.client(server)) for _ in range(RESPONSES // 2)]
        await asyncio.sleep(chance.uniform(0.1, 4))
        server.crash()
    quiet = Server(world, rate=0.0)
    await quiet.worker.start()
    await _disturbed(world, quiet)
    await world.settled(quiet)
    await world.check(quiet)
    await quiet.worker.stop()
    await quiet.poller.stop()
    assert all(tasks)


async def _disturbed(world: World, quiet: Server) -> None:
    """A second server beside the quiet one. Both stand still for a while, or one has its clock set, or it ends."""
    beside = Server(world, rate=0.0)
    await beside.worker.start()
    for server in (quiet, beside):
        await server.poller.start()
    here, there = (asyncio.create_task(world.client(server)) for server in (quiet, beside))
    for _ in range(world.chance.randint(0, 3)):
        await asyncio.sleep(world.chance.uniform(0.1, 3))
        match world.chance.randrange(3):
            case 0:  # all timers are late, and fire in whatever order
                world.loop.now += world.chance.uniform(5, 30)
            case 1:
                beside.clock.wrong = world.chance.choice([-2 * DAY, 0, 2 * DAY])
            case _:
                quiet.clock.wrong = world.chance.choice([-2 * DAY, 0, 2 * DAY])
    if world.chance.random() < 0.5:
        beside.crash()
    else:
        await there
        await beside.worker.stop()
        await beside.worker.close()
        await beside.poller.stop()
    await here
    world.keep.append(there)


async def _start(server: Server) -> None:
    with contextlib.suppress(AntiphonError):
        await server.worker.start()


def run(path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """Play a seed; returns the time at its end."""
    chance = random.Random(seed)
    predictable_ids(monkeypatch, chance)
    database = Database(f"sqlite:///{path}")
    ends: list[float] = []

    async def main(loop: VirtualLoop) -> None:
        monkeypatch.setattr(database, "clock", lambda: loop.now)
        await course(loop, database, chance)
        ends.append(loop.now)

    try:
        database.call("open")
        database.call("create_project", Project(PROJECT, "one", 1))
        play(main)
    finally:
        database.close()
    return ends[0]


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_every_course_ends_well(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "antiphon.db", seed, monkeypatch)


def test_a_seed_plays_the_same_course_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {run(tmp_path / f"{attempt}.db", 5, monkeypatch) for attempt in range(3)}
    assert len(ends) == 1
