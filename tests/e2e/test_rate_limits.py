"""Rate limits as clients meet them: headers, refusals, the SDK's own retry, and the administration's endpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from antiphon.app.features import rate_limits
from antiphon.domain import limits
from antiphon.domain.organisation import AuditFilter
from antiphon.domain.rates import MINUTE, NANOSECONDS, RateLimit, RateLimits
from antiphon.domain.tenancy import Key
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.policy.limits.counters import Counters
from antiphon.protocol.generation import Finish, Generation, TextDelta, Usage
from antiphon.stores.store import SqlStore
from conformance import spec
from support.access import another_key, limited
from support.admin import admin_client, admin_key
from support.gate import until
from support.inside import in_store
from support.manners import BODY, Gated, refused, streaming
from support.rawhttp import Wire
from support.serving import Serving, serving
from support.sockets import opened


class Clock:
    """The time of the counters: it stands still unless the test moves it."""

    now = 0

    def __call__(self) -> int:
        return self.now


def script(generation: Generation) -> list[Step]:
    """Costs as many tokens as the message says."""
    text = generation.turns[-1].text  # type: ignore[union-attr]  # messages only
    spent = int(text) if text.isdigit() else 2
    return [TextDelta("hi"), Finish("stop", Usage(input_tokens=spent - 1, output_tokens=1))]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rate_limits, "Counters", lambda _: Counters(clock))
    return clock


@pytest.fixture
def served(tmp_path: Path, clock: Clock) -> Iterator[Serving]:
    with serving(ScriptedEngine(script), tmp_path) as server:
        yield server


def rates(headers: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix("x-ratelimit-"): value for name, value in headers.items() if "ratelimit" in name}


def test_headers_are_exact_on_answers_streams_and_refusals(served: Serving, clock: Clock) -> None:
    secret, key = another_key(served)
    limited(served, key, rpm=3, tpm=6000)
    with Wire(served.url, {"Authorization": f"Bearer {secret}"}) as wire:
        body = {**BODY, "max_output_tokens": 100}
        first = wire.ask("POST", "/v1/responses", body)
        assert rates(first.headers) == {
            "limit-requests": "3",
            "remaining-requests": "2",
            "reset-requests": "20s",
            "limit-tokens": "6000",
            "remaining-tokens": "5895",
            "reset-tokens": "1.05s",
        }
        clock.now += 10 * NANOSECONDS
        stream = wire.ask("POST", "/v1/responses", {**body, "stream": True})
        assert rates(stream.headers)["remaining-requests"] == "1"
        assert rates(stream.headers)["reset-requests"] == "30s"
        assert rates(stream.headers)["remaining-tokens"] == "5895", "what was used is settled, and has come back"
        chat = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}], "n": 3}
        assert rates(wire.ask("POST", "/v1/chat/completions", chat).headers)["remaining-requests"] == "0"
        answer = wire.ask("POST", "/v1/responses", body)
        error = refused(answer, 429, "rate_limit_exceeded")
        assert error["type"] == "requests"
        assert error["message"] == (
            f"Rate limit reached for gpt-5-mini in key {key.id} on requests per min (RPM): "
            "Limit 3, Used 3, Requested 1. Please try again in 10s."
        )
        assert answer.headers["retry-after"] == "10"
        assert answer.headers["retry-after-ms"] == "10000"
        assert rates(answer.headers)["reset-requests"] == "50s"
        clock.now += 10 * NANOSECONDS
        assert wire.ask("POST", "/v1/responses", body).status == 200
        assert rates(wire.ask("GET", "/v1/models").headers) == {}, "nothing is generated there"


def test_without_limits_nothing_is_said(served: Serving) -> None:
    with Wire(served.url, served.headers) as wire:
        answer = wire.ask("POST", "/v1/responses", BODY)
        assert answer.status == 200
        assert rates(answer.headers) == {}


def test_a_request_that_never_fits_is_not_sent_again(served: Serving) -> None:
    secret, key = another_key(served)
    limited(served, key, tpm=50)
    client = OpenAI(base_url=served.base_url, api_key=secret, max_retries=5)
    began = time.monotonic()
    with pytest.raises(openai.RateLimitError, match="Request too large for scripted") as caught:
        client.responses.create(model="scripted", input="hi", max_output_tokens=100)
    assert caught.value.type == "tokens"
    assert "retry-after" not in caught.value.response.headers
    assert time.monotonic() - began < 0.4, "the SDK was told not to"


@pytest.mark.parametrize("stream", [False, True])
def test_the_sdks_own_retry_succeeds(tmp_path: Path, stream: bool) -> None:
    with serving(ScriptedEngine(script), tmp_path) as served:
        secret, key = another_key(served)
        # A thousand tokens come back in a second: the second call has to wait for 0.2 s.
        limited(served, key, tpm=60_000)
        client = OpenAI(base_url=served.base_url, api_key=secret, max_retries=2)
        client.responses.create(model="scripted", input="60100")
        with pytest.raises(openai.RateLimitError):
            client.with_options(max_retries=0).responses.create(model="scripted", input="hi", max_output_tokens=100)
        result: Any = client.responses.create(model="scripted", input="hi", max_output_tokens=100, stream=stream)
        if stream:
            assert [event.type for event in result][-1] == "response.completed"
        else:
            assert result.output_text == "hi"


def test_the_sdk_comes_back_for_requests_too(tmp_path: Path) -> None:
    with serving(ScriptedEngine(script), tmp_path) as served:
        secret, key = another_key(served)
        limited(served, key, rpm=240)
        seen: list[int] = []
        with httpx2.Client(event_hooks={"response": [lambda response: seen.append(response.status_code)]}) as http:
            client = OpenAI(base_url=served.base_url, api_key=secret, max_retries=2, http_client=http)
            messages = [{"role": "user", "content": "hi"}]
            for _ in range(245):
                client.chat.completions.create(model="scripted", messages=messages)  # type: ignore[arg-type]
        assert 429 in seen
        assert seen.count(200) == 245


def test_calls_at_once_are_bounded_and_a_client_that_hangs_up_frees_its_place(tmp_path: Path) -> None:
    engine = Gated()
    with serving(engine, tmp_path) as served:
        in_store(served, lambda store: store.put_rate_limit(RateLimit("organization", "", concurrent=1)))
        engine.gate()
        wire, _ = streaming(served)
        with Wire(served.url, served.headers) as other:
            answer = other.ask("POST", "/v1/responses", BODY)
            error = refused(answer, 429, "rate_limit_exceeded")
            assert "on concurrent requests: Limit 1, Used 1, Requested 1." in error["message"]
            assert answer.headers["retry-after"] == "1"
            wire.close()
            until(lambda: other.ask("POST", "/v1/responses", BODY).status == 200, "the place is free again")


def test_a_background_response_is_one_request_and_its_tokens_are_its_jobs(served: Serving, clock: Clock) -> None:
    secret, key = another_key(served)
    limited(served, key, rpm=5, tpm=6000, concurrent=1)
    client = OpenAI(base_url=served.base_url, api_key=secret, max_retries=0)
    accepted = client.responses.with_raw_response.create(
        model="scripted", input="500", background=True, max_output_tokens=100
    )
    assert accepted.headers["x-ratelimit-remaining-requests"] == "4"
    name = accepted.parse().id
    until(lambda: client.responses.retrieve(name).status == "completed", "it is made")
    answer = client.responses.with_raw_response.create(model="scripted", input="hi", max_output_tokens=100)
    assert answer.headers["x-ratelimit-remaining-requests"] == "3"
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(6000 - 500 - 105)
    with pytest.raises(openai.RateLimitError, match="Request too large"):
        client.responses.create(model="scripted", input="hi", background=True, max_output_tokens=9000)


def test_a_background_response_is_refused_while_its_tokens_are_used_up(served: Serving, clock: Clock) -> None:
    secret, key = another_key(served)
    limited(served, key, tpm=6000)
    client = OpenAI(base_url=served.base_url, api_key=secret, max_retries=0)
    client.responses.create(model="scripted", input="5950")
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="scripted", input="hi", background=True, max_output_tokens=100)
    clock.now += MINUTE
    name = client.responses.create(model="scripted", input="hi", background=True, max_output_tokens=100).id
    until(lambda: client.responses.retrieve(name).status == "completed", "it is made")


def jobs_come_under(monkeypatch: pytest.MonkeyPatch, **rates: int) -> None:
    """Limits that were set after a response was accepted, and before it is made."""

    async def limits_of(_: SqlStore, key: Key) -> RateLimits:
        return RateLimits([RateLimit("key", key.id, **rates)])

    monkeypatch.setattr(SqlStore, "limits_of", limits_of)


def test_a_background_response_waits_until_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs_come_under(monkeypatch, concurrent=1)
    engine = Gated()
    with serving(engine, tmp_path) as served:
        client = served.client()
        gate = engine.gate()
        first, second = (client.responses.create(model="scripted", input="hi", background=True).id for _ in range(2))
        assert gate.arrived.wait(10)
        statuses = {client.responses.retrieve(name).status for name in (first, second)}
        assert statuses == {"in_progress", "queued"}
        gate.open()
        for name in (first, second):
            until(lambda name=name: client.responses.retrieve(name).status == "completed", "both are made")


def test_a_background_response_that_fits_no_more_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs_come_under(monkeypatch, tpm=10)
    with serving(ScriptedEngine(script), tmp_path) as served:
        client = served.client()
        name = client.responses.create(model="scripted", input="hi", background=True).id
        until(lambda: client.responses.retrieve(name).status == "failed", "it ends")
        error = client.responses.retrieve(name).error
        assert error is not None
        assert error.code == "rate_limit_exceeded"


def test_websockets_come_under_the_same_limits(served: Serving, clock: Clock) -> None:
    secret, key = another_key(served)
    limited(served, key, rpm=2)
    with opened(served, key=secret) as socket:
        assert socket.ask()["status"] == "completed"
        assert socket.ask()["status"] == "completed"
        assert socket.refusal() == (429, "rate_limit_exceeded", None)
        clock.now += 30 * NANOSECONDS
        assert socket.ask()["status"] == "completed"


# --- the endpoints ----------------------------------------------------------------------------------------------------
def admin(served: Serving) -> Any:
    return admin_client(served, admin_key(served)).admin.organization.projects.rate_limits


def project_of(served: Serving) -> str:
    return in_store(served, lambda store: store.list_projects())[0].id


def test_a_projects_limits_are_listed_and_set(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEY_CACHE_TTL", 0.0)
    project = project_of(served)
    mine = admin(served)
    listed = list(mine.list_rate_limits(project))
    assert {limit.id for limit in listed} == {"rl-scripted", "rl-gpt-5-mini", "rl-gpt-5-nano", "rl-gpt-4o-mini"}
    for limit in listed:
        assert limit.max_requests_per_1_minute == limit.max_tokens_per_1_minute == limits.MAX_RATE
        assert limit.max_requests_per_1_day is None
    changed = mine.update_rate_limit("rl-gpt-5-mini", project_id=project, max_requests_per_1_minute=2)
    assert (changed.model, changed.max_requests_per_1_minute) == ("gpt-5-mini", 2)
    changed = mine.update_rate_limit(
        "rl-gpt-5-mini", project_id=project, max_tokens_per_1_minute=9000, max_requests_per_1_day=50
    )
    assert changed.max_requests_per_1_minute == 2, "what is not named stays as it is"
    client = served.client()
    client.responses.create(model="gpt-5-mini", input="hi")
    answer = client.responses.with_raw_response.create(model="gpt-5-mini", input="hi")
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(openai.RateLimitError, match=f"in project {project} on requests per min"):
        client.responses.create(model="gpt-5-mini", input="hi")
    client.responses.create(model="gpt-5-nano", input="hi")
    mine.update_rate_limit("rl-gpt-5-mini", project_id=project, max_requests_per_1_minute=limits.MAX_RATE)
    client.responses.create(model="gpt-5-mini", input="hi")
    entries = in_store(
        served, lambda store: store.list_audit(AuditFilter(types=("rate_limit.updated",)), limit=10)
    ).data
    assert [entry.resource_id for entry in entries] == ["rl-gpt-5-mini"] * 3
    assert entries[-1].after == {"max_requests_per_1_minute": 2}
    assert entries[-1].before == {"max_requests_per_1_minute": limits.MAX_RATE}
    assert entries[-1].project_id == project
    assert entries[-1].actor.key_id


def test_the_list_has_pages(served: Serving) -> None:
    project = project_of(served)
    mine = admin(served)
    every = [limit.id for limit in mine.list_rate_limits(project)]
    first = mine.list_rate_limits(project, limit=3)
    assert [limit.id for limit in first.data] == every[:3]
    assert first.has_more
    assert [limit.id for limit in mine.list_rate_limits(project, limit=3)] == every, "the SDK goes on by itself"
    before = mine.list_rate_limits(project, limit=2, before=every[3])
    assert [limit.id for limit in before.data] == every[1:3]
    assert before.has_more
    between = mine.list_rate_limits(project, after=every[0], before=every[3])
    assert [limit.id for limit in between.data] == every[1:3]
    assert not between.has_more


def test_bodies_are_as_specified_and_bad_ones_refused(served: Serving) -> None:
    project = project_of(served)
    path = f"/v1/organization/projects/{project}/rate_limits"
    with Wire(served.url, {"Authorization": f"Bearer {admin_key(served)}"}) as wire:
        listed = wire.ask("GET", path)
        spec.check("openai", "ProjectRateLimitListResponse", listed.json())
        changed = wire.ask("POST", f"{path}/rl-scripted", {"max_requests_per_1_day": 5})
        spec.check("openai", "ProjectRateLimit", changed.json())
        same = wire.ask(
            "POST", f"{path}/rl-scripted", {"max_requests_per_1_day": None, "max_images_per_1_minute": None}
        )
        assert same.json() == changed.json()
        for body, param in (
            ({"max_requests_per_1_minute": 0}, "max_requests_per_1_minute"),
            ({"max_tokens_per_1_minute": -1}, "max_tokens_per_1_minute"),
            ({"max_tokens_per_1_minute": "many"}, "max_tokens_per_1_minute"),
            ({"max_images_per_1_minute": 5}, "max_images_per_1_minute"),
            ({"batch_1_day_max_input_tokens": 5}, "batch_1_day_max_input_tokens"),
            ({"colour": "red"}, "colour"),
        ):
            answer = wire.ask("POST", f"{path}/rl-scripted", body)
            assert answer.status == 400
            assert answer.error["param"] == param
        for method, unknown in (
            ("GET", f"/v1/organization/projects/{'x' * 40}/rate_limits"),
            ("GET", "/v1/organization/projects/default/rate_limits"),
            ("GET", f"{path}?after=rl-never"),
            ("POST", f"{path}/rl-never"),
            ("POST", f"{path}/scripted"),
        ):
            answer = wire.ask(method, unknown, {} if method == "POST" else None)
            assert answer.status == 404, unknown
        assert wire.ask("GET", f"{path}?limit=0").status == 400


def test_only_an_owners_admin_key_sets_limits(served: Serving) -> None:
    project = project_of(served)
    # Not even whoever owns the project: its limits are the organisation's.
    for place in (None, "owner"):
        secret = admin_key(served, email=f"{place}@example.com", role="reader", place=place)
        reader = admin_client(served, secret).admin.organization.projects.rate_limits
        assert list(reader.list_rate_limits(project))
        with pytest.raises(openai.PermissionDeniedError):
            reader.update_rate_limit("rl-scripted", project_id=project, max_requests_per_1_minute=5)
    path = f"/v1/organization/projects/{project}/rate_limits"
    with Wire(served.url, served.headers) as wire:
        assert wire.ask("GET", path).status == 401
        assert wire.ask("POST", f"{path}/rl-scripted", {}).status == 401
