"""`antiphon keys` and `antiphon limits`, as a user runs them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unit.cli.conftest import Run


def listed(run: Run, group: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(group, "list", "--json").stdout)
    return found


def test_a_key_with_restrictions_is_made_and_shown(run: Run) -> None:
    made = run(
        *("keys", "create", "--name", "web", "--scopes", "chat:write, models:read"),
        *("--models", "gpt-*", "--addresses", "10.1.2.3/8,::1"),
    )
    assert made.returncode == 0, made.stderr
    key = next(key for key in listed(run, "keys") if key["name"] == "web")
    assert key["scopes"] == ["chat:write", "models:read"]
    assert key["models"] == ["gpt-*"]
    assert key["addresses"] == ["10.0.0.0/8", "::1/128"]
    assert key["last_used_at"] is None
    line = next(line for line in run("keys", "list").stdout.splitlines() if " web " in line)
    assert line.endswith("chat:write,models:read; models gpt-*; from 10.0.0.0/8,::1/128")
    assert made.stdout.strip() not in run("keys", "list").stdout


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--scopes", "everything", "There is no scope 'everything'"),
        ("--models", "a*b", "is no name of a model"),
        ("--addresses", "10.0.0.0/99", "is no network"),
        ("--user", "nobody@example.com", "nobody@example.com"),
    ],
)
def test_restrictions_that_make_no_sense(run: Run, flag: str, value: str, says: str) -> None:
    done = run("keys", "create", flag, value)
    assert done.returncode == 1
    assert says in done.stderr
    assert len(listed(run, "keys")) == 1


def test_a_key_is_replaced_and_the_old_one_works_on_for_a_while(run: Run) -> None:
    (first,) = listed(run, "keys")
    assert run("env").returncode == 0
    done = run("keys", "rotate", first["id"], "--overlap", "2h")
    assert done.returncode == 0, done.stderr
    old, new = listed(run, "keys")
    assert old["replaced_by"] == new["id"]
    assert old["valid"]
    assert new["valid"]
    assert 7190 <= old["expires_at"] - new["created_at"] <= 7200
    assert done.stdout.strip() in run("env").stdout, "the first key is the new one now"
    again = run("keys", "rotate", first["id"])
    assert (again.returncode, f"was replaced before, by '{new['id']}'" in again.stderr) == (1, True)
    assert run("keys", "rotate", new["id"], "--overlap", "0").returncode == 0
    assert [key["valid"] for key in listed(run, "keys")] == [True, False, True]
    assert run("keys", "rotate", "key_none").returncode == 1


@pytest.mark.parametrize("overlap", ["", "h", "1", "-1h", "1w", "1.5h", "91d", "٣h"])
def test_overlaps_that_are_none(run: Run, overlap: str) -> None:
    (first,) = listed(run, "keys")
    done = run("keys", "rotate", first["id"], f"--overlap={overlap}")
    assert (done.returncode, done.stderr.startswith("antiphon: ")) == (1, True)
    assert len(listed(run, "keys")) == 1


def test_limits_are_set_listed_and_cleared(run: Run) -> None:
    assert listed(run, "limits") == []
    (key,) = listed(run, "keys")
    assert run("limits", "set", "--rpm", "100").stdout == "everybody together, all models: 100 requests per min (RPM)\n"
    assert run("limits", "set", "--project", "default", "--model", "gpt-4o", "--tpd", "9").returncode == 0
    assert run("limits", "set", "--key", key["id"], "--tpm", "7", "--concurrent", "2").returncode == 0
    changed = run("limits", "set", "--key", key["id"], "--tpm", "none", "--rpd", "5")
    assert changed.stdout.endswith("all models: 5 requests per day (RPD), 2 concurrent requests\n")
    shown = {(limit["scope"], limit["model"]): limit for limit in listed(run, "limits")}
    assert set(shown) == {("organization", ""), ("project", "gpt-4o"), ("key", "")}
    assert shown["key", ""]["tpm"] is None
    assert shown["key", ""]["rpd"] == 5
    assert shown["project", "gpt-4o"]["tpd"] == 9
    lines = run("limits", "list").stdout.splitlines()
    assert lines[0].split() == ["SCOPE", "OF", "MODEL", "RPM", "TPM", "RPD", "TPD", "CONCURRENT"]
    assert any(line.split() == ["project", "default", "gpt-4o", "-", "-", "-", "9", "-"] for line in lines)
    assert run("limits", "clear", "--project", "default", "--model", "gpt-4o").returncode == 0
    assert run("limits", "clear").returncode == 0
    assert [limit["scope"] for limit in listed(run, "limits")] == ["key"]
    assert "There is no such limit" in run("limits", "clear").stderr
    log = run("audit", "--json").stdout
    assert log.count("rate_limit.updated") == 4
    assert log.count("rate_limit.deleted") == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--project", "default"), "Say what to limit"),
        (("--rpm", "0"), "--rpm must be a whole number"),
        (("--tpm", "many"), "--tpm must be a whole number"),
        (("--rpm", "5", "--project", "nobody"), "There is no project 'nobody'"),
        (("--rpm", "5", "--key", "key_none"), "There is no key"),
        (("--rpm", "5", "--user", "nobody"), "nobody"),
        (("--rpm", "5", "--key", "key_x", "--user", "y"), "Name one of"),
        (("--rpm", "5", "--model", "a*b"), "is no name of a model"),
    ],
)
def test_limits_that_make_no_sense(run: Run, args: tuple[str, ...], says: str) -> None:
    done = run("limits", "set", *args)
    assert done.returncode == 1
    assert says in done.stderr
    assert listed(run, "limits") == []
