"""`antiphon routes`: what it lists, and what it finds out about targets, against real servers and a spoiling proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.protocol.generation import CallArguments, CallStart, Finish, Generation, TextDelta, Usage
from support.fault_proxy import WORDS, fault_proxy
from support.serving import serving

from .conftest import Run

USAGE = Usage(input_tokens=5, output_tokens=2)


def able(generation: Generation) -> Sequence[Step]:
    """Does whatever it is asked for."""
    if generation.tool_choice.mode == "required":
        return [CallStart("get_weather", "c1"), CallArguments('{"city": "Paris"}'), Finish("tool_calls", USAGE)]
    if generation.output.kind == "json_schema":
        return [TextDelta('{"city": "Paris"}'), Finish("stop", USAGE)]
    return [TextDelta("hi"), Finish("stop", USAGE)]


@pytest.fixture
def variables(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of a few routes to a server that can do everything, some of them over a proxy that spoils it."""
    with serving(ScriptedEngine(able, name="m"), tmp_path / "behind") as behind:
        address = urlsplit(behind.url)
        assert address.hostname
        assert address.port
        with fault_proxy(address.hostname, address.port, "m") as proxy:
            secret = {"env": "UPSTREAM_SECRET"}
            deadlines = {"connect": 1, "first": 2, "between": 2, "whole": 3}
            upstreams: dict[str, Any] = {
                "sound": {"kind": "chat", "url": behind.base_url, "secret": secret, "profile": "openai"},
                "spoilt": {"kind": "chat", "url": f"http://127.0.0.1:{proxy.port}/v1", "secret": secret},
                "dead": {"kind": "chat", "url": "http://127.0.0.1:9/v1"},
                "unset": {"kind": "chat", "url": "http://127.0.0.1:9/v1", "secret": {"env": "NOT_SET"}},
            }
            routes: dict[str, Any] = {
                "good": {"targets": [{"upstream": "sound", "model": "m", "weight": 3}], "tags": ["fast"]},
                "refused": {"targets": [{"upstream": "spoilt", "model": "status_401"}]},
                "broken": {
                    "targets": [{"upstream": "spoilt", "model": "status_500"}],
                    "fallbacks": [{"route": "good"}],
                },
                "mute": {"targets": [{"upstream": "spoilt", "model": "stall_before"}], "deadlines": deadlines},
                "dead": {"targets": [{"upstream": "dead", "model": "x"}]},
                "unset": {"targets": [{"upstream": "unset", "model": "x"}]},
                "any/*": {"targets": [{"upstream": "sound"}]},
            }
            yield {
                "UPSTREAM_SECRET": behind.key,
                "ANTIPHON_MODEL": "none",
                "ANTIPHON_UPSTREAMS": json.dumps(upstreams),
                "ANTIPHON_ROUTES": json.dumps(routes),
                "ANTIPHON_PROJECT_ROUTES": json.dumps({"staging": {"good": {"targets": [{"upstream": "dead"}]}}}),
            }


def test_list(run: Run, variables: dict[str, str]) -> None:
    done = run("routes", "list", env=variables)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["ROUTE", "PROJECT", "CHOOSE", "TARGETS", "FALLBACKS", "TAGS", "RETRIES"]
    assert lines[1] == ["good", "-", "weight", "sound/m", "(3)", "-", "fast", "2"]
    assert lines[3] == ["broken", "-", "weight", "spoilt/status_500", "(1)", "route", "good", "-", "2"]
    assert lines[-1] == ["good", "staging", "weight", "dead", "(1)", "-", "-", "2"]
    theirs = json.loads(run("routes", "list", "--project", "staging", "--json", env=variables).stdout)
    assert [route["targets"] for route in theirs if route["route"] == "good"] == [[{"target": "dead", "weight": 1}]]


def test_everything_works(run: Run, variables: dict[str, str]) -> None:
    done = run("routes", "test", "good", "any/*", "--star", "m", env=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    head, row = done.stdout.splitlines()
    assert head.split() == [
        *("TARGET", "REACH", "SECRET", "ANSWER", "STREAM", "TOOLS", "SCHEMA", "USAGE", "FIRST", "ROUTES"),
    ]
    assert row.split()[:8] == ["sound/m", *["✓"] * 7]
    assert row.split()[8:] == [row.split()[8], "ms", "good,", "any/*"]


def test_what_does_not_work_is_told_with_its_reason_and_nothing_else(run: Run, variables: dict[str, str]) -> None:
    done = run("routes", "test", "--json", env=variables)
    assert done.returncode == 1
    found = {row["target"]: row for row in json.loads(done.stdout)}
    assert {name: row["failed"] for name, row in found.items()} == {
        "sound/m": False,
        "spoilt/status_401": True,
        "spoilt/status_500": True,
        "spoilt/stall_before": True,
        "dead/x": True,
        "unset/x": True,
        "sound/*": True,
    }
    assert found["spoilt/status_401"]["checks"] == {"reach": True, "secret": False}
    assert found["spoilt/status_500"]["checks"] == {"reach": True, "secret": True, "answer": False}
    assert found["spoilt/stall_before"]["checks"] == {"reach": False, "answer": False}
    assert found["dead/x"]["checks"] == {"reach": False}
    assert "NOT_SET is not set" in found["unset/x"]["reasons"][0]
    assert "--star" in found["sound/*"]["reasons"][0]
    told = done.stdout + done.stderr
    for word in (variables["UPSTREAM_SECRET"], "sk-planted", WORDS, "127.0.0.1", "Traceback"):
        assert word not in told


def test_refusals(run: Run, variables: dict[str, str]) -> None:
    done = run("routes", "test", "nope", env=variables)
    assert done.returncode == 1
    assert "There is no route 'nope'" in done.stderr
    done = run("routes", "test")
    assert done.returncode == 1
    assert "There are no routes" in done.stderr
    done = run("routes", "list", env={"ANTIPHON_ROUTES": '{"r": {"targets": [{"upstraem": "x"}]}}'})
    assert done.returncode == 1
    assert done.stderr == (
        "antiphon: routes.r.targets[0].upstraem: unknown; did you mean 'upstream'? (in: variable ANTIPHON_ROUTES).\n"
    )
