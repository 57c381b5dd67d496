"""`antiphon routes`: what clients may ask for, and whether the targets behind it work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.domain.errors import SetupError
from antiphon.domain.routing import RouteSpec, TargetSpec
from antiphon.settings import Loaded, Settings
from antiphon.settings.gateway import NO_MODEL

if TYPE_CHECKING:
    from antiphon.engines.routed.fleet import Fleet
    from antiphon.engines.routed.probe import ProbeReport
    from antiphon.engines.routed.target import Target

app = typer.Typer(
    help="Routes: list them, and try the targets behind them.", no_args_is_help=True, rich_markup_mode=None
)

_PROJECT = Annotated[str | None, typer.Option(help="As this project sees them (its name or id, as in project_routes).")]


def _seen(settings: Settings, project: str | None) -> Mapping[str, RouteSpec]:
    """The routes that everyone has, or those of a project."""
    return {**settings.routes, **settings.project_routes.get(project or "", {})}


@app.command("list")
@with_settings("data_dir", "upstreams", "routes", "project_routes", "model")
def list_routes(loaded: Loaded, project: _PROJECT = None, as_json: AsJson = False) -> None:
    """List the routes, with their targets and what follows when none of those serves."""
    from antiphon.cli.output import table

    settings = loaded.settings
    routes = [("-", route) for route in _seen(settings, project).values()]
    if project is None:
        routes += [(name, route) for name, own in settings.project_routes.items() for route in own.values()]
    if as_json:
        typer.echo(json.dumps([_as_dict(owner, route) for owner, route in routes], indent=2))
        return
    table(
        ["ROUTE", "PROJECT", "CHOOSE", "TARGETS", "FALLBACKS", "TAGS", "RETRIES"],
        [
            [
                route.name,
                owner,
                route.choose,
                ", ".join(f"{target} ({target.weight})" for target in route.targets),
                ", ".join(map(str, route.fallbacks)) or "-",
                ", ".join(route.tags) or "-",
                str(route.retries),
            ]
            for owner, route in routes
        ],
    )


def _as_dict(owner: str, route: RouteSpec) -> dict[str, object]:
    return {
        "route": route.name,
        "project": None if owner == "-" else owner,
        "choose": route.choose,
        "targets": [{"target": str(target), "weight": target.weight} for target in route.targets],
        "fallbacks": [str(target) for target in route.fallbacks],
        "tags": list(route.tags),
        "retries": route.retries,
    }


@app.command("test")
@with_settings(
    "data_dir", "upstreams", "routes", "project_routes", "model", "models_dir", "slots", "context", "threads"
)
def try_routes(
    loaded: Loaded,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these routes.")] = None,
    project: _PROJECT = None,
    star: Annotated[str | None, typer.Option(help="What stands for the '*' of names that end with one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Try each target: reach it, answer, stream, call a tool, keep to a schema, tell what was used.

    Costs a few tokens at each target. The exit code is 1 if one cannot be reached, refuses its secret, does not answer,
    or does not stream.
    """
    import asyncio

    settings = loaded.settings
    seen = _seen(settings, project)
    for name in names or ():
        if name not in seen:
            raise SetupError(f"There is no route '{name}'. 'antiphon routes list' shows them all.")
    rows = asyncio.run(_try_all(settings, [seen[name] for name in names or seen], star))
    if as_json:
        typer.echo(json.dumps([row.as_dict() for row in rows], indent=2))
    elif rows:
        _print(rows)
    else:
        raise SetupError("There are no routes. 'antiphon config' shows the settings.")
    if not all(row.found and not row.found.failed for row in rows):
        raise typer.Exit(1)


@dataclass
class _Row:
    """A target, the routes that use it, and what was found of it. `problem`: why it cannot be tried."""

    label: str
    target: Target | None
    problem: str = ""
    routes: list[str] = field(default_factory=list)
    found: ProbeReport | None = None

    @property
    def reasons(self) -> list[str]:
        """What does not work, and why."""
        return self.found.reasons if self.found else [self.problem]

    def as_dict(self) -> dict[str, object]:
        """For programs."""
        return {
            "target": self.label,
            "routes": self.routes,
            "checks": dict(self.found.checks) if self.found else {},
            "first_ms": self.found.first_ms if self.found else None,
            "reasons": self.reasons,
            "failed": self.found is None or self.found.failed,
        }


async def _try_all(settings: Settings, chosen: Sequence[RouteSpec], star: str | None) -> list[_Row]:
    """What is found of each target of these routes, each tried once."""
    from antiphon.engines.routed.probe import probe

    fleet = _fleet(settings)
    rows: dict[str, _Row] = {}
    try:
        for route in chosen:
            # What a fallback names as a whole is a route of its own, and tried as such.
            for spec in (*route.targets, *(each for each in route.fallbacks if each.route is None)):
                made = _row(fleet, route, spec, star)
                row = rows.setdefault(made.label, made)
                if route.name not in row.routes:
                    row.routes.append(route.name)
        for row in rows.values():
            if row.target is not None:
                row.found = await probe(row.target)
    finally:
        await fleet.stop()
    return list(rows.values())


def _row(fleet: Fleet, route: RouteSpec, spec: TargetSpec, star: str | None) -> _Row:
    model: str | None = route.name
    if route.name.endswith("*") and spec.model is None:
        model = star
    if model is None:
        return _Row(f"{spec.upstream}/*", None, "any model is asked of it: name one with --star")
    try:
        target = fleet.target(spec, model, route.deadlines)
    except SetupError as error:
        return _Row(str(spec), None, error.message)
    return _Row(str(target.name), target)


def _fleet(settings: Settings) -> Fleet:
    from antiphon.app import local_engine, upstream_engine
    from antiphon.engines.routed.fleet import Fleet
    from antiphon.engines.routed.route import RoutingEnv
    from antiphon.models.resolve import resolve
    from antiphon.run.clock import SystemClock

    local = None if settings.model == NO_MODEL else local_engine(settings, resolve(settings.model, settings.models_dir))
    return Fleet(local, settings.upstreams, upstream_engine, RoutingEnv(SystemClock()))


def _print(rows: Sequence[_Row]) -> None:
    from antiphon.cli.output import table
    from antiphon.engines.routed.probe import CHECKS

    def cells(row: _Row) -> list[str]:
        checks = row.found.checks if row.found else {}
        first = row.found.first_ms if row.found else None
        marks = ["-" if name not in checks else "✓" if checks[name] else "✗" for name in CHECKS]
        return [row.label, *marks, "-" if first is None else f"{first} ms", ", ".join(row.routes)]

    table(["TARGET", *(name.upper() for name in CHECKS), "FIRST", "ROUTES"], [cells(row) for row in rows])
    for row in rows:
        for reason in row.reasons:
            typer.echo(f"{row.label}: {reason}")
