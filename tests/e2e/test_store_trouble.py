"""A database that takes no writes: calls are refused before anything is paid, and served again by themselves."""

from __future__ import annotations

import json
import resource
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from bench.chaos_server import Process, running

from antiphon.domain import limits
from antiphon.engines.scripted import ScriptedEngine, saying
from antiphon.stores import sqlite
from support.databases import Postgres
from support.gate import until
from support.serving import Serving, serving

RESPONSE = ("/v1/responses", {"model": "gpt-5-mini", "input": "hi"})
PAID = [
    RESPONSE,
    ("/v1/responses", {"model": "gpt-5-mini", "input": "hi", "stream": True}),
    ("/v1/responses", {"model": "gpt-5-mini", "input": "hi", "background": True}),
    ("/v1/responses", {"model": "gpt-5-mini", "input": "hi", "store": False}),
    ("/v1/chat/completions", {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}),
]


def ask(served: Serving | Process, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any, Any]:
    """Status, headers, and the JSON of an answer, if it is JSON."""
    headers = {"Authorization": f"Bearer {served.key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(served.url + path, data, headers), timeout=30) as answer:
            return answer.status, answer.headers, _json(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers, _json(refused.read())


def _json(body: bytes) -> Any:
    return json.loads(body) if body.startswith(b"{") else body


def is_refused(served: Serving | Process) -> None:
    """Whatever would be paid for is refused, in words that are a client's business."""
    for path, body in PAID:
        status, headers, answer = ask(served, path, body)
        assert (status, answer["error"]["code"]) == (503, "store_unavailable"), answer
        assert int(headers["retry-after"]) > 0
        words = answer["error"]["message"].lower()
        assert not any(word in words for word in ("disk", "lock", "sqlite", "postgres", "read-only", "/"))
    assert ask(served, "/readyz")[0] == 503
    assert ask(served, "/healthz")[0] == 200


def is_served(served: Serving | Process) -> bool:
    return ask(served, "/readyz")[0] == 200 and ask(served, *RESPONSE)[0] == 200


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_database_that_another_process_has_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_PROBE_WAIT", 0.3)
    monkeypatch.setattr(limits, "STORE_BUSY_TIMEOUT_HURRIED", 0.2)
    monkeypatch.setattr(limits, "STORE_BUSY_TIMEOUT", 0.5)
    monkeypatch.setattr(limits, "STORE_PROOF", 0.0)  # as after a minute without calls
    monkeypatch.setattr(limits, "STORE_PROOF_STALE", 0.0)
    engine = ScriptedEngine(saying("hello"))
    with serving(engine, tmp_path) as served:
        assert is_served(served)
        asked = len(engine.asked)
        with locked(tmp_path / "antiphon.db"):
            is_refused(served)
            # What is not paid for waits for the lock, and not for long.
            began = time.monotonic()
            status, _, answer = ask(served, "/v1/conversations", {})
            assert (status, answer["error"]["code"]) == (503, "store_unavailable")
            assert time.monotonic() - began < 10
            assert ask(served, "/v1/models")[0] == 200
        assert len(engine.asked) == asked
        until(lambda: is_served(served), "it is served again")


def test_a_disk_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_PROOF", 0.0)
    monkeypatch.setattr(limits, "STORE_PROOF_STALE", 0.0)
    monkeypatch.setattr(limits, "STORE_PROBE_TICK", 0.05)
    real, room = sqlite.os.statvfs, [limits.STORE_MIN_FREE]

    class Disk:
        def __init__(self, path: Path) -> None:
            self.f_frsize = real(path).f_frsize
            self.f_bavail = -(-room[0] // self.f_frsize)

    monkeypatch.setattr(sqlite.os, "statvfs", Disk)
    engine = ScriptedEngine(saying("hello"))
    with serving(engine, tmp_path) as served:
        assert is_served(served)
        room[0] = 4096
        asked = len(engine.asked)
        is_refused(served)
        assert len(engine.asked) == asked
        room[0] = 2 * limits.STORE_MIN_FREE
        until(lambda: is_served(served), "it is served again")


def test_files_that_cannot_grow(tmp_path: Path) -> None:
    with running(Process(tmp_path, pace=0.0, words=5)) as server:
        assert is_served(server)
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, hard))
        time.sleep(limits.STORE_PROOF_STALE + 0.5)  # the server is in another process, and idle for so long
        is_refused(server)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        until(lambda: is_served(server), "it is served again")


def test_a_database_server_that_hangs_up(tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_PROOF", 0.0)
    monkeypatch.setattr(limits, "STORE_PROOF_STALE", 0.0)
    monkeypatch.setattr(limits, "STORE_PROBE_TICK", 0.05)
    name = postgres.migrated()
    engine = ScriptedEngine(saying("hello"))
    with serving(engine, tmp_path, database=postgres.url(name)) as served:
        assert is_served(served)
        asked = len(engine.asked)
        postgres.run(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)
        is_refused(served)
        assert len(engine.asked) == asked
        postgres.run(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        until(lambda: is_served(served), "it is served again")
    postgres.drop(name)
