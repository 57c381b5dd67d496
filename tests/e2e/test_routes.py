"""Routes as a client of the official SDK sees them: names, tags, stars, aliases, projects, fallbacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from openai import OpenAI

from antiphon.domain.errors import Overloaded, SetupError
from antiphon.engines.scripted import ScriptedEngine, saying
from antiphon.ports import Capabilities
from support.serving import Serving, other_project, serving
from support.upstream_of import tables, upstream


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Serving]:
    with serving(ScriptedEngine(saying("I am one"), name="m1"), tmp_path / "one") as served:
        yield served


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Serving]:
    with serving(ScriptedEngine(saying("I am two"), name="m2"), tmp_path / "two") as served:
        yield served


def said(client: OpenAI, model: str) -> str:
    """What both surfaces say, which must be the same."""
    response = client.responses.create(model=model, input="who?")
    completion = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "who?"}])
    assert completion.choices[0].message.content == response.output_text
    return response.output_text


def test_names_tags_stars_and_aliases(one: Serving, two: Serving, tmp_path: Path) -> None:
    upstreams = {"u1": upstream(one, tmp_path / "k1"), "u2": upstream(two, tmp_path / "k2")}
    routes = {
        "first": {"targets": [{"upstream": "u1", "model": "m1"}], "tags": ["cheap"]},
        "second": {"targets": [{"upstream": "u2", "model": "m2"}], "tags": ["cheap", "best"]},
        "here": {"targets": [{"upstream": "local"}]},
        "u1/*": {"targets": [{"upstream": "u1"}]},
        "m2": {"targets": [{"upstream": "u2"}]},
    }
    local = ScriptedEngine(saying("I am local"), name="home")
    settings = tables(upstreams, routes, model="default")
    with serving(local, tmp_path / "front", **settings, aliases={"x": "second", "y": "default"}) as served:
        client = served.client()
        names = ("first", "second", "here", "u1/m1", "m2", "cheap", "best", "home", "x", "y")
        answers = {name: said(client, name) for name in names}
        listed = {model.id: model.owned_by for model in client.models.list()}
        assert client.models.retrieve("u1/anything").owned_by == "u1"
        with pytest.raises(openai.NotFoundError) as caught:
            said(client, "third")
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError) as caught:
            said(client, "u1/m7")
        assert caught.value.code == "model_not_found"
        assert client.responses.create(model="first", input="who?").model == "first"
    assert answers == {
        **dict.fromkeys(("first", "u1/m1", "cheap"), "I am one"),
        **dict.fromkeys(("second", "m2", "best", "x"), "I am two"),
        **dict.fromkeys(("here", "home", "y"), "I am local"),
    }
    assert listed == {
        "first": "u1",
        "second": "u2",
        "here": "local",
        "m2": "u2",
        "home": "antiphon",
        "x": "u2",
        "y": "antiphon",
    }


def test_a_project_has_routes_of_its_own(one: Serving, two: Serving, tmp_path: Path) -> None:
    upstreams = {"u1": upstream(one, tmp_path / "k1"), "u2": upstream(two, tmp_path / "k2")}
    general = {"chat": {"targets": [{"upstream": "u1", "model": "m1"}]}}
    own = {
        "chat": {"targets": [{"upstream": "u2", "model": "m2"}]},
        "more": {"targets": [{"upstream": "u1", "model": "m1"}], "fallbacks": [{"route": "chat"}]},
    }
    front = tmp_path / "front"
    with serving(None, front, **tables(upstreams, general)) as served:
        key = other_project(served, "staging")
    with serving(None, front, **tables(upstreams, general, {"staging": own})) as served:
        theirs = OpenAI(base_url=served.base_url, api_key=key, max_retries=0)
        assert said(served.client(), "chat") == "I am one"
        assert said(theirs, "chat") == "I am two"
        assert said(theirs, "more") == "I am one"
        with pytest.raises(openai.NotFoundError):
            said(served.client(), "more")
        assert [model.id for model in served.client().models.list()] == ["chat"]
        assert [model.id for model in theirs.models.list()] == ["chat", "more"]
    with (
        pytest.raises(SetupError, match=r"project_routes\.nobody: there is no project 'nobody'"),
        serving(None, front, **tables(upstreams, general, {"nobody": own})),
    ):
        pass


def test_the_built_in_model_can_be_the_fallback(one: Serving, tmp_path: Path) -> None:
    dead = {"kind": "chat", "url": "http://127.0.0.1:9/v1"}
    routes = {"r": {"targets": [{"upstream": "dead", "model": "x"}], "fallbacks": [{"upstream": "local"}]}}
    with serving(
        ScriptedEngine(saying("at home")), tmp_path / "front", **tables({"dead": dead}, routes, model="default")
    ) as served:
        raw = served.client().responses.with_raw_response.create(model="r", input="who?")
        assert raw.parse().output_text == "at home"
        assert raw.headers["x-antiphon-target"] == "local/scripted"
        assert raw.headers["x-antiphon-attempts"] == "4", "two retries come before it"
        assert raw.headers["x-antiphon-fallback"] == "true"
        plain = served.client().responses.with_raw_response.create(model="scripted", input="who?")
        assert "x-antiphon-target" not in plain.headers


def test_a_route_of_the_built_in_model_refuses_as_it_does(tmp_path: Path) -> None:
    def full(_: object) -> None:
        raise Overloaded("The queue is full.")

    routes = {"r": {"targets": [{"upstream": "local"}], "retries": 0}}
    with serving(ScriptedEngine(admit=full), tmp_path, **tables({}, routes, model="default")) as served:
        for _ in range(3):
            answer = httpx2.post(
                f"{served.base_url}/responses", headers=served.headers, json={"model": "r", "input": "hi"}
            )
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "server_is_overloaded"


def test_what_only_another_target_can_do_goes_there(one: Serving, tmp_path: Path) -> None:
    upstreams = {"blind": upstream(one, tmp_path / "k1", profile="deepseek")}
    routes = {"r": {"targets": [{"upstream": "blind", "model": "m1"}, {"upstream": "local"}]}}
    able = Capabilities(context_tokens=1000, images=True, logit_bias=True)
    local = ScriptedEngine(saying("I see"), capabilities=able)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with serving(local, tmp_path / "front", **tables(upstreams, routes, model="default")) as served:
        answer = served.client().chat.completions.create(
            model="r",
            messages=[{"role": "user", "content": [image]}],  # type: ignore[list-item, misc]  # it is one
        )
        assert answer.choices[0].message.content == "I see"


def test_a_server_of_upstreams_only_is_ready(one: Serving, tmp_path: Path) -> None:
    routes = {"r": {"targets": [{"upstream": "u", "model": "m1"}]}}
    with serving(None, tmp_path / "front", **tables({"u": upstream(one, tmp_path / "k")}, routes)) as served:
        assert httpx2.get(f"{served.url}/readyz").status_code == 200
        assert [model.id for model in served.client().models.list()] == ["r"]
        with pytest.raises(openai.NotFoundError):
            said(served.client(), "gpt-5-mini")


def test_a_missing_secret_is_told_at_start(tmp_path: Path) -> None:
    upstreams = {"u": {"kind": "chat", "url": "http://127.0.0.1:9/v1", "secret": {"env": "NOT_SET_ANYWHERE"}}}
    routes = {"r": {"targets": [{"upstream": "u", "model": "m"}]}}
    with (
        pytest.raises(SetupError, match="NOT_SET_ANYWHERE is not set"),
        serving(None, tmp_path, **tables(upstreams, routes)),
    ):
        pass
