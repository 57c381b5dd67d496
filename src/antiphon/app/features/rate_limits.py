"""Rate limits of keys, projects and models: requests, tokens and calls at once."""

from __future__ import annotations

import time

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.http.admin import rate_limits as rate_limits_http
from antiphon.policy.limits.check import RateLimitCheck
from antiphon.policy.limits.counters import Counters


def rate_limits(core: Core) -> Feature:
    """A stage that refuses what goes over a limit. It is told of each call's end at once, to free its place."""
    stage = RateLimitCheck(Counters(time.monotonic_ns))
    return Feature(
        resources=rate_limits_http.resources(core.store, core.routes), stages=[stage], call_listeners=[stage]
    )
