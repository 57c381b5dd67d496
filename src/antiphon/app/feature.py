"""What a feature is: one capability of the server, with everything that it adds to it, in one object.

A file of `app/features` has one function, `def name(core: Core) -> Feature`, which makes the capability's objects and
lists what they add. `compose.FEATURES` is the tuple of these functions. Its order is the one order that there is:

- Generations enter the stages in this order, and leave them in the reverse one.
- Services start in this order, and stop in the reverse one.
- Listeners that are told when a call is over are told in the reverse order, as stages are left: what a feature tells of
  a call may rest on what later ones have made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from antiphon.app.core import Core
from antiphon.app.services import Service
from antiphon.http.api import Wrapper
from antiphon.http.resource import Resource, SocketResource
from antiphon.jobs.kinds import JobKind
from antiphon.jobs.sweeps import Sweep
from antiphon.policy.call import Headers
from antiphon.policy.observe.gauges import Gauge
from antiphon.policy.pipeline.stages import Answerer, CallListener, Stage, StartListener


def _no_headers(path: str) -> Headers:
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One capability. Whatever it does not list, it does not have.

    `resources`, `sockets`: what it serves over HTTP, and over WebSockets. `headers`: those that it adds to every answer
    of a resource that needs a key, by the resource's path. `wrapper`: called in place of every handler of a resource
    that needs a key. At most one feature has one.

    `stages`, `answerer`, the listeners: its places in the pipeline that every generation passes. At most one feature
    has an answerer. `deferred_listeners` are told of ended calls in batches, `call_listeners` of each at once.

    `job_kinds`: work that outlives its request. `sweeps`: what is done every so often. `gauges`: figures for /metrics.

    `services`: by name, what runs from the server's start until no client waits any more. `background`: what stops as
    soon as the server is asked to, before it waits for its clients.
    """

    resources: Sequence[Resource] = ()
    sockets: Sequence[SocketResource] = ()
    headers: Callable[[str], Headers] = _no_headers
    wrapper: Wrapper | None = None
    stages: Sequence[Stage] = ()
    answerer: Answerer | None = None
    start_listeners: Sequence[StartListener] = ()
    call_listeners: Sequence[CallListener] = ()
    deferred_listeners: Sequence[CallListener] = ()
    job_kinds: Sequence[JobKind[Any]] = ()
    sweeps: Sequence[Sweep] = ()
    gauges: Sequence[Gauge] = ()
    services: Mapping[str, Service] = field(default_factory=dict)
    background: Mapping[str, Service] = field(default_factory=dict)


#: Makes a capability's objects, and lists what they add.
MakeFeature = Callable[[Core], Feature]
