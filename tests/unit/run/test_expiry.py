"""Stored responses expire, on a clock that the test sets; what stands in conversations does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import NotFound
from antiphon.domain.routes import Routes
from antiphon.domain.sealing import Sealer
from antiphon.domain.tenancy import NEVER, Project
from antiphon.engines.scripted import ScriptedEngine
from antiphon.engines.single import SingleRoute
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.ports import Engine, Route
from antiphon.protocol.unknown import NOTHING
from antiphon.run.bus import Bus
from antiphon.run.compaction import Compactor
from antiphon.run.conversations import Conversations
from antiphon.run.expiry import Expiry
from antiphon.run.prepare import Preparer
from antiphon.run.prompts import Prompts
from antiphon.stores.store import SqlStore
from support.calls import call_of
from support.making import Making

DAY = 24 * 3600
PROJECT = "proj_1"


class FakeClock:
    """Stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


class World:
    """A server without its sockets."""

    def __init__(self, store: SqlStore) -> None:
        engine: Engine = ScriptedEngine()
        self.clock = FakeClock()
        self.store = store
        self.bus = Bus()
        prompts, compactor = Prompts(store, self.clock), Compactor(Sealer(bytes(32)))
        routes: Routes[Route] = Routes({"m": SingleRoute("m", engine, 1)})
        self.gate = Pipeline()
        self.preparer = Preparer(store, routes, self.gate, prompts, compactor)
        self.responses = Making(store, self.gate, self.preparer, self.bus, self.clock, alone=True).responses
        self.conversations = Conversations(store, self.clock)

    async def make(self, **options: Any) -> str:
        """A stored response's id."""
        run = await self.responses.begin(call_of(PROJECT), {"model": "m", "input": "hello", **options}, NOTHING)
        await run.result()
        return run.id

    async def expiry(self, response_id: str) -> float | None:
        """Seconds from now."""
        response = await self.store.get_response(PROJECT, response_id)
        assert response is not None
        return None if response.expires_at is None else response.expires_at - self.clock.now()

    async def sweep(self) -> None:
        """What a server does at its start, and then every minute."""
        await Expiry(self.store, self.clock).sweep()


def run(tmp_path: Path, test: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        store = SqlStore(f"sqlite:///{tmp_path / 'antiphon.db'}", backups=None)
        await store.open()
        try:
            await store.create_project(Project(PROJECT, "one", 1))
            await test(World(store))
        finally:
            await store.close()

    asyncio.run(main())


def test_a_response_expires_after_thirty_days(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        first = await world.make()
        assert await world.expiry(first) == 30 * DAY
        world.clock.seconds += 20 * DAY
        second = await world.make(previous_response_id=first)
        world.clock.seconds += 10 * DAY
        await world.sweep()
        assert await world.responses.get(PROJECT, first)
        world.clock.seconds += 1
        await world.sweep()
        with pytest.raises(NotFound):
            await world.responses.get(PROJECT, first)
        assert await world.responses.get(PROJECT, second)

    run(tmp_path, test)


def test_a_background_response_expires_too(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        accepted = await world.responses.begin_background(
            call_of(PROJECT), {"model": "m", "input": "x", "background": True}, NOTHING
        )
        assert await world.expiry(accepted.id) == limits.RESPONSE_TTL

    run(tmp_path, test)


def test_a_project_has_a_time_of_its_own(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        old = await world.make()
        await world.store.set_response_ttl(PROJECT, 2 * DAY)
        world.clock.seconds += limits.KEY_CACHE_TTL
        short = await world.make()
        assert await world.expiry(short) == 2 * DAY
        await world.store.set_response_ttl(PROJECT, NEVER)
        world.clock.seconds += limits.KEY_CACHE_TTL
        kept = await world.make()
        assert await world.expiry(kept) is None
        world.clock.seconds += 3 * DAY
        await world.sweep()
        for name, there in ((old, True), (short, False), (kept, True)):
            assert (await world.store.get_response(PROJECT, name) is not None) is there
        world.clock.seconds += 5000 * DAY
        await world.sweep()
        assert await world.store.get_response(PROJECT, old) is None
        assert await world.store.get_response(PROJECT, kept) is not None

    run(tmp_path, test)


def test_the_items_of_a_conversation_do_not_expire(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        conversation = await world.conversations.create(PROJECT, [], {})
        response = await world.make(conversation=conversation.id)
        world.clock.seconds += 31 * DAY
        await world.sweep()
        assert await world.store.get_response(PROJECT, response) is None
        history = await world.store.conversation_history(PROJECT, conversation.id, limit=9)
        assert len(history) == 2
        found = await world.store.get_items(PROJECT, [item.id for item in history])
        assert set(found) == {item.id for item in history}
        assert await world.make(conversation=conversation.id)

    run(tmp_path, test)
