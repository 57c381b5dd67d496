"""From routes as they are configured to routes that can be asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial

from antiphon.domain import limits
from antiphon.domain.errors import SetupError
from antiphon.domain.route_trace import TargetName
from antiphon.domain.routes import Names, Routes
from antiphon.domain.routing import RouteSpec
from antiphon.engines.routed.fleet import Fleet
from antiphon.engines.routed.route import RoutedRoute, Tier
from antiphon.engines.single import SingleRoute
from antiphon.ports import Route

Specs = Mapping[str, RouteSpec]


def routes_of(
    fleet: Fleet,
    specs: Specs,
    by_project: Mapping[str, Specs],
    aliases: Mapping[str, str],
    *,
    optional: Collection[str] = (),
) -> Routes[Route]:
    """Everything that may be asked for: routes, the built-in model under its own name, and aliases, in this order.

    An alias that ends with `*` stands for all names that begin so and mean nothing else. `by_project`: by project id.
    `optional`: aliases that are left out if they lead nowhere, as the default ones may. Raises `SetupError` for any
    other alias that does, and for a `*` that stands elsewhere.
    """
    builder = _Builder(fleet)
    general = builder.names(specs, specs)
    routes: dict[str, Route] = dict(general.routes)
    if fleet.local is not None:
        routes.setdefault(fleet.local.name, SingleRoute(fleet.local.name, fleet.local, builder.created_at))
    patterns: dict[str, Callable[[str], Route]] = {}
    for alias, target in aliases.items():
        if "*" in alias[:-1]:
            raise SetupError(f"The alias '{alias}': a '*' can only stand at the end of a name.")
        if alias in routes:
            continue
        make = builder.alias(target, specs)
        if make is not None:
            # A pattern is listed by its own name, which it stands for as well.
            routes[alias] = make(alias)
            if alias.endswith("*"):
                patterns[alias[:-1]] = make
        elif alias not in optional:
            raise SetupError(_nowhere(alias, target, fleet))
    projects = {project: builder.names(own, {**specs, **own}) for project, own in by_project.items()}
    return Routes(Names(routes, general.tags, general.stars, patterns), projects)


def _nowhere(alias: str, target: str, fleet: Fleet) -> str:
    if fleet.local is None:
        return f"The alias '{alias}' names '{target}', which is no route, and no local model is served."
    return (
        f"The alias '{alias}' names the model '{target}', which is not served: this server serves "
        f"'{fleet.local.name}'. Write 'default', the name of a route, or start with --model {target}."
    )


class _Builder:
    """Builds routes whose targets are a fleet's."""

    def __init__(self, fleet: Fleet) -> None:
        self.created_at = int(time.time())
        self._fleet = fleet

    def names(self, specs: Specs, seen: Specs) -> Names[Route]:
        """The routes of one table. `seen`: those that their fallbacks may name."""
        routes: dict[str, Route] = {}
        tags: dict[str, Route] = {}
        stars: dict[str, Callable[[str], Route]] = {}
        for name, spec in specs.items():
            if name.endswith("*"):
                self.route(spec, name, seen)  # so that what is wrong with it is found at start
                stars[name[:-1]] = partial(self.route, spec, seen=seen)
                continue
            routes[name] = self.route(spec, name, seen)
            for tag in spec.tags:
                tags.setdefault(tag, routes[name])
        return Names(routes, tags, stars)

    def alias(self, target: str, specs: Specs) -> Callable[[str], Route] | None:
        """What makes further names for a route or for the built-in model; None if there is no such thing."""
        if target in specs and not target.endswith("*"):
            return partial(self.route, specs[target], seen=specs)
        local = self._fleet.local
        if local is not None and target in {"default", local.name}:
            return partial(SingleRoute, engine=local, created_at=self.created_at)
        return None

    def route(self, spec: RouteSpec, name: str, seen: Specs) -> RoutedRoute:
        """One route under one name."""
        stands_for = name[len(spec.name) - 1 :] if spec.name.endswith("*") else spec.name
        tiers = list(self._tiers(spec, stands_for, seen, set()))[: limits.MAX_TARGETS]
        return RoutedRoute(name, spec, tiers, self._fleet.env, self.created_at)

    def _tiers(self, spec: RouteSpec, model: str, seen: Specs, used: set[TargetName]) -> Iterator[Tier]:
        """A route's targets, then its fallbacks. What was there before is not tried again."""
        targets = [self._fleet.target(each, model, spec.deadlines) for each in spec.targets]
        targets = [target for target in targets if target.name not in used]
        used.update(target.name for target in targets)
        if targets:
            yield Tier(spec, tuple(targets), spec.retries)
        for each in spec.fallbacks:
            if each.route is not None:
                yield from self._tiers(seen[each.route], each.route, seen, used)
                continue
            target = self._fleet.target(each, model, spec.deadlines)
            if target.name not in used:
                used.add(target.name)
                yield Tier(spec, (target,), 0)
