"""What features share: the settings, the store, the clock, the routes, and the mechanisms that features plug into."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.app.readiness import Readiness
from antiphon.domain.routing import RouteSpec
from antiphon.domain.sealing import Sealer
from antiphon.engines.routed.fleet import Fleet
from antiphon.engines.routed.table import routes_of
from antiphon.http.proxies import Proxies
from antiphon.http.session_cookies import SessionCookies
from antiphon.jobs.presence import Presence, worker_name
from antiphon.jobs.retries import Retries
from antiphon.jobs.runner import JobRunner
from antiphon.models.retirements import retirements
from antiphon.policy.administration.authenticate import AdminAuthenticator
from antiphon.policy.authenticate import Authenticator
from antiphon.policy.keys.last_used import LastUsed
from antiphon.policy.money.costs import of_call
from antiphon.policy.money.pricing import Pricing
from antiphon.policy.observe.observer import Observer
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.policy.sessions import Sessions
from antiphon.policy.shutdowns.notices import Shutdowns
from antiphon.ports import Store
from antiphon.run.bus import Bus
from antiphon.run.clock import SystemClock
from antiphon.run.compaction import Compactor
from antiphon.run.foreground import Foreground
from antiphon.run.prepare import Preparer
from antiphon.run.prompts import Prompts
from antiphon.run.responses import Responses
from antiphon.settings import Settings
from antiphon.settings.routing import DEFAULT_ALIASES, all_aliases


class Core:
    """One server's shared objects. What only one feature needs, its own function makes.

    `pipeline` and `runner` are empty while features are made: `compose` gives them the features' stages and kinds of
    jobs. They may be kept and handed on before that, but not used.
    """

    def __init__(
        self,
        settings: Settings,
        secret: bytes,
        store: Store,
        engine: Fleet,
        readiness: Readiness,
        pricing: Pricing,
        project_routes: Mapping[str, Mapping[str, RouteSpec]],
    ) -> None:
        """`secret`: the server's, which keys are kept under. `project_routes`: by project id."""
        self.settings = settings
        self.secret = secret
        self.store = store
        self.engine = engine
        self.readiness = readiness
        self.pricing = pricing
        self.clock = SystemClock()
        self.routes = routes_of(
            engine,
            settings.routes,
            project_routes,
            all_aliases(settings),
            # The default ones may lead nowhere; what somebody has written may not.
            optional=DEFAULT_ALIASES if settings.aliases == DEFAULT_ALIASES else {},
        )
        self.observer = Observer(
            (route.name for route in self.routes.all()),
            cost=lambda call: of_call(pricing, call).nano,
            targets=engine.snapshot,
        )
        self.shutdowns = Shutdowns(retirements(), settings.upstreams.values())
        self._authentication()
        self._work()

    def _authentication(self) -> None:
        self.last_used = LastUsed(self.store)
        self.authenticator = Authenticator(self.store, self.secret, self.clock, self.last_used.uses)
        self.administrators = AdminAuthenticator(self.store, self.secret, self.clock)
        self.proxies = Proxies(self.settings.trusted_proxies)
        sessions = Sessions(self.store, self.secret, self.clock, self.last_used.uses)
        self.sessions = SessionCookies(sessions, self.authenticator, self.proxies)

    def _work(self) -> None:
        store, settings = self.store, self.settings
        self.pipeline = Pipeline()
        self.presence = Presence(store, worker_name(), self.clock, alone=not settings.shares_database())
        self.runner = JobRunner(store, self.presence)
        self.retries = Retries()
        self.bus = Bus()
        self.prompts = Prompts(store, self.clock)
        self.preparer = Preparer(
            store,
            self.routes,
            self.pipeline,
            self.prompts,
            Compactor(Sealer(self.secret)),
            ignores_unserved=settings.unserved_tools == "ignore",
        )
        self.foreground = Foreground(store, self.presence, self.bus)
        self.responses = Responses(
            store,
            self.clock,
            bus=self.bus,
            presence=self.presence,
            runner=self.runner,
            foreground=self.foreground,
            retries=self.retries,
            preparer=self.preparer,
        )
