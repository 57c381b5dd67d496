"""The composition root: the one module that sees everything and puts it together."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from antiphon.datadir import DataDir, ServerInfo
from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, EngineUnavailable, SetupError, ShuttingDown
from antiphon.domain.routing import Deadlines, RouteSpec, TargetSpec
from antiphon.domain.sealing import Sealer
from antiphon.engines.constrained import ConstrainedEngine
from antiphon.engines.routed.fleet import Fleet
from antiphon.engines.routed.route import Surroundings
from antiphon.engines.routed.table import routes_of
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.engines.upstream.client import UpstreamClient
from antiphon.http import admin as admin_http
from antiphon.http import chat as chat_http
from antiphon.http import context as context_http
from antiphon.http import conversations as conversations_http
from antiphon.http import health as health_http
from antiphon.http import metrics as metrics_http
from antiphon.http import models as models_http
from antiphon.http import prompts as prompts_http
from antiphon.http import responses as responses_http
from antiphon.http.admin import costs as costs_http
from antiphon.http.admin import rate_limits as rate_limits_http
from antiphon.http.admin import spend as spend_http
from antiphon.http.admin import usage as usage_http
from antiphon.http.api import Api
from antiphon.http.idempotent import Idempotent
from antiphon.http.proxies import Proxies
from antiphon.http.server import HttpServer, with_cors
from antiphon.http.socket import Sockets
from antiphon.models.resolve import ResolvedModel
from antiphon.models.retirements import retirements
from antiphon.policy.administration.authenticate import AdminAuthenticator
from antiphon.policy.authenticate import Authenticator
from antiphon.policy.cache.stage import Cache
from antiphon.policy.gate import Gate
from antiphon.policy.keys.first_run import first_owner, first_run
from antiphon.policy.keys.last_used import LastUsed
from antiphon.policy.ledger import Ledger
from antiphon.policy.limits.counters import Counters
from antiphon.policy.limits.stage import Limits
from antiphon.policy.money.budgets import BudgetStage
from antiphon.policy.money.changes import BudgetChanges
from antiphon.policy.money.costs import Priced, of_call
from antiphon.policy.money.pricing import Pricing
from antiphon.policy.observe import Gauge, Observer
from antiphon.policy.shutdowns.notices import Shutdowns
from antiphon.policy.shutdowns.uses import UseLog
from antiphon.ports import Engine, Queueing, Store
from antiphon.run.bus import Bus
from antiphon.run.chat import Chat
from antiphon.run.clock import SystemClock
from antiphon.run.compaction import Compactor
from antiphon.run.conversations import Conversations
from antiphon.run.idempotency import Idempotency
from antiphon.run.prepare import Preparer
from antiphon.run.prompts import Prompts
from antiphon.run.responses import Responses
from antiphon.run.tail import Poller
from antiphon.run.worker import Worker
from antiphon.settings import Loaded, Settings
from antiphon.settings.declared import DEFAULT_ALIASES, user_data_dir
from antiphon.stores.store import SqlStore
from antiphon.telemetry import logs

_log = logs.logger(__name__)

#: Told once the server answers: the address it is bound to.
Announce = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """A server's parts, put together and not yet started."""

    api: Api
    store: Store
    engine: Fleet
    worker: Worker
    bus: Bus
    poller: Poller | None
    sockets: Sockets
    keys: Idempotency
    observer: Observer
    last_used: LastUsed
    ledger: Ledger
    budgets: BudgetStage
    cache: Cache
    uses: UseLog

    async def start(self) -> None:
        """Begin the work that no client waits for."""
        self.ledger.start()
        self.budgets.start()
        await self.worker.start()
        self.keys.start()
        self.observer.lag.start()
        self.last_used.start()
        self.uses.start()
        if self.poller is not None:
            self.poller.start()

    async def stop(self) -> None:
        """Begin to end. Whoever follows a response is let go: another server goes on with it, or this one's next start.

        What clients wait for goes on.
        """
        self.sockets.close()
        await self.worker.stop()
        self.bus.close()
        if self.poller is not None:
            await self.poller.stop()

    async def close(self) -> None:
        """End, when no client waits any more."""
        await self.observer.lag.stop()
        await self.keys.stop()
        await self.last_used.stop()
        await self.worker.close()
        await self.cache.close()
        await self.uses.stop()
        await self.budgets.stop()
        await self.ledger.stop()


class Switch:
    """Whether the server is stopping."""

    def __init__(self) -> None:
        self.stopping = False

    async def check(self, engine: Fleet, store: Store, *, lazy: bool) -> None:
        """Raise unless the server can answer now (`/readyz`). A lazy engine loads its model at the first request."""
        if self.stopping:
            raise ShuttingDown("The server is shutting down.")
        await store.ping()
        if not lazy and not await engine.ready():
            raise EngineUnavailable("The model is not loaded yet.")


def compose(
    settings: Settings,
    secret: bytes,
    store: Store,
    engine: Fleet,
    switch: Switch,
    pricing: Pricing,
    project_routes: Mapping[str, Mapping[str, RouteSpec]],
) -> Parts:
    """Put a server together around a store and its engines. `project_routes`: by project id."""
    clock = SystemClock()
    routes = routes_of(
        engine, settings.routes, project_routes, settings.aliases, optional=settings.aliases == DEFAULT_ALIASES
    )
    ledger = Ledger(store, pricing, clock, days=settings.ledger_days)
    budgets = BudgetStage(store, pricing, clock)
    cache = Cache(store, clock, secret)
    shutdowns = Shutdowns(retirements(), settings.upstreams.values())
    uses = UseLog(shutdowns, store, clock)
    observer = _observer((route.name for route in routes.all()), store, engine, pricing)
    rate_limits = Limits(Counters(time.monotonic_ns))
    gate = Gate(
        # The observer goes first into a generation, and hears last of a call: it tells what all others have made of it.
        [observer, rate_limits, budgets, Priced(pricing)],
        [rate_limits, ledger, uses, observer],
        answering=cache,
        heralds=(shutdowns,),
    )
    bus = Bus()
    prompts = Prompts(store, clock)
    preparer = Preparer(store, routes, gate, prompts, Compactor(Sealer(secret)))
    # A server has its data directory, and so the database in there, to itself; any other database may serve several.
    alone = settings.database == f"sqlite:///{settings.data_dir / 'antiphon.db'}"
    worker = Worker(store, gate, preparer, bus, clock, alone=alone)
    responses = Responses(store, clock, bus=bus, worker=worker, preparer=preparer)
    last_used = LastUsed(store)
    authenticator = Authenticator(store, secret, clock, last_used.uses)
    administrators = AdminAuthenticator(store, secret, clock)
    proxies = Proxies(settings.trusted_proxies)
    sockets = Sockets(responses, authenticator, gate, drain_timeout=settings.drain_timeout, proxies=proxies)
    keys = Idempotency(store, clock, secret)
    api = Api(
        [
            *context_http.resources(responses),
            *responses_http.resources(responses),
            *conversations_http.resources(Conversations(store, clock)),
            *prompts_http.resources(prompts),
            *chat_http.resources(Chat(store, routes, gate, clock)),
            *models_http.resources(routes, shutdowns.route),
            *metrics_http.resources(observer, administrators, settings.metrics),
            *admin_http.resources(store, clock, secret),
            *rate_limits_http.resources(store, routes),
            *usage_http.resources(store, clock),
            *costs_http.resources(store, clock),
            *spend_http.resources(BudgetChanges(store, clock), store, budgets, clock),
            *health_http.resources(lambda: switch.check(engine, store, lazy=settings.engine_start == "lazy")),
        ],
        authenticator,
        administrators,
        gate,
        observer,
        max_body=settings.max_body,
        sockets=sockets,
        once=Idempotent(keys, lambda project_id, name: responses.follow(project_id, name, after=-1)),
        proxies=proxies,
        notices=shutdowns.endpoint,
    )
    return Parts(
        api,
        store,
        engine,
        worker,
        bus,
        None if alone else Poller(store, bus),
        sockets,
        keys,
        observer,
        last_used,
        ledger,
        budgets,
        cache,
        uses,
    )


def _observer(models: Iterable[str], store: Store, engine: Fleet, pricing: Pricing) -> Observer:
    """What is seen of a server besides its calls: how its targets are, and how long its queues."""
    gauges = [Gauge("store_writes_waiting", "Writes that wait for the database.", lambda: store.writes_waiting)]
    local: object = engine.local
    if isinstance(local, Queueing):
        text = "Generations that wait for a slot of the local engine."
        gauges.append(Gauge("engine_queue", text, lambda: local.waiting))
    return Observer(models, cost=lambda call: of_call(pricing, call).nano, targets=engine.snapshot, gauges=gauges)


async def _routes_by_project(settings: Settings, store: Store) -> Mapping[str, Mapping[str, RouteSpec]]:
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


async def run(
    settings: Settings, data_dir: DataDir, engine: Engine | None, announce: Announce, stop: asyncio.Event
) -> None:
    """Serve until `stop` is set, then stop within `settings.drain_timeout` and a few seconds.

    `engine`: the built-in one; None, if upstreams answer everything.
    """
    if engine is not None and not engine.capabilities.constrains:
        engine = ConstrainedEngine(engine)
    pricing = Pricing(settings.upstreams)
    fleet = Fleet(engine, settings.upstreams, upstream_engine, Surroundings(SystemClock(), price=pricing.to_compare))
    listener = bind(settings.host, settings.port)
    store = SqlStore(settings.database, backups=data_dir.backups)
    switch = Switch()
    with contextlib.closing(listener):
        await store.open()
        try:
            await first_run(store, data_dir)
            await first_owner(store)
            own = await _routes_by_project(settings, store)
            parts = compose(settings, data_dir.secret(), store, fleet, switch, pricing, own)
            try:
                await parts.start()
                await _serve(settings, data_dir, parts, switch, listener, announce, stop)
            finally:
                await parts.close()
        finally:
            await fleet.stop()
            await store.close()


async def _serve(
    settings: Settings,
    data_dir: DataDir,
    parts: Parts,
    switch: Switch,
    listener: socket.socket,
    announce: Announce,
    stop: asyncio.Event,
) -> None:
    server = HttpServer(
        with_cors(parts.api, settings.cors_origins),
        drain_timeout=settings.drain_timeout,
        max_message=settings.max_body,
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    host, port = listener.getsockname()[:2]
    await server.wait_started(serving)
    data_dir.write_server(ServerInfo(pid=os.getpid(), host=host, port=port))
    starting = asyncio.create_task(_start_engine(parts.engine)) if settings.engine_start == "eager" else None
    try:
        announce(host, port)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    finally:
        switch.stopping = True
        data_dir.remove_server()
        await parts.stop()
        if starting is not None:
            starting.cancel()
        await _drain(server, serving, parts.engine, settings.drain_timeout)


async def _drain(server: HttpServer, serving: asyncio.Task[None], engine: Fleet, patience: float) -> None:
    """Finish what is running; what has not finished after `patience` seconds ends with a stored error."""
    server.should_exit = True
    done, _ = await asyncio.wait({serving}, timeout=patience)
    if not done:
        _log.warning("ending what is still running", after_seconds=patience)
        # Its generations fail cleanly, so each response gets its stored end and each client is told.
        await engine.stop()
        done, _ = await asyncio.wait({serving}, timeout=limits.CLOSE_TIMEOUT)
    if not done:
        serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _start_engine(engine: Fleet) -> None:
    if engine.local is None:
        return
    try:
        await engine.start()
        _log.info("model loaded", model=engine.local.name)
    except AntiphonError as error:
        _log.error("the model could not be loaded; the next request will try again", reason=error.message)


async def _until_signalled(settings: Settings, data_dir: DataDir, engine: Engine | None, announce: Announce) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run(settings, data_dir, engine, announce, stop)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `SetupError` if the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except OSError as error:
        raise SetupError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}. Stop what is using it, or choose another port "
            "with --port."
        ) from None
    return listener


def upstream_engine(
    client: UpstreamClient, target: TargetSpec, model: str, deadlines: Deadlines, worker: SchemaWorker
) -> Engine:
    """The engine for a target of an upstream, by its kind. `worker` checks schemas; all engines share it."""
    # Only a server with upstreams needs them.
    from antiphon.engines.upstream.antiphon import AntiphonEngine
    from antiphon.engines.upstream.chat import ChatEngine
    from antiphon.engines.upstream.responses import ResponsesEngine

    kinds: Mapping[str, Callable[..., Engine]] = {
        "chat": ChatEngine,
        "responses": ResponsesEngine,
        "antiphon": AntiphonEngine,
    }
    make = kinds[client.spec.kind]
    return make(client, model, deadlines=deadlines, context_tokens=target.context_tokens, worker=worker)


def local_engine(settings: Settings, model: ResolvedModel) -> Engine:
    """The built-in engine for this model, not started yet."""
    from antiphon.engines.llama.config import LlamaConfig  # not needed with another engine
    from antiphon.engines.llama.engine import LlamaEngine

    return LlamaEngine(
        LlamaConfig(
            model=model.path,
            name=model.name,
            slots=settings.slots,
            context=settings.context or model.context,
            threads=settings.threads,
            pinning=settings.pin or None,
            cache_ram_mib=settings.cache_ram_mib,
            queue=settings.slots * settings.queue_per_slot,
            chat=model.chat,
        )
    )


def serve(loaded: Loaded, data_dir: DataDir, model: ResolvedModel | None) -> int:
    """`antiphon serve`: run until told to stop; returns the exit status. `model`: None for upstreams only."""
    import uvloop  # only the server needs it

    settings = loaded.settings
    logs.configure(settings.log_level, settings.log_format)
    engine = None if model is None else local_engine(settings, model)

    def announce(host: str, port: int) -> None:
        count = len(settings.routes)
        served = f"{count} route{'s' * (count != 1)}" if count else ""
        if engine is not None:
            context = engine.capabilities.context_tokens
            local = f"model {engine.name}, {settings.slots} slots, {context} tokens each"
            served = f"{local}; {served}" if served else local
        print(_banner(host, port, served, data_dir, _model_to_try(settings, engine)), flush=True)

    _spare_the_collector()
    with data_dir.lock():
        uvloop.run(_until_signalled(settings, data_dir, engine, announce))
    return 0


def _spare_the_collector() -> None:
    """Have the cyclic garbage collector look at what was loaded no more, and seldom at the rest.

    Requests leave few cycles behind, and its default is to look at everything after some hundred new objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _model_to_try(settings: Settings, engine: Engine | None) -> str:
    """A name that is answered: the one that OpenAI's examples use, if it is."""
    usual = "gpt-5-mini"
    if usual in settings.routes or (engine is not None and usual in settings.aliases):
        return usual
    names = [name for name in settings.routes if not name.endswith("*")]
    return engine.name if engine is not None else next(iter(names), usual)


def _banner(host: str, port: int, served: str, data_dir: DataDir, model: str) -> str:
    """What to do next, ready to be pasted: the flags that `antiphon env` needs to find this very server are in it."""
    shown = f"[{host}]" if ":" in host else host
    command = f"{_program()} env"
    if data_dir.path != user_data_dir():
        command += f" --data-dir {shlex.quote(str(data_dir.path))}"
    return f"""
  Antiphon is listening on http://{shown}:{port}/v1   ({served})
  In another shell:  eval "$({command})"     then try:
      curl $OPENAI_BASE_URL/responses -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \\
        -d '{{"model": "{model}", "input": "Write a short welcome message for a new user signing up to my app."}}'
"""


def _program() -> str:
    """How this program was called, if that works from another shell too; the name on the path otherwise."""
    called = Path(sys.argv[0])
    try:
        return shlex.quote(str(called.resolve().relative_to(Path.cwd())))
    except ValueError:
        return "antiphon" if shutil.which("antiphon") else shlex.quote(str(called.resolve()))
