"""`antiphon cost` and `antiphon budgets`."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

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
