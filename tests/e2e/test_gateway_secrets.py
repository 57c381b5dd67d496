"""Secrets and content are planted everywhere they may come in; then everything that comes out is searched for them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from support.admin import admin_key
from support.loglines import Lines, logged
from support.money import entries
from support.serving import Serving, serving
from support.upstream_of import tables
from support.upstreams import Behaviour, BreakOff, ChatUpstream, Says, chat_upstream, failing, saying, sse

UPSTREAM = "sk-planted-UPSTREAM-secret-0123456789abcdef"
SAID = "PLANTED-CONTENT-of-the-user"
ANSWERED = "PLANTED-CONTENT-of-the-model"
TOOL = "PLANTED_TOOL_of_the_user"
CONTENT = (SAID, ANSWERED, TOOL)
#: Four requests, streamed and not, for nine behaviours of the upstream.
CALLS = 4 * 2 * 9


@dataclass
class Planted:
    """A server that has been through everything, and what it has said."""

    served: Serving
    secrets: list[str]
    lines: Lines
    answers: list[httpx2.Response] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str) -> httpx2.Response:
        """Ask, and remember what came."""
        headers = {"Authorization": f"Bearer {key or self.served.key}", **headers}
        answer = httpx2.request(method, f"{self.served.url}{path}", json=body, headers=headers, timeout=20)
        self.answers.append(answer)
        return answer


def bodies(number: int, stream: bool) -> list[tuple[str, dict[str, Any]]]:
    """Requests to targets of their own: none is left alone for what happened before, or answered by the cache."""
    tools = [{"type": "function", "function": {"name": TOOL, "parameters": {"type": "object", "properties": {}}}}]
    messages = [{"role": "user", "content": SAID}]
    return [
        ("/v1/chat/completions", {"model": f"r/{number}", "messages": messages, "stream": stream}),
        (
            "/v1/chat/completions",
            {"model": f"r/{number}", "messages": messages, "tools": tools, "n": 2, "stream": stream},
        ),
        ("/v1/responses", {"model": f"r/{number}", "input": SAID, "stream": stream, "store": False}),
        ("/v1/responses", {"model": f"other/{number}", "input": SAID, "stream": stream, "store": False}),
    ]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    path = tmp_path_factory.mktemp("planted")
    (path / "secret").write_text(UPSTREAM)
    with chat_upstream() as upstream, logged("debug") as lines:
        secret = {"file": str(path / "secret")}
        upstreams = {
            "up": {"kind": "chat", "url": upstream.url, "secret": secret},
            "resp": {"kind": "responses", "url": upstream.url, "secret": secret},
        }
        routes = {
            "r/*": {"targets": [{"upstream": "up"}], "retries": 1, "cache": {"ttl": 60}},
            "other/*": {"targets": [{"upstream": "resp"}], "retries": 0, "fallbacks": [{"upstream": "up"}]},
        }
        with serving(None, path / "front", **tables(upstreams, routes), metrics="open") as served:
            admin = admin_key(served)
            planted = Planted(served, [UPSTREAM, served.key, admin], lines)
            _live(planted, upstream, admin)
            yield planted


def _live(planted: Planted, upstream: ChatUpstream, admin: str) -> None:
    """All that can happen: good answers, upstreams that tell our secret back, streams that break, changes, mistakes."""
    told = {"message": f"Incorrect API key provided: {UPSTREAM} ({SAID})", "type": "x", "code": UPSTREAM}
    breaking = Says([*sse(json.dumps({"error": told}).encode()), BreakOff()], kind="text/event-stream")
    behaviours: list[Behaviour] = [
        saying(ANSWERED, " and more"),
        failing(401, told),
        failing(400, told),
        failing(429, told),
        failing(500, told),
        lambda _: Says([f"<html>{UPSTREAM}".encode()], kind="text/html"),
        lambda _: Says([f"{{{UPSTREAM}".encode()]),
        lambda _: breaking,
        lambda _: Says([BreakOff()]),
    ]
    for number, behave in enumerate(behaviours):
        upstream.behave = behave
        for stream in (False, True):
            for path, body in bodies(number, stream):
                planted.ask("POST", path, body)
    assert any(asked.headers.get("Authorization") == f"Bearer {UPSTREAM}" for asked in upstream.asked)
    made = planted.ask("POST", "/v1/organization/projects", {"name": "new"}, admin).json()
    account = f"/v1/organization/projects/{made['id']}/service_accounts"
    planted.secrets.append(planted.ask("POST", account, {"name": "bot"}, admin).json()["api_key"]["value"])
    planted.answers.pop()  # the one place where that secret is shown
    for path in ("/v1/organization/audit_logs", "/v1/organization/usage/completions?start_time=1", "/metrics"):
        planted.ask("GET", path, key=admin)
    for wrong in (admin, UPSTREAM, f"{planted.served.key}x"):
        planted.ask("GET", "/v1/models", key=wrong)
    planted.ask("POST", "/v1/responses", {"model": planted.served.key, "input": 7})
    planted.answers.pop()  # it says what was sent, to whoever has sent it
    planted.ask("GET", "/metrics")
    planted.ask("GET", "/readyz")


def forms(secret: str) -> list[bytes]:
    """A secret as it may be hidden."""
    raw = secret.encode()
    return [raw, base64.b64encode(raw).rstrip(b"=")[:-1], raw.hex().encode(), raw[4:-4]]


def test_nothing_that_was_planted_is_in_what_was_answered(planted: Planted) -> None:
    assert len(planted.answers) > 70
    assert {answer.status_code for answer in planted.answers} >= {200, 400, 401, 429, 502}
    for answer in planted.answers:
        told = str(answer.headers.multi_items()).encode() + answer.content
        for secret in planted.secrets:
            assert not any(form in told for form in forms(secret)), (answer.request.url, answer.status_code)
        headers = str(answer.headers.multi_items())
        assert not any(word in headers for word in CONTENT)


def test_nothing_is_in_the_figures(planted: Planted) -> None:
    text = planted.ask("GET", "/metrics").text
    assert "antiphon_" in text
    assert not any(word in text for word in (*planted.secrets, *CONTENT))


def test_nothing_is_in_the_log(planted: Planted) -> None:
    assert len(planted.lines.requests()) > 70
    for word in (*planted.secrets, *CONTENT, "Incorrect API key"):
        assert word not in planted.lines.text, word


def test_nothing_is_in_the_files(planted: Planted) -> None:
    """The database, its log of writes, and all else. Nobody has asked to store anything."""
    assert len(entries(planted.served, CALLS)) == CALLS
    files = [file for file in planted.served.settings.data_dir.rglob("*") if file.is_file()]
    names = {file.name for file in files}
    assert {"antiphon.db", "antiphon.db-wal"} <= names
    first = planted.served.data_dir.default_key_file
    for file in files:
        kept = file.read_bytes()
        for secret in planted.secrets:
            if file == first and secret == planted.served.key:
                continue  # where `antiphon env` finds it
            assert not any(form in kept for form in forms(secret)), file
        # Answers that are kept by the cache are kept as they are; what was asked is not.
        assert not any(word.encode() in kept for word in (SAID, TOOL)), file


def test_the_search_finds_what_is_there(planted: Planted) -> None:
    kept = planted.served.data_dir.default_key_file.read_bytes()
    assert any(form in kept for form in forms(planted.served.key))
