"""What a server does for all jobs every so often: it counts them, and forgets those that ended long ago."""

from __future__ import annotations

from antiphon.domain import limits
from antiphon.domain.jobs import JobCount
from antiphon.jobs.steady import SteadyTime
from antiphon.jobs.sweeps import Sweep
from antiphon.ports import Clock, JobStore

_SHOWN = ("queued", "running", "dead")


class JobUpkeep:
    """Two sweeps over all jobs."""

    def __init__(self, store: JobStore, clock: Clock) -> None:
        self._store = store
        self._time = SteadyTime(clock)
        self._counts: list[JobCount] = []

    def sweeps(self) -> list[Sweep]:
        """As the registry takes them."""
        return [
            Sweep("jobs", limits.SWEEP_TICK, self.forget),
            Sweep("job_counts", limits.JOB_COUNT_TICK, self.count),
        ]

    async def forget(self) -> None:
        """Delete jobs that ended long ago, by the database's clock as far as it can be believed."""
        now = self._time.believed(await self._store.job_time() / 1000)
        ended, dead = (int((now - ttl) * 1000) for ttl in (limits.JOB_TTL, limits.DEAD_JOB_TTL))
        deleted = limits.SWEEP_STEP
        while deleted == limits.SWEEP_STEP:
            deleted = await self._store.sweep_jobs(ended_before=ended, dead_before=dead, limit=limits.SWEEP_STEP)

    async def count(self) -> None:
        """Count jobs, for `counts`."""
        self._counts = await self._store.count_jobs()

    def counts(self) -> list[tuple[tuple[str, str], float]]:
        """By kind and state, how many jobs there were at the last count. A kind that was seen shows all its states."""
        seen = {(each.kind, str(each.state)): float(each.number) for each in self._counts}
        return [((kind, state), seen.get((kind, state), 0.0)) for kind in {k: 0 for k, _ in seen} for state in _SHOWN]
