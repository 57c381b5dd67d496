"""More connections, and more bodies, than there is room for."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.engines.scripted import ScriptedEngine
from antiphon.http import connection_limit
from antiphon.http.body_budget import BodyBudget, BodyRefused
from support.gate import until
from support.manners import BODY, Gated, refused
from support.rawhttp import Wire
from support.serving import Serving, serving


def connected(served: Serving, count: int) -> list[Wire]:
    wires = [Wire(served.url, served.headers) for _ in range(count)]
    for wire in wires:
        assert wire.ask("GET", "/healthz").status == 200
    return wires


def test_more_connections_than_there_may_be_are_told_so(tmp_path: Path) -> None:
    with serving(ScriptedEngine(), tmp_path, max_connections=3) as served:
        wires = connected(served, 3)
        for _ in range(3 * limits.MAX_LINGERING):
            with Wire(served.url, served.headers) as late:
                data = json.dumps(BODY).encode()
                late.send(late.head("POST", "/v1/responses", {}, len(data)) + data)
                answer = late.read()
                refused(answer, 503, "server_is_overloaded")
                assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
        assert all(wire.ask("GET", "/healthz").status == 200 for wire in wires)
        wires[0].close()

        def fits() -> bool:
            with Wire(served.url, served.headers) as wire:
                return wire.ask("GET", "/healthz").status == 200

        until(fits, "its place is free")


class Transport:
    """As much of a transport as is asked."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        return self

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor


@pytest.mark.parametrize(("files", "highest"), [(64, 47), (1024, 767), (65_536, 65_279)])
def test_some_files_are_left_for_everything_else(files: int, highest: int) -> None:
    limit = connection_limit.ConnectionLimit(1000, files)
    assert limit.admits(0, Transport(highest))  # type: ignore[arg-type]  # all that is looked at
    assert not limit.admits(0, Transport(highest + 1))  # type: ignore[arg-type]


def test_who_is_turned_away_and_takes_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TURN_AWAY_TIMEOUT", 0.05)
    with serving(ScriptedEngine(), tmp_path, max_connections=1) as served:
        (inside,) = connected(served, 1)
        place = served.url.removeprefix("http://").split(":")
        for _ in range(3):
            with socket.create_connection((place[0], int(place[1])), 10) as late:
                while late.recv(65536):
                    pass
        assert inside.ask("GET", "/healthz").status == 200


# --- bodies -----------------------------------------------------------------------------------------------------------
def test_more_bodies_than_there_is_room_for_wait_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BODIES", 0)
    engine = Gated()
    gate = engine.gate()
    body = json.dumps({**BODY, "input": "x" * 80_000}).encode()
    with (
        serving(engine, tmp_path, max_body=100_000) as served,
        Wire(served.url, served.headers) as held,
        Wire(served.url, served.headers) as wire,
    ):
        held.send(held.head("POST", "/v1/responses", {}, len(body)) + body)
        assert gate.arrived.wait(10)
        with Wire(served.url, served.headers) as second:
            second.send(second.head("POST", "/v1/responses", {}, len(body)) + body[:-1])
            until(lambda: wire.ask("POST", "/v1/responses", body).status == 503, "two bodies take all the room")
            answer = wire.ask("POST", "/v1/responses", body)
            refused(answer, 503, "server_is_overloaded")
            assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
            assert wire.ask("POST", "/v1/responses", BODY).status == 200, "a small one still fits"
            second.send(body[-1:])
            assert second.read().status == 200
        gate.open()
        assert held.read().status == 200
        for _ in range(5):
            assert wire.ask("POST", "/v1/responses", body).status == 200


def test_room_is_given_back() -> None:
    budget = BodyBudget(10)
    budget.reserve(6)
    with pytest.raises(BodyRefused):
        budget.reserve(5)
    budget.release(6)
    budget.reserve(10)
    assert budget.reserved == 10


def test_a_pool_of_few_files_asks_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(connection_limit.resource, "getrlimit", lambda _: (1024, 1_048_576))
    monkeypatch.setattr(connection_limit.resource, "setrlimit", lambda _, pair: asked.append(pair))
    assert connection_limit.raise_file_limit() == limits.MAX_OPEN_FILES
    assert asked == [(limits.MAX_OPEN_FILES, 1_048_576)]
    monkeypatch.setattr(connection_limit.resource, "getrlimit", lambda _: (64, 64))
    assert connection_limit.raise_file_limit() == 64
    assert len(asked) == 1
