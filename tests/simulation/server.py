"""One life of a server in a simulated process: the one module here that knows how a server is put together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from antiphon.domain.errors import AntiphonError
from antiphon.domain.routes import Routes
from antiphon.domain.sealing import Sealer
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.policy.money.budgets import BudgetStage
from antiphon.policy.money.pricing import Pricing
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.ports import Capabilities, Route
from antiphon.protocol.generation import Generation
from antiphon.run.bus import Bus
from antiphon.run.compaction import Compactor
from antiphon.run.conversations import Conversations
from antiphon.run.prepare import Preparer
from antiphon.run.prompts import Prompts
from antiphon.run.responses import Responses
from antiphon.run.tail import Poller
from antiphon.run.worker import Worker
from simulation.world import Database, Faulty, World
from support.money import PricedRoute
from support.paying import PRICE

#: Seconds between two words of an answer.
PACE = 0.05


class Server:
    """What clients ask, and what works beside them."""

    def __init__(
        self,
        world: World,
        database: Database,
        script: Callable[[Generation], Sequence[Step]],
        admit: Callable[[Generation], None],
        *,
        continues: bool,
        rate: float,
    ) -> None:
        """`continues`: its engine can go on with an answer. `rate`: how often the database fails."""
        from antiphon.domain.routing import PriceSpec

        self.process = process = world.process()
        self.store = Faulty(database, process, rate)
        store: Any = self.store
        capabilities = Capabilities(context_tokens=10_000, continues=continues)
        engine = ScriptedEngine(script, pace=PACE, capabilities=capabilities, admit=admit)
        self.budgets = BudgetStage(store, Pricing(), process)
        pipeline = Pipeline([self.budgets])
        routes: Routes[Route] = Routes({"m": PricedRoute("m", engine, PriceSpec(**PRICE))})
        preparer = Preparer(store, routes, pipeline, Prompts(store, process), Compactor(Sealer(bytes(32))))
        self.bus = Bus()
        self.poller = Poller(store, self.bus)
        self.worker = Worker(store, pipeline, preparer, self.bus, process, alone=False)
        self.responses = Responses(store, process, bus=self.bus, worker=self.worker, preparer=preparer)
        self.conversations = Conversations(store, process)

    async def start(self) -> None:
        """Begin all that works beside the calls, however often it takes."""
        for service in (self.budgets, self.poller, self.worker):
            while True:
                with contextlib.suppress(AntiphonError):
                    await service.start()
                    break

    async def stop(self) -> None:
        """End in good order."""
        await self.worker.stop()
        await self.worker.close()
        await self.poller.stop()
        await self.budgets.stop()
