"""What goes wrong around upstreams is told clearly: a status, a code, a parameter, and nothing of the inside."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from antiphon.domain.errors import SetupError
from antiphon.engines.scripted import ScriptedEngine, saying
from antiphon.settings.parsers import Misfit
from hostile.judge import INSIDE
from support.access import another_key
from support.money import admin_client, in_store
from support.rawhttp import Wire
from support.real import environment, run_program
from support.serving import Serving, serving
from support.upstream_of import tables, upstream

BODIES: dict[str, dict[str, Any]] = {
    "/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/responses": {"input": "hi"},
    "/responses/compact": {"input": "hi"},
    "/responses/input_tokens": {"input": "hi"},
}
SURFACES = ["/chat/completions", "/responses"]
WRONG = "sk-antiphon-" + "W" * 43
SQL = "'; DROP TABLE api_keys; -- \" OR 1=1"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    path = tmp_path_factory.mktemp("bad")
    with serving(ScriptedEngine(saying("yes")), path / "behind") as behind:
        good = upstream(behind, path / "good")
        bad = upstream(behind, path / "bad")
        (path / "bad").write_text(WRONG)
        dead = {"url": "http://127.0.0.1:9/v1"}
        kinds = ("chat", "responses")
        upstreams = {
            **{f"good-{kind}": {**good, "kind": kind} for kind in kinds},
            **{f"bad-{kind}": {**bad, "kind": kind} for kind in kinds},
            **{f"dead-{kind}": {**dead, "kind": kind} for kind in kinds},
        }
        routes = {name: {"targets": [{"upstream": name, "model": "scripted"}], "retries": 0} for name in upstreams} | {
            "star/*": {"targets": [{"upstream": "good-chat"}]}
        }
        with serving(None, path / "front", **tables(upstreams, routes)) as front:
            yield front


def post(served: Serving, path: str, model: str, **more: Any) -> httpx2.Response:
    body = {**BODIES[path], "model": model, **more}
    return httpx2.post(f"{served.base_url}{path}", headers=served.headers, json=body, timeout=20)


def refused(answer: httpx2.Response, status: int, code: str, param: str | None = None) -> None:
    """Exactly this, in OpenAI's shape, with nothing of the inside."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert set(error) == {"message", "type", "param", "code"}
    told = answer.text + str(answer.headers.multi_items())
    assert not INSIDE.search(told), told
    for word in (WRONG, "WWWW", "127.0.0.1", "Incorrect API key"):
        assert word not in told


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", ["chat", "responses"])
@pytest.mark.parametrize("path", SURFACES)
def test_an_upstream_that_is_down_or_refuses_our_secret(served: Serving, path: str, kind: str, stream: bool) -> None:
    refused(post(served, path, f"dead-{kind}", stream=stream), 502, "upstream_unreachable")
    refused(post(served, path, f"bad-{kind}", stream=stream), 502, "upstream_refused")
    assert post(served, path, f"good-{kind}", stream=stream).status_code == 200


@pytest.mark.parametrize("kind", ["chat", "responses"])
def test_the_same_in_the_background(served: Serving, kind: str) -> None:
    for state in ("dead", "bad"):
        made = post(served, "/responses", f"{state}-{kind}", background=True).json()
        deadline = time.monotonic() + 15
        while made["status"] in {"queued", "in_progress"}:
            assert time.monotonic() < deadline
            time.sleep(0.02)
            url = f"{served.base_url}/responses/{made['id']}"
            made = httpx2.get(url, headers=served.headers).json()
        assert (made["status"], made["error"]["code"]) == ("failed", "server_error")
        assert not INSIDE.search(json.dumps(made["error"]))
        assert "WWWW" not in json.dumps(made)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "model",
    ["nothing", "star/", "star/é", "star/a b", "star/" + "x" * 300, "good-chat ", SQL, "../v1", "\x00"],
)
def test_names_that_lead_nowhere(served: Serving, path: str, model: str) -> None:
    answer = post(served, path, model)
    assert answer.status_code in {400, 404}, answer.text
    error = answer.json()["error"]
    assert error["param"] == "model"
    assert error["code"] in {"model_not_found", "invalid_value", "string_above_max_length", "invalid_type"}
    assert not INSIDE.search(error["message"])


@pytest.mark.parametrize("path", SURFACES)
def test_an_unknown_price_under_a_hard_budget(served: Serving, path: str) -> None:
    limits = admin_client(served).admin.organization.spend_limit
    limits.update(threshold_amount=500, currency="USD", interval="month")
    try:
        answer = post(served, path, "good-chat")
        refused(answer, 403, "price_unknown")
        assert answer.headers["x-should-retry"] == "false"
    finally:
        limits.delete()
    assert post(served, path, "good-chat").status_code == 200


# --- keys -------------------------------------------------------------------------------------------------------------
def test_keys_that_are_no_longer_or_never_were(served: Serving) -> None:
    expired, _ = another_key(served, expires_at=int(time.time()) - 1)
    revoked, key = another_key(served)
    in_store(served, lambda store: store.revoke_key(key.id, int(time.time())))
    wanted = {
        None: "missing_api_key",
        "Basic abc": "invalid_authorization",
        f"Bearer {expired}": "invalid_api_key",
        f"Bearer {revoked}": "invalid_api_key",
        f"Bearer {WRONG}": "invalid_api_key",
        f"Bearer {SQL}": "invalid_api_key",
    }
    with Wire(served.url) as wire:
        for value, code in wanted.items():
            for path, body in BODIES.items():
                answer = wire.ask("POST", f"/v1{path}", {**body, "model": "good-chat"}, Authorization=value)
                assert (answer.status, answer.error["code"], answer.error["param"]) == (401, code, None)
                assert answer.error["type"] == "invalid_request_error"


# --- headers ----------------------------------------------------------------------------------------------------------
HEADERS = {
    **dict.fromkeys(("Accept", "User-Agent", "X-Request-Id", "X-Client-Request-Id", "OpenAI-Beta", "Referer"), 200),
    **dict.fromkeys(("OpenAI-Organization", "OpenAI-Project", "Last-Event-ID", "Traceparent", "Cookie"), 200),
    **dict.fromkeys(("X-Forwarded-For", "Forwarded", "X-Stainless-Lang", "X-Stainless-Retry-Count", "Origin"), 200),
    **dict.fromkeys(("X-Antiphon-Target", "X-Antiphon-Cost", "Accept-Encoding", "If-None-Match", "Cache-Control"), 200),
    "Idempotency-Key": 200,
    "Authorization": 401,
    "Content-Type": 415,
    "Content-Encoding": 415,
    "X-Antiphon-Cache": 400,
}


@pytest.mark.parametrize("path", SURFACES)
@pytest.mark.parametrize("header", HEADERS)
def test_sql_in_every_header(served: Serving, header: str, path: str) -> None:
    before = in_store(served, lambda store: store.list_projects())
    with Wire(served.url, {"Authorization": f"Bearer {served.key}"}) as wire:
        body = {**BODIES[path], "model": "good-chat"}
        # A key of a request that is sent once is not used again for another one.
        answer = wire.ask("POST", f"/v1{path}", body, **{header.replace("-", "_"): f"{SQL} {path}"})
        assert answer.status == HEADERS[header], answer.body
        if answer.status != 200:
            assert set(answer.error) == {"message", "type", "param", "code"}
            assert answer.error["code"]
            assert not INSIDE.search(answer.error["message"])
        again = wire.ask("POST", f"/v1{path}", body)
        assert again.status == 200
    assert in_store(served, lambda store: store.list_projects()) == before


# --- settings ---------------------------------------------------------------------------------------------------------
def one_target(name: str, *fallbacks: str) -> dict[str, Any]:
    targets = [{"upstream": "u", "model": name}]
    return {"targets": targets, "fallbacks": [{"route": other} for other in fallbacks]}


@pytest.mark.parametrize(
    ("routes", "told"),
    [
        ({"r": {}}, "routes.r.targets"),
        ({"r": {"targets": []}}, "routes.r.targets"),
        ({"r": {"targets": [{"upstream": "nobody"}]}}, "routes.r.targets[0]"),
        ({"r": one_target("m", "r")}, "circle: r -> r"),
        ({"a": one_target("m", "b"), "b": one_target("n", "c"), "c": one_target("o", "a")}, "circle: a -> b -> c -> a"),
        ({"r": one_target("m", "nobody")}, "routes.r.fallbacks[0]"),
    ],
)
def test_routes_that_lead_nowhere_stop_the_start(routes: dict[str, Any], told: str, tmp_path: Path) -> None:
    upstreams = {"u": {"kind": "chat", "url": "http://127.0.0.1:9/v1"}}
    with pytest.raises((Misfit, SetupError)) as caught:
        tables(upstreams, routes)
    assert told in str(caught.value)
    (tmp_path / "antiphon.toml").write_text("")
    variables = {"ANTIPHON_UPSTREAMS": json.dumps(upstreams), "ANTIPHON_ROUTES": json.dumps(routes)}
    done = run_program("serve", "--data-dir", str(tmp_path), "--model", "none", env=environment(**variables))
    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_request_cannot_choose_an_address(served: Serving) -> None:
    told = {"base_url": "http://127.0.0.1:9", "api_base": "http://127.0.0.1:9", "upstream": "dead-chat", "secret": "x"}
    for name, value in told.items():
        answer = post(served, "/chat/completions", "good-chat", **{name: value})
        # What nobody knows goes to the upstream, which says what it thinks of it; it goes nowhere else.
        assert answer.headers.get("x-antiphon-target", "good-chat/scripted") == "good-chat/scripted"
        assert answer.status_code in {200, 400}
