"""Notices of models and endpoints that OpenAI or an upstream will shut down, and who still uses them."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.policy.shutdowns.uses import UseLog


def shutdowns(core: Core) -> Feature:
    """Headers of answers that come from something with a date, and a log of the projects that get such answers."""
    uses = UseLog(core.shutdowns, core.store, core.clock)
    return Feature(
        headers=core.shutdowns.endpoint,
        start_listeners=[core.shutdowns],
        deferred_listeners=[uses],
        services={"uses": uses},
    )
