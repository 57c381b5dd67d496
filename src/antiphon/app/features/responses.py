"""The Responses API, over HTTP and over a WebSocket, in the foreground and in the background."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.app.services import Service, ShutdownHook
from antiphon.domain import limits
from antiphon.http import context, response_socket
from antiphon.http import responses as responses_http
from antiphon.jobs.sweeps import Sweep
from antiphon.run.response_job import response_jobs
from antiphon.run.tail import Poller


def responses(core: Core) -> Feature:
    """Stands before `jobs`: when the server stops, jobs are left first, and then the bus lets their followers go."""
    drain_timeout = core.settings.drain_timeout
    followers: dict[str, Service] = {"bus": ShutdownHook(core.bus.close)}
    if core.settings.shares_database():
        # Another server may make what a client follows here.
        followers = {"poller": Poller(core.store, core.bus), **followers}
    return Feature(
        # In this order: the last ones' paths would match the first ones'.
        resources=[*context.resources(core.responses), *responses_http.resources(core.responses)],
        sockets=response_socket.resources(core.responses, core.pipeline, drain_timeout=drain_timeout),
        job_kinds=[response_jobs(core.store, core.pipeline, core.preparer, core.bus, core.clock)],
        sweeps=[*core.foreground.sweeps(), Sweep("retries", limits.LEASE, core.retries.sweep)],
        background=followers,
    )
