"""Puts a server together: the features in their order, and what they add in its places."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from antiphon.app.core import Core
from antiphon.app.feature import Feature, MakeFeature
from antiphon.app.features.administration import administration
from antiphon.app.features.cache import cache
from antiphon.app.features.calls import calls
from antiphon.app.features.chat import chat
from antiphon.app.features.conversations import conversations
from antiphon.app.features.idempotency import idempotency
from antiphon.app.features.jobs import jobs
from antiphon.app.features.ledger import ledger
from antiphon.app.features.models import models
from antiphon.app.features.money import money
from antiphon.app.features.observability import observability
from antiphon.app.features.prompts import prompts
from antiphon.app.features.rate_limits import rate_limits
from antiphon.app.features.responses import responses
from antiphon.app.features.shutdowns import shutdowns
from antiphon.app.features.storage import storage
from antiphon.app.services import Service, ServiceGroup, Services, ShutdownHook
from antiphon.domain.errors import SetupError
from antiphon.domain.routing import RouteSpec
from antiphon.http.api import Api
from antiphon.jobs.sweeps import Sweeps
from antiphon.policy.observe.gauges import Gauge
from antiphon.ports import Store
from antiphon.settings import Settings

T = TypeVar("T")

#: Every capability of the server. What the order decides is told in `app/feature.py`.
FEATURES: tuple[MakeFeature, ...] = (
    ledger,
    observability,
    storage,
    rate_limits,
    money,
    shutdowns,
    calls,
    cache,
    administration,
    idempotency,
    models,
    prompts,
    conversations,
    responses,
    chat,
    jobs,
)


def compose(core: Core, features: Iterable[MakeFeature] = FEATURES) -> Services:
    """Put a server together. Nothing of it is started yet. Raises `ValueError` if two features claim one place."""
    made = [feature(core) for feature in features]
    core.pipeline.install(
        stages=_all(each.stages for each in made),
        answerer=_only(each.answerer for each in made),
        start_listeners=_all(each.start_listeners for each in made),
        call_listeners=_all(each.call_listeners for each in reversed(made)),
        deferred_listeners=_all(each.deferred_listeners for each in reversed(made)),
    )
    core.runner.install(_all(each.job_kinds for each in made))
    sweeps = Sweeps(_all(each.sweeps for each in made), core.clock)
    text = "When periodic work last ended well."
    core.observer.gauges += [
        *_all(each.gauges for each in made),
        Gauge("sweep_last_run_seconds", text, sweeps.last_runs, ("sweep",)),
    ]
    api = _api(core, made)
    return Services(
        api,
        core.engine,
        lasting=ServiceGroup(_named(*(each.services for each in made), {"sweeps": sweeps})),
        # The sockets stop first, so that no client asks for more.
        background=ServiceGroup(
            _named(*(each.background for each in made), {"sockets": ShutdownHook(api.close_sockets)})
        ),
        unattended=core.runner,
    )


def _api(core: Core, made: Sequence[Feature]) -> Api:
    return Api(
        [*_all(each.resources for each in made), *_all(each.sockets for each in made)],
        core.authenticator,
        core.administrators,
        core.pipeline,
        core.observer,
        max_body=core.settings.max_body,
        sessions=core.sessions,
        idempotent=_only(each.wrapper for each in made),
        proxies=core.proxies,
        notices=lambda path: _all(each.headers(path) for each in made),
    )


def _all(lists: Iterable[Sequence[T]]) -> list[T]:
    return list(chain.from_iterable(lists))


def _only(values: Iterable[T | None]) -> T | None:
    """The one value that is there; None if there is none. Raises `ValueError` for two."""
    found = [value for value in values if value is not None]
    if len(found) > 1:
        raise ValueError(f"two features want to be the only one: {found[0]!r} and {found[1]!r}")
    return found[0] if found else None


def _named(*groups: Mapping[str, Service]) -> dict[str, Service]:
    """All services by name, in order. Raises `ValueError` for a name that is taken: one of the two would not start."""
    named: dict[str, Service] = {}
    for group in groups:
        if twice := named.keys() & group.keys():
            raise ValueError(f"two features have services of these names: {', '.join(sorted(twice))}")
        named |= group
    return named


async def routes_by_project(settings: Settings, store: Store) -> Mapping[str, Mapping[str, RouteSpec]]:
    """`project_routes` by project id. Raises `SetupError` for a project that is not there."""
    found: dict[str, Mapping[str, RouteSpec]] = {}
    for name, own in settings.project_routes.items():
        project = await store.get_project(name)
        if project is None:
            raise SetupError(
                f"project_routes.{name}: there is no project '{name}'. "
                f"Run: antiphon projects create {shlex.quote(name)}"
            )
        if project.id in found:
            raise SetupError(f"project_routes.{name}: this project is named twice.")
        found[project.id] = own
    return found
