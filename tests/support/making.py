"""A server's part in making responses, without its sockets."""

from __future__ import annotations

from antiphon.jobs.presence import Presence, worker_name
from antiphon.jobs.retries import Retries
from antiphon.jobs.runner import JobRunner
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.ports import Clock, Store
from antiphon.run.bus import Bus
from antiphon.run.foreground import Foreground
from antiphon.run.prepare import Preparer
from antiphon.run.response_job import response_jobs
from antiphon.run.responses import Responses


class Making:
    """Responses, and the runner that makes those in the background."""

    def __init__(
        self, store: Store, pipeline: Pipeline, preparer: Preparer, bus: Bus, clock: Clock, *, alone: bool
    ) -> None:
        self.presence = presence = Presence(store, worker_name(), clock, alone=alone)
        self.runner = JobRunner(store, presence, [response_jobs(store, pipeline, preparer, bus, clock)])
        self.responses = Responses(
            store,
            clock,
            bus=bus,
            presence=presence,
            runner=self.runner,
            foreground=Foreground(store, presence, bus),
            retries=Retries(),
            preparer=preparer,
        )

    async def start(self) -> None:
        """Be there, and begin."""
        await self.presence.start()
        await self.runner.start()

    async def stop(self) -> None:
        """Leave what can be left; the rest goes on."""
        await self.runner.stop()

    async def close(self) -> None:
        """Leave everything."""
        await self.runner.close()
        await self.presence.stop()
