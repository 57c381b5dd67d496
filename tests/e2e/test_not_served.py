"""What says why it is not there: endpoints of OpenAI's, browsers, ids of another kind; and what models can hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from antiphon.domain.routing import RouteSpec, TargetSpec, UpstreamSpec
from antiphon.engines.scripted import ScriptedEngine, saying
from support.manners import refused
from support.rawhttp import Wire
from support.serving import Serving, serving

UPSTREAM = UpstreamSpec(name="up", kind="chat", url="http://127.0.0.1:9/v1")


def route(name: str, *contexts: int | None) -> RouteSpec:
    targets = tuple(TargetSpec(upstream="up", model=f"m{n}", context_tokens=size) for n, size in enumerate(contexts))
    return RouteSpec(name=name, targets=targets)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    routes = {each.name: each for each in (route("known", 32_000, 8_000), route("unknown", 32_000, None))}
    path = tmp_path_factory.mktemp("not-served")
    more: dict[str, Any] = {"upstreams": {"up": UPSTREAM}, "routes": routes, "alias": {"gpt-*": "default"}}
    with serving(ScriptedEngine(saying("hi")), path, **more) as served:
        yield served


@pytest.fixture
def wire(served: Serving) -> Iterator[Wire]:
    with Wire(served.url, served.headers) as wire:
        yield wire


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("POST", "/v1/embeddings", "/v1/embeddings"),
        ("GET", "/v1/batches/batch_1", "/v1/batches/{batch_id}"),
        ("POST", "/v1/images/edits", "/v1/images/edits"),
        ("GET", "/v1/agents", "/v1/agents"),
        ("PUT", "/v1/files", "/v1/files"),
    ],
)
def test_endpoints_of_openai_are_known_by_name(wire: Wire, method: str, path: str, named: str) -> None:
    error = refused(wire.ask(method, path), 404, "not_served")
    assert error["message"] == f"Antiphon does not serve {named} yet."


def test_a_method_of_openai_is_known_by_name(wire: Wire) -> None:
    error = refused(wire.ask("DELETE", "/v1/models/scripted"), 405, "not_served")
    assert error["message"] == "Antiphon does not serve DELETE /v1/models/{model} yet."
    refused(wire.ask("PUT", "/v1/models/scripted"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "path", ["/v1/nothing", "/v1/embeddings/x/y", "/v1//", "/v1/batches//cancel", "/v2/embeddings"]
)
def test_others_are_no_endpoints(wire: Wire, path: str) -> None:
    refused(wire.ask("GET", path), 404, "unknown_url")


def test_a_browser_is_told_what_to_set(wire: Wire) -> None:
    asking = {"origin": "https://app.example", "access_control_request_method": "POST", "authorization": None}
    error = refused(wire.ask("OPTIONS", "/v1/responses", **asking), 405, "cors_not_set")
    assert "cors_origins" in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "param", "prefix"),
    [
        ("GET", "/v1/conversations/abc", "conversation_id", "conv"),
        ("GET", "/v1/conversations/abc/items", "conversation_id", "conv"),
        ("GET", "/v1/responses/conv_1", "response_id", "resp"),
        ("POST", "/v1/responses/abc/cancel", "response_id", "resp"),
        ("DELETE", "/v1/chat/completions/abc", "completion_id", "chatcmpl"),
        ("GET", "/v1/prompts/abc", "prompt_id", "pmpt"),
    ],
)
def test_an_id_of_another_kind_is_told_its_prefix(wire: Wire, method: str, path: str, param: str, prefix: str) -> None:
    error = refused(wire.ask(method, path), 400, "invalid_value")
    assert error["param"] == param
    assert error["message"].endswith(f"Expected an ID that begins with '{prefix}'.")


@pytest.mark.parametrize(
    ("member", "prefix"),
    [({"conversation": "abc"}, "conv"), ({"previous_response_id": "abc"}, "resp"), ({"prompt": {"id": "abc"}}, "pmpt")],
)
def test_so_is_one_in_a_body(wire: Wire, member: dict[str, Any], prefix: str) -> None:
    answer = wire.ask("POST", "/v1/responses", {"model": "scripted", "input": "hi", **member})
    assert f"'{prefix}'" in refused(answer, 400, "invalid_value")["message"]


def test_pages_of_completions_have_no_upper_limit_of_their_own(wire: Wire) -> None:
    assert wire.ask("GET", "/v1/chat/completions?limit=1000").status == 200
    refused(wire.ask("GET", "/v1/chat/completions?limit=0"), 400, "integer_below_min_value")
    refused(wire.ask("GET", "/v1/chat/completions?limit=many"), 400, "invalid_type")


def test_models_tell_what_they_can_hold(wire: Wire) -> None:
    listed = {model["id"]: model for model in wire.ask("GET", "/v1/models").json()["data"]}
    names = ("context_length", "max_model_len", "context_window")
    assert [listed["known"][name] for name in names] == [8_000] * 3
    assert not set(names) & listed["unknown"].keys()
    one = wire.ask("GET", "/v1/models/scripted").json()
    assert one["context_length"] == one["max_model_len"] == one["context_window"] > 0
    # A pattern is listed, and answers whatever begins so.
    assert listed["gpt-*"]["context_length"] == one["context_length"]
    assert wire.ask("GET", "/v1/models/gpt-6-nano").status == 200
    answer = wire.ask("POST", "/v1/responses", {"model": "gpt-6-nano", "input": "hi"})
    assert answer.json()["model"] == "scripted"
