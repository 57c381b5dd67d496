"""Kept answers: the same request again is answered without the engine, where a project wants that."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.app.services import ShutdownHook
from antiphon.policy.cache.answerer import Cache


def cache(core: Core) -> Feature:
    """The pipeline's answerer. A generation that several calls share is paid for before `cache` has stopped."""
    kept = Cache(core.store, core.clock, core.secret)
    return Feature(answerer=kept, services={"cache": ShutdownHook(kept.close)})
