"""All engines of a server: the built-in one, if there is one, and one for each target of an upstream."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from antiphon.domain.errors import SetupError
from antiphon.domain.route_trace import TargetName
from antiphon.domain.routing import LOCAL, Deadlines, TargetSpec, UpstreamSpec
from antiphon.engines.routed.health import Healths, TargetState
from antiphon.engines.routed.route import RoutingEnv
from antiphon.engines.routed.target import Target
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.engines.upstream.client import ConnectionPools, UpstreamClient
from antiphon.ports import Engine

#: Makes the engine for a target: of this upstream, by the upstream's name of the model, within these deadlines. The
#: worker checks schemas for all of them.
Maker = Callable[[UpstreamClient, TargetSpec, str, Deadlines, SchemaWorker], Engine]


class Fleet:
    """Starts and stops what answers. Targets of one upstream share its client, and equal ones their health."""

    def __init__(
        self, local: Engine | None, upstreams: Mapping[str, UpstreamSpec], make: Maker, env: RoutingEnv
    ) -> None:
        """`local`: the built-in engine, or None for a server of upstreams only."""
        self.local = local
        self.env = env
        self._upstreams = upstreams
        self._make = make
        self._connections = ConnectionPools()
        self._clients: dict[str, UpstreamClient] = {}
        self._healths = Healths()
        self._worker = SchemaWorker()

    def target(self, spec: TargetSpec, model: str, deadlines: Deadlines) -> Target:
        """A target ready to be asked. `model`: its name, where the spec leaves it open.

        Raises `SetupError` if the upstream's secret is not there, or if the built-in engine serves another model.
        """
        if spec.upstream == LOCAL:
            if self.local is None or spec.model not in {None, "default", self.local.name}:
                raise SetupError(f"The target '{spec}' of a route is not the model that is served here.")
            name = TargetName(LOCAL, self.local.name)
            return Target(name, spec, self.local, self._healths.of(name))
        name = TargetName(spec.upstream, spec.model or model)
        engine = self._make(self._client(spec.upstream), spec, name.model, deadlines, self._worker)
        return Target(name, spec, engine, self._healths.of(name), punctual=True)

    def _client(self, upstream: str) -> UpstreamClient:
        client = self._clients.get(upstream)
        if client is None:
            client = self._clients[upstream] = UpstreamClient(self._upstreams[upstream], self._connections)
        return client

    def snapshot(self) -> list[TargetState]:
        """Every target of every route, as it is now."""
        now = self.env.clock.monotonic()
        return [health.snapshot(now) for health in self._healths.all()]

    async def start(self) -> None:
        """Start the built-in engine."""
        if self.local is not None:
            await self.local.start()

    async def stop(self) -> None:
        """End whatever is generated, and free everything. Safe to call twice."""
        self.env.stopped = True
        for client in self._clients.values():
            client.stop()
        if self.local is not None:
            await self.local.stop()
        await self._worker.close()
        await self._connections.close()

    async def ready(self) -> bool:
        """Whether the built-in engine is. Upstreams are asked when they are needed."""
        return self.local is None or await self.local.ready()
