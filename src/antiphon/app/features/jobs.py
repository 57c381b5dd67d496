"""Jobs: work that outlives its request. Each kind of job belongs to another feature."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.app.services import ShutdownHook
from antiphon.jobs.upkeep import JobUpkeep
from antiphon.policy.observe.gauges import Gauge


def jobs(core: Core) -> Feature:
    """The last: the runner starts when all that jobs need has started, and is the first to stop."""
    upkeep = JobUpkeep(core.store, core.clock)
    text = "Jobs by kind and state, as they were last counted."
    return Feature(
        sweeps=upkeep.sweeps(),
        gauges=[Gauge("jobs", text, upkeep.counts, ("kind", "state"))],
        services={"presence": core.presence, "jobs": ShutdownHook(core.runner.close)},
        background={"jobs": core.runner},
    )
