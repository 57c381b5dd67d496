"""One life of a server in a simulated process: the one module here that knows how a server is put together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError
from antiphon.domain.routes import Routes
from antiphon.domain.routing import PriceSpec
from antiphon.domain.sealing import Sealer
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.jobs.presence import Presence, worker_name
from antiphon.jobs.retries import Retries
from antiphon.jobs.runner import JobRunner
from antiphon.jobs.sweeps import Sweep, Sweeps
from antiphon.policy.money.budgets import BudgetCheck
from antiphon.policy.money.pricing import Pricing
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.ports import Capabilities, Route
from antiphon.protocol.generation import Generation
from antiphon.run.bus import Bus
from antiphon.run.clock import DatabaseClock
from antiphon.run.compaction import Compactor
from antiphon.run.conversations import Conversations
from antiphon.run.foreground import Foreground
from antiphon.run.prepare import Preparer
from antiphon.run.prompts import Prompts
from antiphon.run.response_job import response_jobs
from antiphon.run.responses import Responses
from antiphon.run.tail import Poller
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
        self.process = process = world.process()
        self.store = Faulty(database, process, rate)
        store: Any = self.store
        capabilities = Capabilities(context_tokens=10_000, continues=continues)
        engine = ScriptedEngine(script, pace=PACE, capabilities=capabilities, admit=admit)
        clock = DatabaseClock(store, process)
        self.budgets = BudgetCheck(store, Pricing(), clock)
        pipeline = Pipeline([self.budgets])
        routes: Routes[Route] = Routes({"m": PricedRoute("m", engine, PriceSpec(**PRICE))})
        preparer = Preparer(store, routes, pipeline, Prompts(store, process), Compactor(Sealer(bytes(32))))
        bus = Bus()
        self.presence = Presence(store, worker_name(), process, alone=False)
        self.runner = JobRunner(store, self.presence, [response_jobs(store, pipeline, preparer, bus, process)])
        foreground, retries = Foreground(store, self.presence, bus), Retries()
        self.responses = Responses(
            store,
            process,
            bus=bus,
            presence=self.presence,
            runner=self.runner,
            foreground=foreground,
            retries=retries,
            preparer=preparer,
        )
        self.poller = Poller(store, bus)
        self.sweeps = Sweeps(
            [
                Sweep("clock", limits.CLOCK_TICK, clock.sweep),
                Sweep("reservations", limits.RESERVATION_RENEWAL, self.budgets.sweep),
                *foreground.sweeps(),
                Sweep("retries", limits.LEASE, retries.sweep),
            ],
            process,
        )
        self.conversations = Conversations(store, process)

    async def start(self) -> None:
        """Begin all that works beside the calls, however often it takes."""
        for service in (self.presence, self.sweeps, self.poller, self.runner):
            while True:
                with contextlib.suppress(AntiphonError):
                    await service.start()
                    break

    async def stop(self) -> None:
        """End in good order."""
        await self.runner.stop()
        await self.runner.close()
        for service in (self.poller, self.sweeps, self.presence, self.budgets):
            await service.stop()
