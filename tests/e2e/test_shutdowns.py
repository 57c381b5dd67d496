"""What clients and operators are told of shutdowns."""

from __future__ import annotations

import json
import sqlite3
import time
import urllib.request
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from antiphon.cli.findings import Finding, State
from antiphon.cli.shutdown_checks import age, of_routes, of_use, shutdowns, when
from antiphon.domain import limits
from antiphon.domain.retirement import Use, day_of
from antiphon.domain.routing import RouteSpec, TargetSpec, UpstreamSpec
from antiphon.engines.scripted import ScriptedEngine, saying
from antiphon.models.retirements import retirements
from antiphon.settings import Settings
from antiphon.stores.store import SqlStore
from conformance.spec import check_model
from support.databases import Postgres
from support.inside import store_at
from support.real import run_program
from support.serving import serving

KNOWN = retirements()
TODAY = date(2026, 11, 22)


def test_headers_on_an_endpoint_whose_namesake_goes(tmp_path: Path) -> None:
    with serving(ScriptedEngine(saying("hello"), name="gpt-4o"), tmp_path) as served:
        client = served.client()
        with urllib.request.urlopen(
            urllib.request.Request(f"{served.base_url}/prompts", headers=served.headers)
        ) as raw:
            assert raw.headers["sunset"] == "Mon, 30 Nov 2026 00:00:00 GMT"
            assert raw.headers["deprecation"] == "@1780444800"
            assert KNOWN.page in raw.headers["link"]
        made = client.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hi"}]
        )
        assert "sunset" not in made.headers, "a local model of that name lives on"
        models = client.models.list().data
        assert {model.shutdown_date for model in models} == {None}
        check_model(json.loads(models[0].to_json()))
    (use,) = uses(served.settings)
    assert (use.subject, use.count) == ("endpoint:/v1/prompts", 1)
    (finding,) = [finding for finding in shutdowns(served.settings) if "used" in finding.text and finding.advice]
    assert finding.state is State.OK
    assert "of project 'default' used /v1/prompts once" in finding.text
    assert "this server goes on" in finding.text


def uses(settings: Settings) -> list[Use]:
    return store_at(settings.database, lambda store: store.list_uses())


def note(url: str, *noted: tuple[str, str, int]) -> str:
    """A database in which a key used these subjects, so many days ago. Returns the key's id."""
    from antiphon.domain.tenancy import Project
    from antiphon.policy.keys.first_run import make_key

    async def work(store: SqlStore) -> str:
        await store.create_project(Project("proj_x", "shop", 1))
        _, key = make_key("proj_x", "web", b"s" * 32)
        await store.create_key(key)
        for subject, key_id, days in noted:
            day = day_of(time.time()) - days * 24 * 3600
            await store.note_use(Use("proj_x", key_id or key.id, subject, day, 7))
        return key.id

    return store_at(url, work)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_doctor_lists_which_keys_use_what_goes(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'antiphon.db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.url(server.create())
    key = note(
        url, ("model:gpt-4o", "", 1), ("model:o1", "key_gone", 0), ("model:gpt-4", "", 40), ("model:no-such", "", 0)
    )
    found = [finding for finding in shutdowns(Settings(data_dir=tmp_path, database=url)) if "used" in finding.text]
    assert [finding.state for finding in found] == [State.WARN, State.WARN]
    gone, named = found
    assert "the key key_gone of project 'shop' used o1 7 times" in gone.text
    assert "2026-10-23" in gone.text
    assert f"the key 'web' ({key}) of project 'shop' used gpt-4o" in named.text
    assert "2027-01-14" in named.text
    assert named.advice == "use instead: gpt-6-luna"


def test_doctor_changes_nothing_and_needs_no_database(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database=f"sqlite:///{tmp_path / 'antiphon.db'}")
    assert [finding.state for finding in shutdowns(settings)][-1] is State.OK
    assert not list(tmp_path.iterdir())
    with closing(sqlite3.connect(tmp_path / "antiphon.db")) as other:
        other.execute("CREATE TABLE unrelated (a)")
    assert [finding.state for finding in shutdowns(settings)][-1] is State.OK


def test_doctor_as_a_program(tmp_path: Path) -> None:
    note(f"sqlite:///{tmp_path / 'antiphon.db'}", ("model:gpt-4o", "", 0))
    tmp_path.chmod(0o700)
    done = run_program("doctor", "--json", "--data-dir", str(tmp_path))
    lines: list[dict[str, Any]] = [line for line in json.loads(done.stdout) if line["subject"] == "shutdowns"]
    assert any("used gpt-4o 7 times" in line["text"] for line in lines)


def test_only_so_many_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "USES_SHOWN", 1)
    url = f"sqlite:///{tmp_path / 'antiphon.db'}"
    note(url, ("model:gpt-4o", "", 0), ("model:o1", "", 1))
    texts = [finding.text for finding in shutdowns(Settings(data_dir=tmp_path, database=url))]
    assert [("used gpt-4o" in text, "used o1" in text) for text in texts if " used " in text] == [(True, False)]
    assert any(text.startswith("more than 1 uses") for text in texts)


def test_an_old_list_is_remarked_on() -> None:
    assert list(age(KNOWN, KNOWN.as_of)) == []
    (finding,) = age(KNOWN, date(2028, 1, 1))
    assert finding.state is State.WARN
    assert KNOWN.page in finding.advice


def test_routes_with_targets_that_go() -> None:
    upstreams = (UpstreamSpec("openai", "responses", "https://api.openai.com/v1"),)
    routes = (RouteSpec("smart", (TargetSpec("openai", "gpt-4o"),), (TargetSpec("local"),)),)
    (finding,) = of_routes(routes, upstreams)
    assert finding.text.startswith("the route 'smart' has the target openai/gpt-4o: ")
    assert finding.advice == "put in its place: gpt-6-luna"
    assert list(of_routes(routes, ())) == []


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        (date(2026, 11, 22), "it is shut down on 2027-01-14, in 53 days"),
        (date(2027, 1, 13), "it is shut down on 2027-01-14, tomorrow"),
        (date(2027, 1, 14), "it is shut down on 2027-01-14, today"),
        (date(2027, 1, 15), "it was shut down on 2027-01-14"),
    ],
)
def test_when_in_words(today: date, expected: str) -> None:
    assert when(KNOWN.models["gpt-4o"], today) == expected


def test_a_use_in_words() -> None:
    row = ("model:gpt-4o", 1_795_132_800, 1, "shop", "key_1", None)
    assert of_use(row, KNOWN, TODAY) == Finding(
        State.WARN,
        "shutdowns",
        "the key key_1 of project 'shop' used gpt-4o once, last on 2026-11-20: "
        "it is shut down on 2027-01-14, in 53 days",
        "use instead: gpt-6-luna",
    )
