"""Who may call: keys, and the browsers of other origins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic, time
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.tenancy import Key
from antiphon.engines.scripted import ScriptedEngine
from antiphon.policy.keys.first_run import make_key
from antiphon.stores.store import SqlStore
from support.inside import in_store
from support.manners import BODY, Gated, refused
from support.rawhttp import Wire
from support.serving import Serving, serving


@pytest.fixture(scope="module")
def engine() -> Gated:
    return Gated()


@pytest.fixture(scope="module")
def served(engine: Gated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(engine, tmp_path_factory.mktemp("access")) as server:
        yield server


@pytest.fixture
def wire(served: Serving) -> Iterator[Wire]:
    with Wire(served.url, served.headers) as connection:
        yield connection


# --- CORS -------------------------------------------------------------------------------------------------------------
PREFLIGHT = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization, content-type"}


def test_no_browser_may_call_unless_it_is_set(wire: Wire) -> None:
    asked = wire.ask("OPTIONS", "/v1/responses", Origin="https://app.example", **PREFLIGHT)
    refused(asked, 405, "cors_not_set")
    for answer in (asked, wire.ask("GET", "/v1/models", Origin="https://app.example")):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_browsers_of_the_origins_that_are_set_may_call(tmp_path: Path) -> None:
    with (
        serving(ScriptedEngine(), tmp_path, cors_origins=("https://app.example",)) as served,
        Wire(served.url, served.headers) as wire,
    ):
        answer = wire.ask("OPTIONS", "/v1/responses", Origin="https://app.example", authorization=None, **PREFLIGHT)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "post" in answer.headers["access-control-allow-methods"]
        assert "authorization" in answer.headers["access-control-allow-headers"]
        for path, key, status in (("/v1/models", {}, 200), ("/v1/models", {"authorization": None}, 401)):
            answer = wire.ask("GET", path, Origin="https://app.example", **key)
            assert answer.status == status
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
            assert "x-request-id" in answer.headers["access-control-expose-headers"]
        answer = wire.ask("GET", "/v1/models", Origin="https://evil.example")
        assert "access-control-allow-origin" not in answer.headers
        for origin, method in (("https://evil.example", "POST"), ("https://app.example", "PUT")):
            answer = wire.ask("OPTIONS", "/v1/models", Origin=origin, Access_Control_Request_Method=method)
            refused(answer, 400, "cors_refused")
        stream = wire.ask("POST", "/v1/responses", {**BODY, "stream": True}, Origin="https://app.example")
        assert stream.headers["access-control-allow-origin"] == "https://app.example"
        assert stream.body.endswith(b"data: [DONE]\n\n")


# --- keys -------------------------------------------------------------------------------------------------------------
def test_no_key_and_wrong_keys(wire: Wire) -> None:
    for value, code in (
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        ("Bearer", "invalid_authorization"),
        ("Basic dTpw", "invalid_authorization"),
        ("Bearer sk-antiphon-" + "A" * 43, "invalid_api_key"),
    ):
        for path in ("/v1/models", "/v1/responses/x", "/v1/unknown"):
            refused(wire.ask("GET", path, authorization=value), 401, code)
    assert wire.ask("GET", "/v1/models", authorization=f"bearer {wire_key(wire)}").status == 200


def wire_key(wire: Wire) -> str:
    head = wire.head("GET", "/", {}, None).decode()
    return head.partition("Bearer ")[2].partition("\r\n")[0]


def another_key(served: Serving, **changes: Any) -> tuple[str, Key]:
    async def make(store: SqlStore) -> tuple[str, Key]:
        project = (await store.list_projects())[0]
        secret, key = make_key(project.id, "another", served.data_dir.secret())
        key = Key(**{name: getattr(key, name) for name in Key.__dataclass_fields__} | changes)
        await store.create_key(key)
        return secret, key

    made: tuple[str, Key] = in_store(served, make)
    return made


def test_a_new_key_works_at_once_and_a_revoked_one_stops(
    served: Serving, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KEY_CACHE_TTL", 0.2)
    secret, key = another_key(served)
    assert wire.ask("GET", "/v1/models", authorization=f"Bearer {secret}").status == 200
    in_store(served, lambda store: store.revoke_key(key.id, int(time())))
    began = monotonic()
    while (answer := wire.ask("GET", "/v1/models", authorization=f"Bearer {secret}")).status == 200:
        assert monotonic() - began < limits.KEY_CACHE_TTL + 1
    refused(answer, 401, "invalid_api_key")
    assert wire.ask("GET", "/v1/models").status == 200


def test_an_expired_key(served: Serving, wire: Wire) -> None:
    expired, _ = another_key(served, expires_at=int(time()) - 1)
    refused(wire.ask("GET", "/v1/models", authorization=f"Bearer {expired}"), 401, "invalid_api_key")
    good, _ = another_key(served, expires_at=int(time()) + 60)
    assert wire.ask("GET", "/v1/models", authorization=f"Bearer {good}").status == 200
