"""Which route a name means, for whom."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import ModelNotFound
from antiphon.domain.routes import Names, Routes


@dataclass
class R:
    name: str
    origin: str = "general"


def routes() -> Routes[R]:
    general = Names(
        {"a": R("a"), "b": R("b")},
        {"fast": R("a")},
        {"x/": lambda name: R(name, "x"), "x/y/": lambda name: R(name, "xy"), "own/": R},
    )
    own = Names(
        {"b": R("b", "own"), "c": R("c", "own")}, {"fast": R("c", "own")}, {"own/": lambda name: R(name, "own")}
    )
    return Routes(general, {"p1": own})


def test_names_tags_and_stars() -> None:
    table = routes()
    assert table.find("a", "p2") == R("a")
    assert table.find("fast", "p2") == R("a")
    assert table.find("x/1", "p2") == R("x/1", "x")
    assert table.find("x/y/1", "p2") == R("x/y/1", "xy")
    assert table.find("x/1", "p2") is table.find("x/1", "p1")


def test_a_projects_own_come_first() -> None:
    table = routes()
    assert table.find("b", "p1").origin == "own"
    assert table.find("b", "p2").origin == "general"
    assert table.find("c", "p1").origin == "own"
    assert table.find("fast", "p1") == R("c", "own")
    assert table.find("a", "p1").origin == "general"
    assert table.find("own/1", "p1").origin == "own"
    assert table.find("own/1", "p2").origin == "general"
    with pytest.raises(ModelNotFound):
        table.find("c", "p2")


@pytest.mark.parametrize("name", ["", "A", "x", "x/", "x/a b", "x/\n", "x/ü", "x/" + "a" * limits.MAX_ROUTE_NAME])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ModelNotFound):
        routes().find(name, "p2")


def test_what_is_listed() -> None:
    table = routes()
    table.find("x/1", "p2")
    assert [(route.name, route.origin) for route in table.visible("p1")] == [
        ("a", "general"),
        ("b", "own"),
        ("c", "own"),
    ]
    assert [route.name for route in table.visible("p2")] == ["a", "b"]
    assert {route.name for route in table.all()} == {"a", "b", "c", "x/1"}


def test_names_that_clients_make_up_are_forgotten_the_oldest_first() -> None:
    table = routes()
    first = table.find("x/first", "p2")
    for number in range(limits.MAX_STAR_NAMES - 1):
        table.find(f"x/{number}", "p2")
    assert table.find("x/first", "p2") is first
    table.find("x/more", "p2")
    assert table.find("x/first", "p2") is first
    for number in range(limits.MAX_STAR_NAMES):
        table.find(f"x/again{number}", "p2")
    assert table.find("x/first", "p2") is not first
