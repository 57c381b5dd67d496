"""Model names that clients may ask for, and what stands behind each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from antiphon.domain.errors import ModelNotFound

Target = TypeVar("Target")


@dataclass(frozen=True, slots=True)
class Route(Generic[Target]):
    """A public model name and the engine that serves it. `created_at` is in Unix seconds; clients see `owner`."""

    name: str
    target: Target
    created_at: int
    owner: str = "antiphon"


class Routes(Generic[Target]):
    """All routes of this server, in the order they are listed."""

    def __init__(self, routes: Mapping[str, Route[Target]]) -> None:
        self._routes = dict(routes)

    def find(self, name: str) -> Route[Target]:
        """The route of this name. Raises `ModelNotFound`."""
        route = self._routes.get(name)
        if route is None:
            raise ModelNotFound(name)
        return route

    def __iter__(self) -> Iterator[Route[Target]]:
        return iter(self._routes.values())
