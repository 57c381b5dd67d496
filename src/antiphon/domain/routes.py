"""Model names that clients may ask for, and what stands behind each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from antiphon.domain import limits
from antiphon.domain.errors import ModelNotFound


class Named(Protocol):
    """What the registry needs to know of a route."""

    @property
    def name(self) -> str:
        """The name that clients ask for."""


R = TypeVar("R", bound=Named)


@dataclass(frozen=True, slots=True)
class Names(Generic[R]):
    """Names and what they mean: `routes` in the order they are listed, `tags` for some of them.

    `stars`: beginnings of names, and what makes the route of a whole one; `patterns`: the same for names that mean
    nothing else.
    """

    routes: Mapping[str, R]
    tags: Mapping[str, R] = field(default_factory=dict)
    stars: Mapping[str, Callable[[str], R]] = field(default_factory=dict)
    patterns: Mapping[str, Callable[[str], R]] = field(default_factory=dict)

    def plain(self, name: str) -> R | None:
        """What this very name means, as a route's or a tag."""
        return self.routes.get(name) or self.tags.get(name)

    def star(self, name: str) -> Callable[[str], R] | None:
        """What makes the route of a name that only begins like one: the longest beginning counts."""
        for known in (self.stars, self.patterns):
            fitting = [prefix for prefix in known if name.startswith(prefix) and len(name) > len(prefix)]
            if fitting:
                return known[max(fitting, key=len)]
        return None


class Routes(Generic[R]):
    """All routes of this server: those of everyone, and those that single projects have instead."""

    def __init__(self, routes: Mapping[str, R] | Names[R], projects: Mapping[str, Names[R]] | None = None) -> None:
        """`projects`: by project id."""
        self._general = routes if isinstance(routes, Names) else Names(dict(routes))
        self._projects = dict(projects or {})
        #: Routes that were made for names under a star, by project ("": everyone) and name.
        self._made: OrderedDict[tuple[str, str], R] = OrderedDict()

    def find(self, name: str, project_id: str) -> R:
        """The route that this name means for this project. Raises `ModelNotFound`."""
        own = self._projects.get(project_id)
        route = (own and own.plain(name)) or self._general.plain(name)
        if route is not None:
            return route
        if own is not None and (make := own.star(name)) is not None:
            return self._star(project_id, name, make)
        if (make := self._general.star(name)) is not None:
            return self._star("", name, make)
        raise ModelNotFound(name)

    def _star(self, owner: str, name: str, make: Callable[[str], R]) -> R:
        route = self._made.get((owner, name))
        if route is None:
            # It becomes a header, and part of what an upstream is asked.
            if len(name) > limits.MAX_ROUTE_NAME or not name.isascii() or not name.isprintable() or " " in name:
                raise ModelNotFound(name)
            route = self._made[owner, name] = make(name)
            if len(self._made) > limits.MAX_STAR_NAMES:
                self._made.popitem(last=False)
        self._made.move_to_end((owner, name))
        return route

    def visible(self, project_id: str) -> Iterator[R]:
        """The routes that this project may ask for. Names under a star are not known before they are asked for."""
        own = self._projects.get(project_id)
        if own is None:
            return iter(self._general.routes.values())
        return iter({**self._general.routes, **own.routes}.values())

    def all(self) -> Iterable[R]:
        """Every route that is known, whoever's it is."""
        yield from self._general.routes.values()
        for own in self._projects.values():
            yield from own.routes.values()
        yield from list(self._made.values())
