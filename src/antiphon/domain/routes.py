"""Model names that clients may ask for, and what stands behind each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from antiphon.domain.errors import ModelNotFound


class Named(Protocol):
    """What the registry needs to know of a route."""

    @property
    def name(self) -> str:
        """The name that clients ask for."""


R = TypeVar("R", bound=Named)


class Routes(Generic[R]):
    """All routes of this server, in the order they are listed."""

    def __init__(self, routes: Mapping[str, R]) -> None:
        self._routes = dict(routes)

    def find(self, name: str, project_id: str) -> R:
        """The route that this name means for this project. Raises `ModelNotFound`."""
        route = self._routes.get(name)
        if route is None:
            raise ModelNotFound(name)
        return route

    def visible(self, project_id: str) -> Iterator[R]:
        """The routes that this project may ask for."""
        return iter(self._routes.values())
