"""From settings to routes: names, tiers, and what is refused at start."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from antiphon.domain.errors import SetupError
from antiphon.domain.routing import Deadlines, TargetSpec
from antiphon.engines.routed.fleet import Fleet
from antiphon.engines.routed.route import RoutedRoute, RoutingEnv
from antiphon.engines.routed.table import routes_of
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.engines.scripted import ScriptedEngine
from antiphon.engines.upstream.client import UpstreamClient
from antiphon.ports import Route
from antiphon.run.clock import SystemClock
from antiphon.settings import gateway

UPSTREAMS = {name: {"kind": "chat", "url": f"http://127.0.0.1:9/{name}"} for name in "uvw"}


class Made:
    """Makes engines that say nothing, and notes for what."""

    def __init__(self) -> None:
        self.of: list[tuple[str, str, Deadlines]] = []

    def __call__(
        self, client: UpstreamClient, target: TargetSpec, model: str, deadlines: Deadlines, worker: SchemaWorker
    ) -> ScriptedEngine:
        self.of.append((client.spec.name, model, deadlines))
        return ScriptedEngine(name=model)


def fleet(made: Made | None = None, local: str | None = "home") -> Fleet:
    engine = None if local is None else ScriptedEngine(name=local)
    return Fleet(engine, gateway.upstreams(UPSTREAMS), made or Made(), RoutingEnv(SystemClock()))


def routes(
    table: dict[str, Any], among: Fleet, aliases: dict[str, str] | None = None, *, optional: Collection[str] = ()
) -> Any:
    return routes_of(among, gateway.routes(table), {}, aliases or {}, optional=optional)


def tiers(route: Route) -> list[list[str]]:
    assert isinstance(route, RoutedRoute)
    return [[str(target.name) for target in tier.targets] for tier in route._tiers]


def test_models_are_named_by_the_target_the_route_or_the_star() -> None:
    found = routes(
        {
            "plain": {"targets": [{"upstream": "u"}, {"upstream": "v", "model": "x"}, {"upstream": "local"}]},
            "u/*": {"targets": [{"upstream": "u"}], "fallbacks": [{"upstream": "v", "model": "y"}, {"upstream": "w"}]},
        },
        fleet(),
    )
    assert tiers(found.find("plain", "p")) == [["u/plain", "v/x", "local/home"]]
    assert tiers(found.find("u/some/model", "p")) == [["u/some/model"], ["v/y"], ["w/some/model"]]


def test_a_fallback_can_be_a_route_and_nothing_is_tried_twice() -> None:
    made = Made()
    table = {
        "a": {"targets": [{"upstream": "u"}], "fallbacks": [{"route": "b"}, {"upstream": "v", "model": "b"}]},
        "b": {
            "targets": [{"upstream": "v"}, {"upstream": "u", "model": "a"}],
            "fallbacks": [{"route": "c"}],
            "deadlines": {"first": 7},
            "retries": 5,
        },
        "c": {"targets": [{"upstream": "w"}]},
    }
    route = routes(table, fleet(made)).find("a", "p")
    assert tiers(route) == [["u/a"], ["v/b"], ["w/c"]]
    assert [tier.retries for tier in route._tiers] == [2, 5, 2]
    assert ("v", "b", Deadlines(first=7.0)) in made.of


def test_equal_targets_of_several_routes_share_their_health() -> None:
    found = routes({name: {"targets": [{"upstream": "u", "model": "m"}]} for name in "ab"}, fleet())
    first, second = (found.find(name, "p").targets[0] for name in "ab")
    assert first.health is second.health


def test_stars_share_the_health_of_what_they_stand_for() -> None:
    found = routes({"u/*": {"targets": [{"upstream": "u"}]}, "m": {"targets": [{"upstream": "u"}]}}, fleet())
    assert found.find("u/m", "p").targets[0].health is found.find("m", "p").targets[0].health
    assert found.find("u/n", "p").targets[0].health is not found.find("m", "p").targets[0].health


def test_a_snapshot_has_every_target_once() -> None:
    among = fleet()
    found = routes({"a": {"targets": [{"upstream": "u"}, {"upstream": "local"}]}}, among)
    assert found
    assert [str(state.target) for state in among.snapshot()] == ["local/home", "u/a"]


def test_aliases_name_routes_or_the_built_in_model() -> None:
    table = {"a": {"targets": [{"upstream": "u"}]}}
    found = routes(table, fleet(), {"x": "a", "y": "default", "z": "home", "a": "default"})
    assert tiers(found.find("x", "p")) == [["u/a"]]
    assert found.find("x", "p").name == "x"
    assert found.find("y", "p").model == found.find("z", "p").model == "home"
    assert tiers(found.find("a", "p")) == [["u/a"]], "a route goes before an alias"
    with pytest.raises(SetupError, match="The alias 'x' names the model 'b', which is not served"):
        routes(table, fleet(), {"x": "b"})
    with pytest.raises(SetupError, match="names 'default', which is no route, and no local model is served"):
        routes(table, fleet(local=None), {"x": "default"})
    assert [
        route.name for route in routes(table, fleet(local=None), {"x": "default"}, optional={"x"}).visible("p")
    ] == ["a"]


def test_a_pattern_of_aliases_answers_names_that_mean_nothing_else() -> None:
    table = {"gpt-5": {"targets": [{"upstream": "u"}]}, "gpt-4*": {"targets": [{"upstream": "u"}]}}
    found = routes(table, fleet(), {"gpt-*": "default", "gpt-4o*": "gpt-5", "*": "gpt-5"})
    assert found.find("gpt-6-mini", "p").model == "home"
    assert found.find("gpt-6-mini", "p").name == "gpt-6-mini"
    assert tiers(found.find("gpt-5", "p")) == [["u/gpt-5"]]
    assert tiers(found.find("gpt-4o", "p")) == [["u/o"]], "a star of a route goes before a pattern"
    assert tiers(found.find("claude", "p")) == [["u/gpt-5"]]
    assert [route.name for route in found.visible("p")] == ["gpt-5", "home", "gpt-*", "gpt-4o*", "*"]
    assert found.find("gpt-*", "p").model == "home", "what is listed can be asked for"
    with pytest.raises(SetupError, match="can only stand at the end"):
        routes(table, fleet(), {"g*t": "default"})
    with pytest.raises(SetupError, match="no local model is served"):
        routes(table, fleet(local=None), {"gpt-*": "default"})


def test_the_built_in_engine_serves_one_model() -> None:
    for model in ("home", "default"):
        found = routes({"a": {"targets": [{"upstream": "local", "model": model}]}}, fleet())
        assert tiers(found.find("a", "p")) == [["local/home"]]
    with pytest.raises(SetupError, match="'local/other' of a route is not the model that is served here"):
        routes({"a": {"targets": [{"upstream": "local", "model": "other"}]}}, fleet())


def test_a_secret_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    upstreams = gateway.upstreams({"u": {**UPSTREAMS["u"], "secret": {"env": "NOWHERE"}}})
    among = Fleet(None, upstreams, Made(), RoutingEnv(SystemClock()))
    with pytest.raises(SetupError, match="NOWHERE is not set"):
        routes({"u/*": {"targets": [{"upstream": "u"}]}}, among)
