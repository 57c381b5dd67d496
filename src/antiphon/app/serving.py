"""A server from its start to its stop: compose it, serve, and at a stop let running requests finish (drain)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence

from antiphon.app.compose import FEATURES, compose, routes_by_project
from antiphon.app.core import Core
from antiphon.app.engines import upstream_engine
from antiphon.app.feature import MakeFeature
from antiphon.app.readiness import Readiness
from antiphon.app.services import Services
from antiphon.datadir import DataDir, ServerInfo
from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, SetupError
from antiphon.engines.constrained.engine import ConstrainedEngine
from antiphon.engines.routed.fleet import Fleet
from antiphon.engines.routed.route import RoutingEnv
from antiphon.http.connection_limit import ConnectionLimit, raise_file_limit
from antiphon.http.server import HttpServer, with_cors
from antiphon.policy.keys.first_run import first_owner, first_run
from antiphon.policy.money.pricing import Pricing
from antiphon.ports import Engine
from antiphon.run.clock import SystemClock
from antiphon.settings import Settings
from antiphon.stores.store import SqlStore
from antiphon.tasks import end
from antiphon.telemetry import logs

_log = logs.logger(__name__)

#: Called once the server answers, with the address and port that it is bound to.
Announce = Callable[[str, int], None]


async def run(
    settings: Settings,
    data_dir: DataDir,
    engine: Engine | None,
    announce: Announce,
    stop: asyncio.Event,
    features: Sequence[MakeFeature] = FEATURES,
) -> None:
    """Serve until `stop` is set, then stop within `settings.drain_timeout` and a few seconds.

    `engine`: the built-in one; None, if upstreams answer everything.
    """
    if engine is not None and not engine.capabilities.constrains:
        engine = ConstrainedEngine(engine)
    pricing = Pricing(settings.upstreams)
    fleet = Fleet(engine, settings.upstreams, upstream_engine, RoutingEnv(SystemClock(), price=pricing.to_compare))
    listener = bind(settings.host, settings.port)
    store = SqlStore(settings.database, backups=data_dir.backups)
    readiness = Readiness()
    with contextlib.closing(listener):
        await store.open()
        try:
            await first_run(store, data_dir)
            await first_owner(store)
            own = await routes_by_project(settings, store)
            services = compose(Core(settings, data_dir.secret(), store, fleet, readiness, pricing, own), features)
            try:
                await services.start()
                await _serve(settings, data_dir, services, readiness, listener, announce, stop)
            finally:
                await services.close()
        finally:
            await fleet.stop()
            await store.close()


async def _serve(
    settings: Settings,
    data_dir: DataDir,
    services: Services,
    readiness: Readiness,
    listener: socket.socket,
    announce: Announce,
    stop: asyncio.Event,
) -> None:
    server = HttpServer(
        with_cors(services.api, settings.cors_origins, services.api.methods),
        drain_timeout=settings.drain_timeout,
        max_message=settings.max_body,
        connection_limit=ConnectionLimit(settings.max_connections, raise_file_limit()),
        has_socket=services.api.has_socket,
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    host, port = listener.getsockname()[:2]
    await server.wait_started(serving)
    data_dir.write_server(ServerInfo(pid=os.getpid(), host=host, port=port))
    starting = asyncio.create_task(_start_engine(services.engine)) if settings.engine_start == "eager" else None
    try:
        announce(host, port)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    finally:
        readiness.stopping = True
        data_dir.remove_server()
        await services.stop()
        if starting is not None:
            await end(starting)
        await _drain(server, serving, services, settings.drain_timeout)


async def _drain(server: HttpServer, serving: asyncio.Task[None], services: Services, patience: float) -> None:
    """Let what is running finish, for at most `patience` seconds.

    After that, what a client waits for ends with a stored error, and what no client waits for is left as it is.
    """
    server.stop()
    unattended = asyncio.create_task(services.unattended.finished())
    _, late = await asyncio.wait({serving, unattended}, timeout=patience)
    await end(unattended)
    await _leave_all(services)
    if serving in late:
        _log.warning("ending what is still running", after_seconds=patience)
        # Its generations fail cleanly, so each response gets its stored end and each client is told.
        await services.engine.stop()
        await asyncio.wait({serving}, timeout=limits.CLOSE_TIMEOUT)
    if not serving.done():
        await end(serving)
    if not serving.cancelled():
        serving.result()


async def _leave_all(services: Services) -> None:
    """Have work that no client waits for left in order.

    A database that fails must not keep the server from ending. What could not be given back is taken over later, as
    after a crash.
    """
    try:
        async with asyncio.timeout(limits.CLOSE_TIMEOUT):
            await services.unattended.leave_all()
    except (AntiphonError, TimeoutError) as error:
        _log.error("background responses could not be left in order", reason=str(error))


async def _start_engine(engine: Fleet) -> None:
    if engine.local is None:
        return
    try:
        await engine.start()
        _log.info("model loaded", model=engine.local.name)
    except AntiphonError as error:
        _log.error("the model could not be loaded; the next request will try again", reason=error.message)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on this address. Raises `SetupError` if that is not possible."""
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
