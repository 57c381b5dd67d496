"""Settings of the names that clients may ask for, and of what answers them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from antiphon.domain.routing import RouteSpec, UpstreamSpec
from antiphon.settings import gateway, parsers
from antiphon.settings.spec import Spec

#: Names that OpenAI's documentation and SDK examples use, answered by the default local model.
DEFAULT_ALIASES = {"gpt-5-mini": "default", "gpt-5-nano": "default", "gpt-4o-mini": "default"}


@dataclass(frozen=True, kw_only=True)
class RoutingSettings:
    """Aliases, upstreams and routes."""

    aliases: Annotated[
        Mapping[str, str],
        Spec(
            parsers.table,
            "Names that clients may ask for, and the models that answer; replaces the default table",
            ", ".join(f"{name}={target}" for name, target in DEFAULT_ALIASES.items()),
        ),
    ] = field(default_factory=lambda: dict(DEFAULT_ALIASES))
    alias: Annotated[
        Mapping[str, str],
        Spec(
            parsers.table,
            "Names like those of aliases, in addition to them, such as gpt-*=default: a name that ends with * stands "
            "for all that begin so",
            "none",
        ),
    ] = field(default_factory=dict)
    upstreams: Annotated[
        Mapping[str, UpstreamSpec],
        Spec(gateway.upstreams, "Servers behind this one, by name; see the page on routes", "none"),
    ] = field(default_factory=dict)
    routes: Annotated[
        Mapping[str, RouteSpec],
        Spec(gateway.routes, "Names that clients may ask for, and the targets behind each", "none"),
    ] = field(default_factory=dict)
    project_routes: Annotated[
        Mapping[str, Mapping[str, RouteSpec]],
        Spec(gateway.project_routes, "Routes of single projects, by the project's name or id", "none"),
    ] = field(default_factory=dict)
    unserved_tools: Annotated[
        Literal["refuse", "ignore"],
        Spec(
            parsers.one_of("refuse", "ignore"),
            "What becomes of a request with tools that OpenAI runs and this server does not, such as web_search: it is "
            "refused, or the tools are left out",
        ),
    ] = "refuse"


def all_aliases(settings: RoutingSettings) -> Mapping[str, str]:
    """Every alias, of both settings; `alias` goes before."""
    return {**settings.aliases, **settings.alias}
