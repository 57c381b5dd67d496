"""`Idempotency-Key`: a POST that is sent twice is done once."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.domain import limits
from antiphon.http.idempotent import Idempotent
from antiphon.jobs.sweeps import Sweep
from antiphon.policy.keys.permit import permit_model
from antiphon.run.idempotency import Idempotency


def idempotency(core: Core) -> Feature:
    """Wraps the handlers of all features. What was answered is forgotten after a day."""
    keys, routes, responses = Idempotency(core.store, core.clock, core.secret), core.routes, core.responses
    return Feature(
        wrapper=Idempotent(
            keys,
            lambda project_id, name: responses.follow(project_id, name, after=-1),
            lambda caller, model: permit_model(caller, model, routes.find(model, caller.project.id).name),
        ),
        sweeps=[Sweep("idempotency_keys", limits.SWEEP_TICK, keys.sweep)],
    )
