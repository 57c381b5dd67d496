"""What happens to servers and clients in a simulated course, and what must be true at its end, whatever happened.

Nothing that a client was told of is lost, nothing is made twice where anybody can see it, no conversation stays locked,
no more money is spent than was allowed and one reservation, none stays reserved, and the events of a response are in a
legal order, without gap or duplicate.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.budgets import Budget, Period
from antiphon.domain.errors import AntiphonError, ConversationLocked, EngineFailed, Overloaded
from antiphon.domain.records import StoredConversation
from antiphon.domain.tenancy import Project
from antiphon.engines.scripted import Step
from antiphon.protocol.generation import Finish, Generation, TextDelta, Usage
from antiphon.protocol.unknown import Unknown
from conformance.sequence import check_sequence
from simulation.server import Server
from simulation.world import BEGINNING, Database, World, predictable
from support.calls import call_of
from support.paying import TOKEN

PROJECT = "proj_one"
DAY = 24 * 3600
CLIENTS = 14
WORDS = 12
#: Tokens that an answer may have, and so what is reserved for it.
MOST = 20
ENDED = {"completed", "failed", "incomplete", "cancelled"}
TEXT = "".join(f"w{number} " for number in range(WORDS))


class Course:
    """All that one seed decides."""

    def __init__(self, world: World, database: Database) -> None:
        self.world = world
        self.chance = world.chance
        self.database = database
        self.continues = self.chance.random() < 0.7
        #: What clients were told: response ids, with the events that they have seen.
        self.told: dict[str, bytes] = {}
        self.conversations = ["conv_1", "conv_2"]
        #: By conversation: what was asked in it.
        self.asked: dict[str, str] = {}
        self.servers: list[Server] = []
        self._clients: list[tuple[Server, asyncio.Task[None]]] = []
        self.budget = self.chance.choice([4, CLIENTS, 10 * CLIENTS]) * MOST * TOKEN
        database.call("create_project", Project(PROJECT, "one", 1))
        period: Period = self.chance.choice(["day", "month"])
        database.call("put_budget", Budget("b", "project", PROJECT, period, self.budget, True, False, 1), BEGINNING)
        for name in self.conversations:
            database.call("create_conversation", StoredConversation(PROJECT, name, 1, b"{}"))

    # --- servers ------------------------------------------------------------------------------------------------------
    def server(self, rate: float = 0.0) -> Server:
        """A new one, on the same database."""
        server = Server(self.world, self.database, self._script, self._admit, continues=self.continues, rate=rate)
        self.servers.append(server)
        server.process.spawn(server.start())
        return server

    def _script(self, generation: Generation) -> Sequence[Step]:
        words: list[Step] = [TextDelta(f"w{number} ") for number in range(WORDS)]
        if self.chance.random() < 0.05:
            return [*words[: self.chance.randrange(WORDS)], EngineFailed("The engine broke.")]
        return [*words, Finish("stop", Usage(1, 0, WORDS))]

    def _admit(self, _: Generation) -> None:
        if self.chance.random() < 0.1:
            raise Overloaded("The queue is full.")

    def disturb(self) -> None:
        """One thing goes wrong with one server."""
        place = self.chance.randrange(len(self.servers))
        server = self.servers[place]
        match self.chance.choice(["stall", "stall", "stall", "clock", "clock", "crash", "database"]):
            case "stall":
                server.process.stall(self.chance.choice([1, 4, 8, 30, 90]), asleep=self.chance.random() < 0.5)
            case "clock":
                server.process.wrong = self.chance.choice([-2 * DAY, -3600, -30, 0, 30, 3600, 2 * DAY])
            case "crash":
                server.process.crash()
                del self.servers[place]
                self.server().process.wrong = self.chance.choice([-300, 0, 0, 300])
            case _:
                server.store.rate = self.chance.choice([0.0, 0.02, 0.05])

    # --- clients ------------------------------------------------------------------------------------------------------
    def client(self, server: Server, number: int, within: float) -> None:
        """A client that begins within so many seconds."""
        self._clients.append((server, server.process.spawn(self._client(server, number, within))))

    async def _client(self, server: Server, number: int, within: float) -> None:
        """Ask for a response, in the background or not, in a conversation or not, and follow it; perhaps cancel it."""
        await asyncio.sleep(self.chance.uniform(0, within))
        body: dict[str, Any] = {"model": "m", "input": f"go {number}", "max_output_tokens": MOST}
        if self.chance.random() < 0.6:
            body["conversation"] = self.chance.choice(self.conversations)
        with contextlib.suppress(AntiphonError):
            if self.chance.random() < 0.6:
                await self._background(server, body)
            else:
                await self._foreground(server, body)

    async def _background(self, server: Server, body: dict[str, Any]) -> None:
        body |= {"background": True, "stream": True}
        accepted = await server.responses.begin_background(call_of(PROJECT), body, Unknown())
        self._tell(accepted.id, body)
        if self.chance.random() < 0.1:
            await asyncio.sleep(self.chance.uniform(0, 1))
            await server.responses.cancel(PROJECT, accepted.id)
            return
        async for chunk in await server.responses.follow(PROJECT, accepted.id, after=-1):
            self.told[accepted.id] += chunk

    async def _foreground(self, server: Server, body: dict[str, Any]) -> None:
        run = await server.responses.begin(call_of(PROJECT), body, Unknown())
        if self.chance.random() < 0.5:
            await run.result()
            self._tell(run.id, body)
            return
        async with contextlib.aclosing(run.events()) as events:
            async for _ in events:
                self._tell(run.id, body)

    def _tell(self, response_id: str, body: dict[str, Any]) -> None:
        self.told.setdefault(response_id, b"")
        if "conversation" in body:
            self.asked[response_id] = body["conversation"]

    # --- afterwards ---------------------------------------------------------------------------------------------------
    async def settled(self) -> None:
        """Wait until no client waits, every response has ended, told of or not, and no money is reserved."""

        def left() -> list[Any]:
            unfinished = "SELECT id FROM responses WHERE status IN ('queued', 'in_progress')"
            waiting = [client for server, client in self._clients if not (server.process.dead or client.done())]
            return [*waiting, *self.database.select(unfinished), *self.database.select("SELECT id FROM reservations")]

        await self.until(lambda: not left(), limits.RESERVATION_LEASE + 120, lambda: f"stuck: {left()}")

    async def until(self, is_so: Callable[[], bool], seconds: float, story: Callable[[], str]) -> None:
        """Wait for what happens in other processes."""
        deadline = self.world.now + seconds
        while not is_so():
            assert self.world.now < deadline, story()
            await asyncio.sleep(0.25)

    async def check(self, server: Server) -> None:
        """Look at everything once more, as clients that were away would."""
        completed = 0
        for response_id, seen in self.told.items():
            final = json.loads(await server.responses.get(PROJECT, response_id))
            assert final["status"] in ENDED, response_id
            completed += final["status"] == "completed"
            text = "".join(part["text"] for item in final["output"] for part in item["content"])
            assert text == TEXT if final["status"] == "completed" else TEXT.startswith(text)
            if final["background"]:
                await self._check_events(server, response_id, seen, final)
        [budget] = self.database.call("list_budgets")
        assert budget.reserved == 0
        assert completed * WORDS * TOKEN <= budget.spent, "something was given for nothing"
        assert completed * WORDS * TOKEN <= self.budget + MOST * TOKEN, "more was spent than was allowed"
        for conversation in self.conversations:
            await self._check_conversation(server, conversation)

    async def _check_events(self, server: Server, response_id: str, seen: bytes, final: Any) -> None:
        whole = b"".join([chunk async for chunk in await server.responses.follow(PROJECT, response_id, after=-1)])
        assert whole.startswith(seen), "what was seen has changed"
        events = [json.loads(event.split(b"data: ", 1)[1]) for event in whole.split(b"\n\n") if event]
        check_sequence(events)
        assert events[-1]["response"] == final
        said = "".join(event.get("delta", "") for event in events)
        assert said == TEXT if final["status"] == "completed" else TEXT.startswith(said)

    async def _check_conversation(self, server: Server, conversation: str) -> None:
        """It is free, and holds what was said in it, once."""
        items = [item async for item in self._items(server, conversation)]
        said = [part["text"] for item in items for part in item["content"] if item["role"] == "user"]
        assert len(said) == len(set(said)), "something was said twice"
        names = [item["id"] for item in items]
        for response_id, asked_in in self.asked.items():
            final = json.loads(await server.responses.get(PROJECT, response_id))
            if asked_in == conversation and final["status"] == "completed":
                assert [names.count(item["id"]) for item in final["output"]] == [1] * len(final["output"])
        body = {"type": "message", "role": "user", "content": "is it free?"}
        deadline = self.world.now + 60
        while True:
            try:
                await server.conversations.add_items(PROJECT, conversation, [body])
            except ConversationLocked:
                assert self.world.now < deadline, f"{conversation} stays locked"
                await asyncio.sleep(0.25)
            else:
                return

    async def _items(self, server: Server, conversation: str) -> AsyncIterator[dict[str, Any]]:
        page = await server.conversations.list_items(PROJECT, conversation, after=None, limit=100, ascending=True)
        for item in page.data:
            yield json.loads(item.body)


def play(
    path: Path, seed: int, monkeypatch: pytest.MonkeyPatch, main: Callable[[Course], Coroutine[Any, Any, None]]
) -> float:
    """Play a course with this seed; returns the time at its end."""
    world = World(random.Random(seed))
    predictable(monkeypatch, world)
    database = Database(f"sqlite:///{path}", world)
    try:
        database.call("open")
        course = Course(world, database)
        world.run(lambda: main(course))
    finally:
        database.close()
    return world.now
