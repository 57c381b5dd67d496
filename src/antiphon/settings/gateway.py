"""The tables `upstreams`, `routes` and `project_routes`: what stands behind the names that clients ask for.

A flag or a variable holds the same table as JSON. What one table can tell of itself is checked where it is read; what
takes several is checked by `check`, at start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from antiphon.domain import limits
from antiphon.domain.routing import (
    LOCAL,
    CacheSpec,
    Deadlines,
    Kind,
    PriceSpec,
    RouteSpec,
    Secret,
    TargetSpec,
    UpstreamSpec,
)
from antiphon.settings.parsers import Misfit
from antiphon.settings.reading import Table, joined

Upstreams = Mapping[str, UpstreamSpec]
RouteTable = Mapping[str, RouteSpec]

#: `model` says this when no local model is to be served.
NO_MODEL = "none"

_KINDS: tuple[Kind, ...] = get_args(Kind)
_UPSTREAM = ("kind", "url", "secret", "profile", "headers")
_ROUTE = ("targets", "fallbacks", "choose", "affinity", "tags", "retries", "deadlines", "cache")
_TARGET = ("upstream", "model", "weight", "price", "context_tokens")
_DEADLINES = ("connect", "first", "between", "whole")
_PRICE = tuple(PriceSpec.__dataclass_fields__)
_PRICES = tuple(name for name in _PRICE if name not in {"batch", "tiers"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: Headers that carry secrets, and those that the connection needs for itself.
_NOT_HEADERS = re.compile(
    r"authorization|proxy-.*|cookie|.*api-?key.*|.*token.*|.*secret.*|host|connection|content-.*|transfer-encoding",
    re.I,
)


def _members(raw: object, path: str, most: int) -> Iterator[tuple[str, str, object]]:
    """Name, path and value of each member of a table, or of a JSON text that holds one."""
    if isinstance(raw, str):
        try:
            raw = json.loads(raw) if raw.strip() else {}
        except (ValueError, RecursionError):
            raise Misfit(f"{path}: must be a table (in a flag or a variable: a JSON object)") from None
    table = Table(raw, path)
    if len(table.raw) > most:
        raise Misfit(f"{path}: there are more than {most}")
    for name, value in table.raw.items():
        if not name.strip() or not name.isprintable() or len(name) > limits.MAX_ROUTE_NAME:
            raise Misfit(f"{path}: a name must have 1 to {limits.MAX_ROUTE_NAME} printable characters")
        yield name, table.at(name), value


def upstreams(raw: object) -> Upstreams:
    """The table `upstreams`."""
    return {
        name: _upstream(name, path, value) for name, path, value in _members(raw, "upstreams", limits.MAX_UPSTREAMS)
    }


def routes(raw: object) -> RouteTable:
    """The table `routes`."""
    return _routes(raw, "routes")


def project_routes(raw: object) -> Mapping[str, RouteTable]:
    """The table `project_routes`: routes by project."""
    members = _members(raw, "project_routes", limits.MAX_ROUTES)
    return {name: _routes(value, path) for name, path, value in members}


def _upstream(name: str, path: str, raw: object) -> UpstreamSpec:
    if not _NAME.fullmatch(name):
        raise Misfit(f"{path}: an upstream's name is made of letters, digits, '.', '_' and '-'")
    if name == LOCAL:
        raise Misfit(f"{path}: '{LOCAL}' is the name of the built-in engine")
    table = Table(raw, path, _UPSTREAM)
    kind = table.one_of("kind", _KINDS)
    if kind is None:
        raise table.wrong("kind", f"is missing: {', '.join(_KINDS[:-1])} or {_KINDS[-1]}")
    return UpstreamSpec(
        name=name,
        kind=kind,
        url=_url(table),
        secret=_secret(table),
        profile=table.text("profile") or "generic",
        headers=_headers(table),
    )


def _url(table: Table) -> str:
    url = table.needed("url")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise table.wrong("url", "is not a URL") from None
    if not usable:
        raise table.wrong("url", "must be a URL that begins with http:// or https://")
    if "@" in parts.netloc:
        raise table.wrong("url", "must hold no user or password; name the secret with 'secret'")
    if parts.query or parts.fragment:
        raise table.wrong("url", "must end with its path, such as https://api.example.com/v1")
    return url.rstrip("/")


def _secret(table: Table) -> Secret | None:
    raw = table.raw.get("secret")
    if raw is None:
        return None
    if isinstance(raw, str):
        raise table.wrong("secret", 'must not stand here in clear; write { env = "NAME" } or { file = "/path" }')
    secret = Table(raw, table.at("secret"), ("env", "file"))
    env, file = secret.text("env"), secret.text("file")
    if (env is None) == (file is None):
        raise table.wrong("secret", "must have one of env and file")
    if env is not None and not _VARIABLE.fullmatch(env):
        raise secret.wrong("env", "must be the name of an environment variable, not the secret itself")
    return Secret(env=env, file=None if file is None else Path(file).expanduser().absolute())


def _headers(table: Table) -> Mapping[str, str]:
    headers = table.table("headers")
    if headers is None:
        return {}
    for name in headers.raw:
        if not _TOKEN.fullmatch(name):
            raise headers.wrong(name, "is no name of a header")
        if _NOT_HEADERS.fullmatch(name):
            raise headers.wrong(name, "cannot be set here; a secret is named with 'secret'")
        if not headers.needed(name).isascii():
            raise headers.wrong(name, "must be ASCII")
    return {name: headers.needed(name) for name in headers.raw}


def _routes(raw: object, path: str) -> RouteTable:
    return {name: _route(name, where, value) for name, where, value in _members(raw, path, limits.MAX_ROUTES)}


def _route(name: str, path: str, raw: object) -> RouteSpec:
    if "*" in name[:-1] or name == "*":
        raise Misfit(f"{path}: a '*' can only stand at the end of a name, after something else")
    table = Table(raw, path, _ROUTE)
    targets = tuple(_target(item) for item in table.tables("targets", _TARGET, limits.MAX_TARGETS))
    if not targets:
        raise table.wrong("targets", "is missing or empty: a route has at least one target")
    fallbacks = tuple(_fallback(item) for item in table.tables("fallbacks", (*_TARGET, "route"), limits.MAX_TARGETS))
    cache = table.table("cache", ("ttl",))
    ttl = cache.seconds("ttl", limits.MAX_DEADLINE * 365) if cache else None
    if cache is not None and ttl is None:
        raise cache.wrong("ttl", "is missing")
    retries = table.integer("retries", 0, limits.MAX_UPSTREAM_RETRIES)
    return RouteSpec(
        name=name,
        targets=targets,
        fallbacks=fallbacks,
        choose=table.one_of("choose", ("weight", "outstanding", "latency", "price")) or "weight",
        affinity=table.flag("affinity") is not False,
        tags=table.texts("tags", limits.MAX_TARGETS),
        retries=limits.UPSTREAM_RETRIES if retries is None else retries,
        deadlines=_deadlines(table),
        cache=None if ttl is None else CacheSpec(ttl),
    )


def _fallback(table: Table) -> TargetSpec:
    route = table.text("route")
    if route is None:
        return _target(table)
    if len(table.raw) > 1:
        raise Misfit(f"{table.path}: a fallback that names a route says nothing else")
    return TargetSpec(upstream="", route=route)


def _target(table: Table) -> TargetSpec:
    return TargetSpec(
        upstream=table.needed("upstream"),
        model=table.text("model"),
        weight=table.integer("weight", 1, limits.MAX_WEIGHT) or 1,
        price=_price(table),
        context_tokens=table.integer("context_tokens", 1, 1_000_000_000),
    )


def _deadlines(table: Table) -> Deadlines:
    deadlines = table.table("deadlines", _DEADLINES)
    if deadlines is None:
        return Deadlines()
    given = {name: deadlines.seconds(name, limits.MAX_DEADLINE) for name in _DEADLINES}
    return Deadlines(**{name: value for name, value in given.items() if value is not None})


def _price(table: Table) -> PriceSpec | None:
    price = table.table("price", _PRICE)
    if price is None:
        return None
    given: dict[str, Any] = {name: _decimal(price, name) for name in (*_PRICES, "batch") if name in price.raw}
    for name in ("input", "output"):
        if name not in given:
            raise price.wrong(name, "is missing: US dollars for a million tokens")
    tiers = price.table("tiers")
    if tiers is not None:
        given["tiers"] = {name: _decimal(tiers, name) for name in tiers.raw}
    return PriceSpec(**given)


def _decimal(table: Table, key: str) -> str:
    """A price as decimal text. A TOML float is read as it was written, as far as its shortest form tells."""
    raw = table.raw[key]
    wanted = table.wrong(key, 'must be a number from 0 to 1000000, such as 0.25 or "0.25"')
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise wanted
    try:
        value = Decimal(str(raw))
    except InvalidOperation:
        raise wanted from None
    if not value.is_finite() or value < 0 or value > 1_000_000:
        raise wanted
    return format(value, "f")


# --- what takes several tables ----------------------------------------------------------------------------------------
def check(model: str, servers: Upstreams, general: RouteTable, by_project: Mapping[str, RouteTable]) -> None:
    """Raise `Misfit` for targets that are nowhere, for fallbacks that lead in a circle, and for a server of nothing."""
    if model == NO_MODEL and not general and not any(by_project.values()):
        raise Misfit("model is 'none' and there are no routes: nothing would be served. Set upstreams and routes")
    tables = {"routes": general} | {joined("project_routes", name): table for name, table in by_project.items()}
    for path, table in tables.items():
        seen = {**general, **table}
        for route in table.values():
            _check_targets(route, joined(path, route.name), model, servers, seen)
        for route in seen.values():
            _check_circle(route, joined(path if route.name in table else "routes", route.name), seen)


def _check_targets(route: RouteSpec, path: str, model: str, servers: Upstreams, seen: RouteTable) -> None:
    for what, targets in (("targets", route.targets), ("fallbacks", route.fallbacks)):
        for index, target in enumerate(targets):
            where = f"{path}.{what}[{index}]"
            if target.route is not None:
                if target.route not in seen or target.route.endswith("*"):
                    raise Misfit(f"{where}.route: there is no route '{target.route}'")
            elif target.upstream == LOCAL:
                if model == NO_MODEL:
                    raise Misfit(f"{where}.upstream: '{LOCAL}' serves nothing, since model is '{NO_MODEL}'")
            elif target.upstream not in servers:
                known = ", ".join([*servers, LOCAL])
                raise Misfit(f"{where}.upstream: there is no upstream '{target.upstream}'; there are {known}")


def _check_circle(route: RouteSpec, path: str, seen: RouteTable) -> None:
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            raise Misfit(f"{path}.fallbacks: lead in a circle: {' -> '.join([*way, name])}")
        if len(way) > limits.MAX_TARGETS:
            raise Misfit(f"{path}.fallbacks: lead over more than {limits.MAX_TARGETS} routes")
        for target in seen[name].fallbacks if name not in done else ():
            if target.route is not None and target.route in seen:
                walk(target.route, (*way, name))
        done.add(name)

    walk(route.name, ())
