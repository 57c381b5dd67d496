"""A server's parts as they are composed, none of them started."""

from __future__ import annotations

from pathlib import Path

from antiphon.app.core import Core
from antiphon.app.engines import upstream_engine
from antiphon.app.readiness import Readiness
from antiphon.engines.routed.fleet import Fleet
from antiphon.engines.routed.route import RoutingEnv
from antiphon.engines.scripted import ScriptedEngine
from antiphon.policy.money.pricing import Pricing
from antiphon.run.clock import SystemClock
from antiphon.settings import Settings
from antiphon.stores.store import SqlStore


def core_of(path: Path, database: str = "", **options: str) -> Core:
    """What features share, with a data directory at `path` and an engine that is a script."""
    database = database or f"sqlite:///{path / 'antiphon.db'}"
    settings = Settings(data_dir=path, database=database, **options)  # type: ignore[arg-type]  # any setting
    pricing = Pricing({})
    fleet = Fleet(ScriptedEngine(), {}, upstream_engine, RoutingEnv(SystemClock(), price=pricing.to_compare))
    return Core(settings, b"secret" * 8, SqlStore(database, backups=None), fleet, Readiness(), pricing, {})
