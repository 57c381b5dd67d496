"""What the observer counts and logs of calls."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.route_trace import Attempt, RouteTrace, TargetName
from antiphon.domain.routing import RouteSpec, TargetSpec
from antiphon.domain.tenancy import Caller, Key, Project
from antiphon.engines.scripted import ScriptedEngine
from antiphon.engines.single import SingleRoute
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.observe.observer import Observer
from antiphon.policy.observe.series import KeyLabel, Latency, Request
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.protocol.generation import Generation, Usage
from support.loglines import logged

OPENAI = TargetName("openai", "gpt-5")
LOCAL = TargetName("local", "small")
ASKED = Generation("gpt-5", ())
KEY = KeyLabel("proj_1", "key_1")


def made(name: str = "gpt-5", **fields: Any) -> Call:
    """A call that went well, with nothing generated yet."""
    caller = Caller(Key(KEY.key, KEY.project, "a name", b"digest", "sk-…hint", 1), Project(KEY.project, "p", 1))
    return Call(caller, "/v1/chat/completions", "req_1", time.time(), model=name, status=200, **fields)


def generated(
    call: Call, trace: RouteTrace, *, usage: Usage | None = None, route: SingleRoute | None = None
) -> GenerationContext:
    context = GenerationContext(call, route or SingleRoute("gpt-5", ScriptedEngine(), 1), ASKED, trace=trace)
    context.usage = usage
    context.first_at = call.began + 0.2
    call.generations.append(context)
    return context


def test_a_call_is_counted_everywhere() -> None:
    observer = Observer(["gpt-5"], cost=lambda _: 1_500)
    call = made()
    trace = RouteTrace([Attempt(OPENAI, "upstream_error", 12), Attempt(LOCAL, None, 30)], LOCAL, fallback=True)
    generated(call, trace, usage=Usage(10, 4, 20, 5, 1, 2, 3))
    call.headers.append((b"x-antiphon-cache", b"miss"))
    with logged() as lines:
        observer.call_ended(call)
    assert dict(observer.requests)[Request("/v1/chat/completions", "POST", "2xx", "gpt-5")].value == 1
    row = dict(observer.models)["gpt-5"]
    assert (row.calls, row.input, row.output, row.cached) == (1, 10, 20, 4)
    assert (row.reasoning, row.cache_write, row.input_audio, row.output_audio) == (5, 1, 2, 3)
    assert (row.cost, row.unknown_cost) == (1_500, 0)
    targets = {name: (each.attempts, each.failed, each.fallbacks) for name, each in observer.targets}
    assert targets == {"openai/gpt-5": (1, 1, 0), "local/small": (1, 0, 1)}
    assert dict(dict(observer.first_token)[Latency("gpt-5", "local/small")].buckets())["0.25"] == 1
    by_key = dict(observer.keys)[KEY]
    assert (by_key.calls, by_key.errors, by_key.input, by_key.output, by_key.cost) == (1, 0, 10, 20, 1_500)
    assert dict(observer.cache)["miss"].value == 1
    [line] = lines.all()
    assert (
        line.items()
        >= {
            "method": "POST",
            "path": "/v1/chat/completions",
            "status": 200,
            "project": "proj_1",
            "key": "key_1",
            "request_id": "req_1",
            "model": "gpt-5",
            "target": "local/small",
            "attempts": 2,
            "fallback": True,
            "first_ms": 200,
            "input_tokens": 10,
            "cached_tokens": 4,
            "output_tokens": 20,
            "cost_usd": 0.0000015,
            "cache": "miss",
        }.items()
    )
    assert "hint" not in lines.text
    assert "a name" not in lines.text


def test_several_generations_are_one_call() -> None:
    observer = Observer(["gpt-5"])
    call = made()
    for _ in range(3):
        generated(call, RouteTrace(target=LOCAL), usage=Usage(10, 0, 5))
    with logged() as lines:
        observer.call_ended(call)
    row = dict(observer.models)["gpt-5"]
    assert (row.calls, row.input, row.output) == (1, 30, 15)
    assert dict(observer.targets)["local/small"].attempts == 3
    [line] = lines.all()
    assert (line["input_tokens"], line["output_tokens"], line["attempts"]) == (30, 15, 3)
    assert "cost_usd" not in line


def test_a_cost_that_is_not_known_is_counted_as_such() -> None:
    observer = Observer(["gpt-5"], cost=lambda _: None)
    call = made()
    generated(call, RouteTrace(target=LOCAL), usage=Usage(10, 0, 5))
    with logged() as lines:
        observer.call_ended(call)
    row = dict(observer.models)["gpt-5"]
    assert (row.cost, row.unknown_cost) == (0, 1)
    assert "cost_usd" not in lines.all()[0]


def test_names_that_clients_make_up_are_no_labels() -> None:
    observer = Observer(["gpt-5"])
    star = SingleRoute("openai/made-up", ScriptedEngine(), 1)
    star.spec = RouteSpec("openai/*", (TargetSpec("openai"),))
    with logged() as lines:
        unknown = made("a secret name")
        unknown.status, unknown.error = 404, "model_not_found"
        observer.call_ended(unknown)
        call = made("openai/made-up")
        generated(
            call,
            RouteTrace([Attempt(TargetName("openai", "made-up"), None, 1)], TargetName("openai", "made-up")),
            route=star,
        )
        observer.call_ended(call)
        observer.answered("/healthz", "A-METHOD", 405, 0.1, "req_2", "method_not_allowed", quiet=False)
    labels = {each.model for each, _ in observer.requests}
    assert labels == {"other", "openai/*", ""}
    assert {each.method for each, _ in observer.requests} == {"POST", "other"}
    assert [name for name, _ in observer.targets] == ["openai/*"]
    for text in ("a secret name", "made-up", "A-METHOD"):
        assert text not in lines.text


def test_the_number_of_series_is_bounded() -> None:
    observer = Observer()
    for number in range(limits.MAX_SERIES + 50):
        call = made()
        call.caller = Caller(Key(f"key_{number}", "proj_1", "", b"", "", 1), call.caller.project)
        call.error = f"code_{number}"
        observer.call_ended(call)
    assert len(observer.keys) == len(observer.errors) == limits.MAX_SERIES + 1
    assert dict(observer.keys)[KeyLabel("other", "other")].calls == 50
    assert dict(observer.errors)["other"].value == 50


@pytest.mark.parametrize("status", [0, 200, 404, 499, 503, 1000, -1])
def test_any_status_can_be_counted(status: int) -> None:
    observer = Observer()
    call = made()
    call.status = status
    observer.call_ended(call)
    assert len(observer.requests) == 1


def test_what_broke_a_stream_off_is_told() -> None:
    observer = Observer(["gpt-5"])
    call = made(streamed=True)
    generated(call, RouteTrace(target=LOCAL)).error = "upstream_error"
    with logged() as lines:
        observer.call_ended(call)
    assert lines.all()[0]["error"] == "upstream_error"
    row = dict(observer.targets)["local/small"]
    assert (row.attempts, row.failed) == (1, 1)


def test_a_client_that_hung_up_does_not_blame_the_target() -> None:
    observer = Observer(["gpt-5"])
    call = made(streamed=True)
    generated(call, RouteTrace(target=LOCAL)).error = "cancelled"
    observer.call_ended(call)
    assert dict(observer.targets)["local/small"].failed == 0


def test_generations_in_flight_are_those_that_were_entered_and_not_left() -> None:
    observer = Observer(["gpt-5"])
    engine = ScriptedEngine()
    route = SingleRoute("gpt-5", engine, 1)
    gate = Pipeline([observer], [observer])

    async def main() -> None:
        call = made()
        bound = gate.bound(call, route)
        stream = await bound.generate(ASKED)
        assert observer.generating == 1
        await bound.check(ASKED)
        assert observer.generating == 1
        async for _ in stream:
            pass
        assert observer.generating == 0
        cut = await bound.generate(ASKED)
        await anext(cut)
        await cut.aclose()
        assert observer.generating == 0

    asyncio.run(main())


def test_a_call_costs_a_few_microseconds() -> None:
    """Ten times what it is meant to cost at most, since tests run on busy machines."""
    observer = Observer(["gpt-5"], cost=lambda _: 1_500)
    call = made()
    generated(call, RouteTrace([Attempt(LOCAL, None, 30)], LOCAL), usage=Usage(10, 4, 20))
    with logged("warning"):
        best = min(_timed(observer, call) for _ in range(20))
    assert best < 100e-6  # seconds


def _timed(observer: Observer, call: Call) -> float:
    began = time.perf_counter()
    for _ in range(100):
        observer.call_ended(call)
    return (time.perf_counter() - began) / 100
