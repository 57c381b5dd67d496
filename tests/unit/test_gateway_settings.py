"""Upstreams and routes as settings: what they mean, and that nothing wrong is passed over."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import SetupError
from antiphon.domain.routing import CacheSpec, Deadlines, PriceSpec, RouteSpec, Secret, TargetSpec, UpstreamSpec
from antiphon.settings import Loaded, load
from antiphon.settings.declared import declared

TOML = """
[upstreams.openai]
kind = "responses"
url = "https://api.openai.com/v1/"
secret = { env = "OPENAI_UPSTREAM_KEY" }
profile = "openai"
headers = { x-team = "search" }

[upstreams.box]
kind = "chat"
url = "http://127.0.0.1:8080/v1"
secret = { file = "/run/secrets/box" }

[routes."gpt-5-mini"]
targets = [
  { upstream = "openai", model = "gpt-5-mini", weight = 3, price={input=0.25, output="2.00", tiers={flex=0.5}} },
  { upstream = "local", model = "default", context_tokens = 4096 },
]
fallbacks = [{ upstream = "box" }, { route = "other" }]
choose = "latency"
affinity = false
tags = ["fast", "cheap"]
retries = 0
deadlines = { connect = 1, first = 60, between = 30.5, whole = 600 }
cache = { ttl = 600 }

[routes.other]
targets = [{ upstream = "box", model = "o" }]

[routes."openai/*"]
targets = [{ upstream = "openai" }]

[project_routes.staging."gpt-5-mini"]
targets = [{ upstream = "local" }]
"""


def read(tmp_path: Path, toml: str = "", **environ: str) -> Loaded:
    (tmp_path / "antiphon.toml").write_text(toml, "utf-8")
    return load({}, {"ANTIPHON_DATA_DIR": str(tmp_path / "data"), **environ}, tmp_path)


def test_everything(tmp_path: Path) -> None:
    settings = read(tmp_path, TOML).settings
    assert settings.upstreams["openai"] == UpstreamSpec(
        "openai",
        "responses",
        "https://api.openai.com/v1",
        Secret(env="OPENAI_UPSTREAM_KEY"),
        "openai",
        {"x-team": "search"},
    )
    assert settings.upstreams["box"].secret == Secret(file=Path("/run/secrets/box"))
    assert settings.routes["gpt-5-mini"] == RouteSpec(
        "gpt-5-mini",
        (
            TargetSpec("openai", "gpt-5-mini", 3, PriceSpec("0.25", "2.00", tiers={"flex": "0.5"})),
            TargetSpec("local", "default", context_tokens=4096),
        ),
        (TargetSpec("box"), TargetSpec("", route="other")),
        choose="latency",
        affinity=False,
        tags=("fast", "cheap"),
        retries=0,
        deadlines=Deadlines(1.0, 60.0, 30.5, 600.0),
        cache=CacheSpec(600.0),
    )
    assert settings.routes["other"] == RouteSpec("other", (TargetSpec("box", "o"),))
    assert settings.routes["other"].retries == limits.UPSTREAM_RETRIES
    assert settings.project_routes == {"staging": {"gpt-5-mini": RouteSpec("gpt-5-mini", (TargetSpec("local"),))}}


def test_json_in_variables_means_the_same(tmp_path: Path) -> None:
    by_file = read(tmp_path, TOML).settings
    tables = tomllib.loads(TOML)
    variables = {f"ANTIPHON_{name.upper()}": json.dumps(table) for name, table in tables.items()}
    by_variable = read(tmp_path, **variables).settings
    for name in ("upstreams", "routes", "project_routes"):
        assert getattr(by_variable, name) == getattr(by_file, name)
    assert read(tmp_path, ANTIPHON_ROUTES="").settings.routes == {}


def test_they_can_be_shown(tmp_path: Path) -> None:
    settings = read(tmp_path, TOML).settings
    shown = {name: declared()[name].show(getattr(settings, name)) for name in ("upstreams", "routes", "project_routes")}
    assert shown["upstreams"] == "openai=responses https://api.openai.com/v1,box=chat http://127.0.0.1:8080/v1"
    assert shown["routes"].startswith("gpt-5-mini=openai/gpt-5-mini | local/default -> box -> route other,other=box/o")
    assert shown["project_routes"] == "staging=(gpt-5-mini=local)"


UP: dict[str, Any] = {"kind": "chat", "url": "http://127.0.0.1:1/v1"}
ROUTE: dict[str, Any] = {"targets": [{"upstream": "u"}]}


def route(**more: Any) -> dict[str, Any]:
    return {"routes": {"r": {**ROUTE, **more}}}


def target(**more: Any) -> dict[str, Any]:
    return {"routes": {"r": {"targets": [{"upstream": "u"}, {"upstream": "u", **more}]}}}


def upstream(**more: Any) -> dict[str, Any]:
    return {"upstreams": {"u": {**UP, **more}}}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (target(weigth=3), "routes.r.targets[1].weigth: unknown; did you mean 'weight'?"),
        (target(weight=0), "routes.r.targets[1].weight: must be a whole number from 1 to 10000"),
        (target(weight=-1), "routes.r.targets[1].weight: must"),
        (target(weight=True), "routes.r.targets[1].weight: must"),
        (target(weight="3"), "routes.r.targets[1].weight: must"),
        (target(upstream="v"), "routes.r.targets[1].upstream: there is no upstream 'v'; there are u, local"),
        (target(upstream=""), "routes.r.targets[1].upstream: must"),
        (target(model="a\nb"), "routes.r.targets[1].model: must"),
        (target(route="r"), "routes.r.targets[1].route: unknown"),
        (target(context_tokens=0), "routes.r.targets[1].context_tokens: must"),
        (target(price={"input": 1}), "routes.r.targets[1].price.output: is missing"),
        (target(price={"input": -1, "output": 1}), "routes.r.targets[1].price.input: must"),
        (target(price={"input": "nan", "output": 1}), "routes.r.targets[1].price.input: must"),
        (target(price={"input": 1, "output": 1, "tiers": {"x": "y"}}), "routes.r.targets[1].price.tiers.x: must"),
        ({"routes": {"r": {}}}, "routes.r.targets: is missing or empty"),
        ({"routes": {"r": {"targets": []}}}, "routes.r.targets: is missing or empty"),
        ({"routes": {"r": {"targets": ["u"]}}}, "routes.r.targets[0]: must be a table"),
        ({"routes": {"r": {"targets": [{}]}}}, "routes.r.targets[0].upstream: is missing"),
        ({"routes": {"r": {"targets": [{"upstream": "u"}] * 33}}}, "routes.r.targets: must be a list of up to 32"),
        ({"routes": {"r": 3}}, "routes.r: must be a table"),
        ({"routes": 3}, "routes: must be a table"),
        (
            {"routes": {"gpt-4.1": {**ROUTE, "retrys": 1}}},
            "routes.\"gpt-4.1\".retrys: unknown; did you mean 'retries'?",
        ),
        ({"routes": {"a*b": ROUTE}}, "routes.\"a*b\": a '*' can only stand at the end"),
        ({"routes": {"*": ROUTE}}, "routes.\"*\": a '*' can only stand at the end"),
        ({"routes": {" ": ROUTE}}, "routes: a name must have"),
        (route(choose="best"), "routes.r.choose: must be one of weight, outstanding, latency, price"),
        (route(retries=99), "routes.r.retries: must"),
        (route(affinity="yes"), "routes.r.affinity: must be true or false"),
        (route(tags="fast"), "routes.r.tags: must"),
        (route(deadlines={"first": 0}), "routes.r.deadlines.first: must be a number of seconds"),
        (route(deadlines={"first": float("nan")}), "routes.r.deadlines.first: must"),
        (route(deadlines={"firts": 1}), "routes.r.deadlines.firts: unknown; did you mean 'first'?"),
        (route(cache={}), "routes.r.cache.ttl: is missing"),
        (route(fallbacks=[{"upstream": "v"}]), "routes.r.fallbacks[0].upstream: there is no upstream 'v'"),
        (route(fallbacks=[{"route": "x"}]), "routes.r.fallbacks[0].route: there is no route 'x'"),
        (route(fallbacks=[{"route": "r"}]), "routes.r.fallbacks: lead in a circle: r -> r"),
        (route(fallbacks=[{"route": "r", "weight": 1}]), "routes.r.fallbacks[0]: a fallback that names a route"),
        (upstream(kind="rest"), "upstreams.u.kind: must be one of chat, responses, antiphon"),
        ({"upstreams": {"u": {"url": "http://x"}}}, "upstreams.u.kind: is missing"),
        ({"upstreams": {"u": {"kind": "chat"}}}, "upstreams.u.url: is missing"),
        (upstream(url="ftp://x/v1"), "upstreams.u.url: must be a URL that begins with http:// or https://"),
        (upstream(url="localhost:80"), "upstreams.u.url: must be a URL"),
        (upstream(url="http://[x"), "upstreams.u.url: is not a URL"),
        (upstream(url="http://x:99999999/"), "upstreams.u.url: is not a URL"),
        (upstream(url="https://me:hunter2@x/v1"), "upstreams.u.url: must hold no user or password"),
        (upstream(url="https://x/v1?key=hunter2"), "upstreams.u.url: must end with its path"),
        (upstream(secret="hunter2"), "upstreams.u.secret: must not stand here in clear"),
        (upstream(secret={"value": "hunter2"}), "upstreams.u.secret.value: unknown"),
        (upstream(secret={}), "upstreams.u.secret: must have one of env and file"),
        (upstream(secret={"env": "A", "file": "/b"}), "upstreams.u.secret: must have one of env and file"),
        (upstream(secret={"env": "sk-hunter2"}), "upstreams.u.secret.env: must be the name of an environment variable"),
        (upstream(headers={"Authorization": "hunter2"}), "upstreams.u.headers.Authorization: cannot be set here"),
        (upstream(headers={"api-key": "hunter2"}), "upstreams.u.headers.api-key: cannot be set here"),
        (upstream(headers={"x y": "z"}), 'upstreams.u.headers."x y": is no name of a header'),
        (upstream(headers={"x-a": "b\r\nc: d"}), "upstreams.u.headers.x-a: must"),
        ({"upstreams": {"local": UP}}, "upstreams.local: 'local' is the name of the built-in engine"),
        ({"upstreams": {"a b": UP}}, 'upstreams."a b": an upstream\'s name'),
        ({"project_routes": {"p": {"r": {"targets": []}}}}, "project_routes.p.r.targets: is missing or empty"),
        ({"project_routes": {"p": {"r": {**ROUTE, "fallbacks": [{"route": "s"}]}}}}, "project_routes.p.r.fallbacks[0]"),
    ],
    ids=str,
)
def test_refusals_name_the_path(tmp_path: Path, tables: dict[str, Any], message: str) -> None:
    tables = {"upstreams": {"u": UP}, **tables}
    environ = {f"ANTIPHON_{name.upper()}": json.dumps(table) for name, table in tables.items()}
    with pytest.raises(SetupError) as caught:
        read(tmp_path, **environ)
    assert caught.value.message.startswith(message)
    assert "hunter2" not in caught.value.message


def test_circles_are_found_however_long_and_across_projects(tmp_path: Path) -> None:
    ring = {f"r{n}": {**ROUTE, "fallbacks": [{"route": f"r{(n + 1) % 5}"}]} for n in range(5)}
    with pytest.raises(SetupError, match="r0 -> r1 -> r2 -> r3 -> r4 -> r0"):
        read(tmp_path, ANTIPHON_UPSTREAMS=json.dumps({"u": UP}), ANTIPHON_ROUTES=json.dumps(ring))
    own = {"p": {"b": {**ROUTE, "fallbacks": [{"route": "a"}]}}}
    general = {"a": {**ROUTE, "fallbacks": [{"route": "b"}]}, "b": ROUTE}
    tables = {"ANTIPHON_UPSTREAMS": json.dumps({"u": UP}), "ANTIPHON_ROUTES": json.dumps(general)}
    read(tmp_path, **tables)
    with pytest.raises(SetupError, match="circle"):
        read(tmp_path, **tables, ANTIPHON_PROJECT_ROUTES=json.dumps(own))


def test_many_fallbacks_that_fan_out_are_no_trouble(tmp_path: Path) -> None:
    layers = {f"r{n}": {**ROUTE, "fallbacks": [{"route": f"r{n + 1}"}] * 30 if n < 20 else []} for n in range(21)}
    read(tmp_path, ANTIPHON_UPSTREAMS=json.dumps({"u": UP}), ANTIPHON_ROUTES=json.dumps(layers))
    line = {f"r{n}": {**ROUTE, "fallbacks": [{"route": f"r{n + 1}"}] if n < 1500 else []} for n in range(1501)}
    with pytest.raises(SetupError, match="more than 32 routes"):
        read(tmp_path, ANTIPHON_UPSTREAMS=json.dumps({"u": UP}), ANTIPHON_ROUTES=json.dumps(line))


def test_a_server_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="nothing would be served"):
        read(tmp_path, ANTIPHON_MODEL="none")
    local = {"r": {"targets": [{"upstream": "local"}]}}
    with pytest.raises(SetupError, match=r"routes\.r\.targets\[0\]\.upstream: 'local' serves nothing"):
        read(tmp_path, ANTIPHON_MODEL="none", ANTIPHON_ROUTES=json.dumps(local))


def test_json_that_is_none(tmp_path: Path) -> None:
    for text in ("{", "[1]", "a=b", "[" * 100_000):
        with pytest.raises(SetupError, match="routes: must be a table"):
            read(tmp_path, ANTIPHON_ROUTES=text)
