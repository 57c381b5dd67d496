"""`antiphon cost` and `antiphon budgets`."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.scripted import ScriptedEngine
from support.commands import run_command
from support.inside import in_store
from support.ledger import entry
from support.real import environment
from support.serving import Serving, serving

NOW = int(time.time()) * 1000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]  # a generator, as pytest has them
    with serving(ScriptedEngine(), tmp_path_factory.mktemp("cli")) as served:
        project = in_store(served, lambda store: store.list_projects())[0].id
        rows = [
            entry("a", at=NOW, project_id=project, cost=3_000_000, input_tokens=10, object_id="resp_1"),
            entry("b", at=NOW, project_id=project, model="=evil()", cost=None, error="x"),
            entry("c", at=NOW - 40 * 86_400_000, project_id=project, cost=10**9),
        ]
        in_store(served, lambda store: store.add_entries(rows))
        with served.data_dir.lock():  # as `antiphon serve` does
            yield served


def program(served: Serving, *arguments: str, code: int = 0) -> str:
    folder = served.settings.data_dir
    done = run_command(*arguments, "--data-dir", str(folder), env=environment(), cwd=folder)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_the_report_is_a_table_with_bars(served: Serving) -> None:
    said = program(served, "cost", "report")
    assert said.splitlines()[0].split() == ["MODEL", "CALLS", "INPUT", "OUTPUT", "DOLLARS"]
    assert "0.003" in said
    assert "█" * 30 in said
    assert "0 + 1 unknown" in said
    assert said.endswith("Total: 0.003 US dollars\n")
    assert "1.003" in program(served, "cost", "report", "--days", "60", "--by", "project")


def test_the_report_as_data(served: Serving) -> None:
    rows = json.loads(program(served, "cost", "report", "--by", "project,model,day", "--json"))
    today = time.strftime("%Y-%m-%d", time.gmtime(NOW // 1000))
    assert [(row["project"], row["model"], row["day"]) for row in rows] == [
        ("default", "=evil()", today),
        ("default", "model-a", today),
    ]
    table = list(csv.DictReader(io.StringIO(program(served, "cost", "report", "--csv"))))
    assert [row["model"] for row in table] == ["model-a", "'=evil()"]
    assert table[0]["dollars"] == "0.003"
    assert "--by is one or several of" in program(served, "cost", "report", "--by", "moon", code=1)


def test_one_call(served: Serving) -> None:
    assert json.loads(program(served, "cost", "show", "resp_1", "--json"))[0]["cost_dollars"] == "0.003"
    assert "unknown" in program(served, "cost", "show", "req_b")
    assert "knows nothing" in program(served, "cost", "show", "resp_2", code=1)


def test_an_estimate(served: Serving, tmp_path: Path) -> None:
    request = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello there"}]}
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request))
    shown = json.loads(program(served, "cost", "estimate", str(file), "--output-tokens", "100", "--json"))
    assert (shown["input_tokens"], shown["counted_with"]) == (9, "tiktoken, o200k_base")
    assert (shown["input"], shown["at_most"]) == ("0.00000225", "0.00020225")
    # What tiktoken does not know is counted by the engine that will see it.
    other = json.loads(program(served, "cost", "estimate", "--model", "scripted", "--input", "a b c", "--json"))
    assert (other["counted_with"], other["input"]) == ("the running server", None)
    assert other["input_tokens"] > 0
    assert "cannot count this request" in program(
        served, "cost", "estimate", "--model", "none-such", "--input", "x", code=1
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"input": "x"}', "[" * 100_000])
def test_a_bad_request_to_estimate(served: Serving, tmp_path: Path, content: str) -> None:
    file = tmp_path / "request.json"
    file.write_text(content)
    said = program(served, "cost", "estimate", str(file), code=1)
    assert said.startswith("antiphon: ")
    assert "Traceback" not in said


def test_budgets(served: Serving) -> None:
    limit, alert = program(
        served, "budgets", "set", "--project", "default", "--month", "2.5", "--alert", "2"
    ).splitlines()
    again = program(served, "budgets", "set", "--project", "default", "--month", "3", "--allow-unknown").strip()
    assert again == limit
    listed = {one["id"]: one for one in json.loads(program(served, "budgets", "list", "--json"))}
    assert (listed[limit]["dollars"], listed[limit]["hard"], listed[limit]["allow_unknown"]) == ("3", True, True)
    assert (listed[alert]["dollars"], listed[alert]["hard"]) == ("2", False)
    key = in_store(served, lambda store: store.list_keys())[0].id
    day = program(served, "budgets", "set", "--key", key, "--day", "0.01").strip()
    assert "0.01" in program(served, "budgets", "list")
    for budget in (limit, alert, day):
        program(served, "budgets", "clear", budget)
    assert json.loads(program(served, "budgets", "list", "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Say how much"),
        (("--month", "a lot"), "is not an amount"),
        (("--month", "-1"), "is not an amount"),
        (("--month", "1", "--project", "none"), "There is no project"),
        (("--month", "1", "--key", "none"), "There is no key"),
        (("--month", "1", "--key", "k", "--project", "default"), "not of both"),
    ],
)
def test_bad_budgets(served: Serving, arguments: tuple[str, ...], said: str) -> None:
    assert said in program(served, "budgets", "set", *arguments, code=1)
    assert "There is no budget" in program(served, "budgets", "clear", "none", code=1)


def test_an_estimate_has_the_prices_of_the_route(served: Serving) -> None:
    own = {"upstream": "u", "model": "gpt-5-mini", "price": {"input": 1000, "output": 10_000}}
    dearer = {**own, "model": "gpt-5", "price": {"input": 2000, "output": 5000}}
    routes = {
        "mine": {"targets": [own, dearer], "tags": ["best"]},
        "u/*": {"targets": [{"upstream": "u"}]},
        "unknown": {"targets": [own, {"upstream": "u", "model": "nobody-knows"}]},
    }
    variables = environment(
        ANTIPHON_UPSTREAMS=json.dumps({"u": {"kind": "chat", "url": "http://127.0.0.1:9/v1"}}),
        ANTIPHON_ROUTES=json.dumps(routes),
        ANTIPHON_ALIASES="mine-too=mine",
    )

    def estimate(model: str) -> dict[str, Any]:
        asked = ("--model", model, "--input", "hello there", "--output-tokens", "100", "--json")
        where = ("--data-dir", str(served.settings.data_dir))
        done = run_command("cost", "estimate", *asked, *where, env=variables, cwd=served.settings.data_dir)
        assert done.returncode == 0, done.stderr
        shown: dict[str, Any] = json.loads(done.stdout)
        return shown

    for name in ("mine", "best", "mine-too"):
        shown = estimate(name)
        # 9 tokens at the dearer input, 100 at the dearer sum.
        assert (shown["input"], shown["at_most"]) == ("0.018", "1.009"), name
        assert shown["prices"] == "own, u/gpt-5-mini; own, u/gpt-5"
    assert estimate("unknown")["at_most"] is None
    # A server that the list does not know has no listed prices, whatever its model is called.
    assert estimate("u/gpt-5-mini")["prices"] is None


def test_doctor_misses_the_secrets_of_upstreams(served: Serving) -> None:
    upstreams = {"u": {"kind": "chat", "url": "http://127.0.0.1:9/v1", "secret": {"env": "NOT_SET_ANYWHERE"}}}
    routes = {"r": {"targets": [{"upstream": "u", "model": "m"}]}}
    variables = {"ANTIPHON_UPSTREAMS": json.dumps(upstreams), "ANTIPHON_ROUTES": json.dumps(routes)}

    def findings(**more: str) -> list[dict[str, Any]]:
        where = ("--data-dir", str(served.settings.data_dir), "--model", "none", "--json")
        done = run_command("doctor", *where, env=environment(**variables, **more), cwd=served.settings.data_dir)
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return [finding for finding in found if finding["subject"] == "upstreams"]

    [missing] = findings()
    assert missing["state"] == "fail"
    assert "NOT_SET_ANYWHERE is not set" in missing["text"]
    [there] = findings(NOT_SET_ANYWHERE="sk-secret")
    assert there["state"] == "ok"
    assert "sk-secret" not in there["text"]
