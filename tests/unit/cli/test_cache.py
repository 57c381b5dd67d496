"""`antiphon cache`."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from antiphon.domain.caching import CachedAnswer
from antiphon.stores.store import SqlStore

from .conftest import Run


def keep(data: Path, project_id: str) -> None:
    """Put an answer into a project's cache."""

    async def work() -> None:
        store = SqlStore(f"sqlite:///{data / 'antiphon.db'}", backups=None)
        await store.open()
        try:
            now = int(time.time())
            await store.put_cached(CachedAnswer(project_id, b"key", now, now + 60, "local", "m", b"12345"))
        finally:
            await store.close()

    asyncio.run(work())


def shown(run: Run) -> dict[str, dict[str, object]]:
    return {row["project"]: row for row in json.loads(run("cache", "show", "--json").stdout)}


def test_rules_are_set_shown_and_taken_back(run: Run) -> None:
    project_id = run("projects", "create", "acme").stdout.strip()
    for said, stored, words in [
        ("600", 600, "cached for 600 seconds"),
        ("off", 0, "not cached"),
        ("routes", None, "cached as each route is configured"),
    ]:
        done = run("cache", "set", "--project", "acme", "--ttl", said)
        assert done.stdout == f"Answers to 'acme': {words}.\n", done.stderr
        assert shown(run)["acme"] == {
            "project": "acme",
            "project_id": project_id,
            "ttl": stored,
            "answers": 0,
            "bytes": 0,
        }
        assert words in run("cache", "show").stdout
    assert shown(run)["default"]["ttl"] is None


def test_clearing_is_one_projects_own(run: Run, tmp_path: Path) -> None:
    ids = [run("projects", "create", name).stdout.strip() for name in ("acme", "other")]
    for project_id in ids:
        keep(tmp_path / "data", project_id)
    assert run("cache", "clear", "--project", ids[0]).stdout == "1 answer was forgotten.\n"
    assert run("cache", "clear", "--project", "acme").stdout == "0 answers were forgotten.\n"
    states = shown(run)
    assert (states["acme"]["answers"], states["acme"]["bytes"]) == (0, 0)
    assert (states["other"]["answers"], states["other"]["bytes"]) == (1, 5)


@pytest.mark.parametrize("ttl", ["0", "-1", "1.5", "soon", "99999999999", "", "٣"])
def test_a_bad_rule_is_refused(run: Run, ttl: str) -> None:
    done = run("cache", "set", "--project", "default", f"--ttl={ttl}")
    assert done.returncode == 1
    assert done.stderr.startswith("antiphon: --ttl is a number of seconds from 1 to ")


def test_a_project_that_is_not_there(run: Run) -> None:
    for command in (("set", "--ttl", "5"), ("clear",)):
        done = run("cache", *command, "--project", "nobody")
        assert done.returncode == 1
        assert "There is no project 'nobody'" in done.stderr
