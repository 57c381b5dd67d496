"""Puts a server together: the one module that sees everything."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping

from antiphon.app.blobs import BlobService, blob_store
from antiphon.app.services import ServiceGroup, Services, ShutdownHook
from antiphon.domain import limits
from antiphon.domain.errors import EngineUnavailable, SetupError, ShuttingDown
from antiphon.domain.routing import RouteSpec
from antiphon.domain.sealing import Sealer
from antiphon.engines.routed.fleet import Fleet
from antiphon.engines.routed.table import routes_of
from antiphon.http import admin as admin_http
from antiphon.http import chat as chat_http
from antiphon.http import context as context_http
from antiphon.http import conversations as conversations_http
from antiphon.http import health as health_http
from antiphon.http import metrics as metrics_http
from antiphon.http import models as models_http
from antiphon.http import prompts as prompts_http
from antiphon.http import response_socket as response_socket_http
from antiphon.http import responses as responses_http
from antiphon.http.admin import costs as costs_http
from antiphon.http.admin import rate_limits as rate_limits_http
from antiphon.http.admin import spend as spend_http
from antiphon.http.admin import usage as usage_http
from antiphon.http.api import Api
from antiphon.http.idempotent import Idempotent
from antiphon.http.proxies import Proxies
from antiphon.http.session_cookies import SessionCookies
from antiphon.jobs.presence import Presence, worker_name
from antiphon.jobs.retries import Retries
from antiphon.jobs.runner import JobRunner
from antiphon.jobs.sweeps import Sweep, Sweeps
from antiphon.jobs.upkeep import JobUpkeep
from antiphon.models.retirements import retirements
from antiphon.policy.administration.authenticate import AdminAuthenticator
from antiphon.policy.authenticate import Authenticator
from antiphon.policy.cache.stage import Cache
from antiphon.policy.durable import Durable
from antiphon.policy.keys.last_used import LastUsed
from antiphon.policy.keys.permit import permit_model
from antiphon.policy.ledger import Ledger
from antiphon.policy.limits.counters import Counters
from antiphon.policy.limits.stage import Limits
from antiphon.policy.money.budgets import BudgetStage
from antiphon.policy.money.changes import BudgetChanges
from antiphon.policy.money.costs import Priced, of_call
from antiphon.policy.money.pricing import Pricing
from antiphon.policy.observe import Gauge, Observer
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.policy.sessions import Sessions
from antiphon.policy.shutdowns.notices import Shutdowns
from antiphon.policy.shutdowns.uses import UseLog
from antiphon.ports import Constraining, Queueing, Store
from antiphon.run.bus import Bus
from antiphon.run.chat import Chat
from antiphon.run.clock import SystemClock
from antiphon.run.compaction import Compactor
from antiphon.run.conversations import Conversations
from antiphon.run.expiry import Expiry
from antiphon.run.foreground import Foreground
from antiphon.run.idempotency import Idempotency
from antiphon.run.prepare import Preparer
from antiphon.run.prompts import Prompts
from antiphon.run.response_job import response_jobs
from antiphon.run.responses import Responses
from antiphon.run.tail import Poller
from antiphon.settings import Settings
from antiphon.settings.declared import DEFAULT_ALIASES, all_aliases


class Readiness:
    """Whether the server is stopping."""

    def __init__(self) -> None:
        self.stopping = False

    async def check(self, engine: Fleet, store: Store, *, lazy: bool) -> None:
        """Raise unless the server can answer now (`/readyz`). A lazy engine loads its model at the first request."""
        if self.stopping:
            raise ShuttingDown("The server is shutting down.")
        await store.ping()
        await store.check_writable()
        if not lazy and not await engine.ready():
            raise EngineUnavailable("The model is not loaded yet.")


def compose(
    settings: Settings,
    secret: bytes,
    store: Store,
    engine: Fleet,
    switch: Readiness,
    pricing: Pricing,
    project_routes: Mapping[str, Mapping[str, RouteSpec]],
) -> Services:
    """Put a server together around a store and its engines. `project_routes`: by project id."""
    clock = SystemClock()
    routes = routes_of(
        engine,
        settings.routes,
        project_routes,
        all_aliases(settings),
        # The default ones may lead nowhere; what somebody has written may not.
        optional=DEFAULT_ALIASES if settings.aliases == DEFAULT_ALIASES else {},
    )
    ledger = Ledger(store, pricing, clock, days=settings.ledger_days)
    budgets = BudgetStage(store, pricing, clock)
    cache = Cache(store, clock, secret)
    shutdowns = Shutdowns(retirements(), settings.upstreams.values())
    uses = UseLog(shutdowns, store, clock)
    observer = _observer((route.name for route in routes.all()), store, engine, pricing)
    rate_limits = Limits(Counters(time.monotonic_ns))
    gate = Pipeline(
        # The observer goes first into a generation, and hears last of a call: it tells what all others have made of it.
        [observer, Durable(store), rate_limits, budgets, Priced(pricing)],
        [rate_limits],
        answering=cache,
        start_listeners=(shutdowns,),
        deferred_listeners=[ledger, uses, observer],
    )
    bus = Bus()
    prompts = Prompts(store, clock)
    ignores = settings.unserved_tools == "ignore"
    preparer = Preparer(store, routes, gate, prompts, Compactor(Sealer(secret)), ignores_unserved=ignores)
    # A server has its data directory, and so the database in there, to itself; any other database may serve several.
    alone = settings.database == f"sqlite:///{settings.data_dir / 'antiphon.db'}"
    presence = Presence(store, worker_name(), clock, alone=alone)
    runner = JobRunner(store, presence, [response_jobs(store, gate, preparer, bus, clock)])
    foreground, retries, upkeep = Foreground(store, presence, bus), Retries(), JobUpkeep(store, clock)
    responses = Responses(
        store,
        clock,
        bus=bus,
        presence=presence,
        runner=runner,
        foreground=foreground,
        retries=retries,
        preparer=preparer,
    )
    last_used = LastUsed(store)
    authenticator = Authenticator(store, secret, clock, last_used.uses)
    administrators = AdminAuthenticator(store, secret, clock)
    proxies = Proxies(settings.trusted_proxies)
    sessions = SessionCookies(Sessions(store, secret, clock, last_used.uses), authenticator, proxies)
    keys = Idempotency(store, clock, secret)
    sweeps = Sweeps(
        [
            Sweep("ledger", limits.LEDGER_SWEEP_TICK, ledger.sweep),
            Sweep("reservations", limits.RESERVATION_RENEWAL, budgets.sweep),
            Sweep("idempotency_keys", limits.SWEEP_TICK, keys.sweep),
            Sweep("expired", limits.SWEEP_TICK, Expiry(store, clock).sweep),
            Sweep("interrupted_responses", limits.CLAIM_TICK, foreground.end_interrupted),
            Sweep("retries", limits.LEASE, retries.sweep),
            *upkeep.sweeps(),
        ],
        clock,
    )
    observer.gauges += [
        Gauge("jobs", "Jobs by kind and state, as they were last counted.", upkeep.counts, ("kind", "state")),
        Gauge("sweep_last_run_seconds", "When periodic work last ended well.", sweeps.last_runs, ("sweep",)),
    ]
    api = Api(
        [
            *context_http.resources(responses),
            *responses_http.resources(responses),
            *response_socket_http.resources(responses, gate, drain_timeout=settings.drain_timeout),
            *conversations_http.resources(Conversations(store, clock)),
            *prompts_http.resources(prompts),
            *chat_http.resources(Chat(store, routes, gate, clock)),
            *models_http.resources(routes, shutdowns.route),
            *metrics_http.resources(observer, administrators, settings.metrics, gate.settle),
            *admin_http.resources(store, clock, secret),
            *rate_limits_http.resources(store, routes),
            *usage_http.resources(store, clock),
            *costs_http.resources(store, clock),
            *spend_http.resources(BudgetChanges(store, clock), store, budgets, clock),
            *sessions.resources(),
            *health_http.resources(lambda: switch.check(engine, store, lazy=settings.engine_start == "lazy")),
        ],
        authenticator,
        administrators,
        gate,
        observer,
        max_body=settings.max_body,
        sessions=sessions,
        idempotent=Idempotent(
            keys,
            lambda project_id, name: responses.follow(project_id, name, after=-1),
            lambda caller, model: permit_model(caller, model, routes.find(model, caller.project.id).name),
        ),
        proxies=proxies,
        notices=shutdowns.endpoint,
    )
    return Services(
        api,
        engine,
        # What calls leave behind goes from the later ones to the earlier: a shared answer that is under way must first
        # be paid for, then its calls are told of, and what was told is written down.
        lasting=ServiceGroup(
            {
                "ledger": ledger,
                "blobs": BlobService(blob_store(settings)),
                "budgets": budgets,
                "uses": uses,
                "calls": ShutdownHook(gate.settle),
                "cache": ShutdownHook(cache.close),
                "last_used": last_used,
                "presence": presence,
                "jobs": ShutdownHook(runner.close),
                "sweeps": sweeps,
                "lag": observer.lag,
            }
        ),
        # No socket takes anything new; then the runner leaves its jobs as they stand, and the bus lets followers go.
        background=ServiceGroup(
            {
                **({} if alone else {"poller": Poller(store, bus)}),
                "bus": ShutdownHook(bus.close),
                "jobs": runner,
                "sockets": ShutdownHook(api.close_sockets),
            }
        ),
        unattended=runner,
    )


def _observer(models: Iterable[str], store: Store, engine: Fleet, pricing: Pricing) -> Observer:
    """What is seen of a server besides its calls: how its targets are, and how long its queues."""
    gauges = [Gauge("store_writes_waiting", "Writes that wait for the database.", lambda: store.writes_waiting)]
    local: object = engine.local
    if isinstance(local, Queueing):
        text = "Generations that wait for a slot of the local engine."
        gauges.append(Gauge("engine_queue", text, lambda: local.waiting))
    if isinstance(local, Constraining):
        text = "Answers that were ended because the local engine had lost their grammar."
        gauges.append(Gauge("grammars_lost", text, lambda: local.grammars_lost))
    return Observer(models, cost=lambda call: of_call(pricing, call).nano, targets=engine.snapshot, gauges=gauges)


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
