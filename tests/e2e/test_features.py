"""A capability is one feature: what it lists is served, passed, told, run, swept, measured, started and stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest
from openai import BadRequestError
from websockets.sync.client import connect

from antiphon.app.compose import FEATURES
from antiphon.app.feature import Feature
from antiphon.engines.scripted import ScriptedEngine
from antiphon.jobs.kinds import JobKind
from antiphon.settings import load
from antiphon.settings.declared import declared
from support.gate import until
from support.greetings import Greetings, GreetingSettings, Name, greetings_feature
from support.serving import Serving, serving


@pytest.fixture(scope="module")
def greetings() -> Greetings:
    return Greetings()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, greetings: Greetings) -> Iterator[Serving]:
    features = (*FEATURES, lambda core: greetings_feature(core, greetings))
    path = tmp_path_factory.mktemp("served")
    with serving(ScriptedEngine(), path, features=features, settings_type=GreetingSettings, greeting="Salve") as server:
        yield server
    assert [greetings.diary[0], greetings.diary[-1]] == ["started", "stopped"]


@pytest.fixture(scope="module")
def http(served: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.base_url, headers=served.headers) as client:
        yield client


def test_resource_and_kind_of_job(http: httpx.Client, greetings: Greetings) -> None:
    created = http.post("/greetings", json={"name": "Ada"})
    assert created.headers["x-greeting"] == "Salve"
    path = f"/greetings/{created.json()['id']}"
    until(lambda: http.get(path).json() == {"state": "done", "greeting": "Salve, Ada!"}, "the job")
    assert "job" in greetings.diary
    assert "POST /v1/greetings 200" in greetings.diary


def test_socket(served: Serving) -> None:
    url = served.base_url.replace("http://", "ws://")
    with connect(f"{url}/greetings", additional_headers=served.headers) as socket:
        assert json.loads(socket.recv(10)) == {"greeting": "Salve"}


def test_stage(served: Serving, greetings: Greetings) -> None:
    client = served.client()
    with pytest.raises(BadRequestError, match="Say Salve first") as refused:
        client.responses.create(model="scripted", input="Morning")
    assert refused.value.code == "impolite"
    before = greetings.diary.count("generated")
    assert client.responses.create(model="scripted", input="Salve").output_text == "Salve"
    assert greetings.diary.count("generated") == before + 1


def test_sweep_and_gauge(served: Serving, greetings: Greetings) -> None:
    assert greetings.swept.wait(10)
    page = httpx.get(f"{served.url}/metrics").text
    assert f"antiphon_greetings {float(greetings.made)}" in page
    assert 'antiphon_sweep_last_run_seconds{sweep="greetings"}' in page


def test_setting(tmp_path: Path) -> None:
    found = load({}, {"ANTIPHON_GREETING": "Salut"}, tmp_path, GreetingSettings)
    assert isinstance(found.settings, GreetingSettings)
    assert (found.settings.greeting, found.sources["greeting"]) == ("Salut", "variable ANTIPHON_GREETING")
    item = declared(GreetingSettings)["greeting"]
    assert (item.flag, item.default_text) == ("--greeting", "Hello")


@pytest.mark.parametrize(
    "second",
    [
        Feature(services={"ledger": Greetings()}),
        Feature(background={"bus": Greetings()}),
        Feature(job_kinds=[JobKind("response", payload=Name, run=Greetings().make)]),
        Feature(answerer=Mock()),
        Feature(wrapper=Mock()),
    ],
    ids=["service", "background", "kind of job", "answerer", "wrapper"],
)
def test_no_feature_takes_the_place_of_another(tmp_path: Path, second: Feature) -> None:
    features = (*FEATURES, lambda core: second)
    with pytest.raises(ValueError, match="two"), serving(ScriptedEngine(), tmp_path, features=features):
        pass
