"""What keys may do: scopes, models, addresses; over HTTP and WebSockets, with the official SDK."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

import openai
import pytest
from openai import OpenAI
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from antiphon.domain.organisation import CLI
from antiphon.engines.scripted import ScriptedEngine, saying
from antiphon.policy.keys.rotation import rotate
from antiphon.stores.store import SqlStore
from support.access import another_key
from support.inside import in_store
from support.manners import refused
from support.rawhttp import Wire
from support.serving import Serving, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    # Every test's client is a proxy here, that says whom it speaks for.
    trusted = ("127.0.0.0/8", "::1")
    with serving(ScriptedEngine(saying("hi")), tmp_path_factory.mktemp("keys"), trusted_proxies=trusted) as server:
        yield server


@pytest.fixture
def wire(served: Serving) -> Iterator[Wire]:
    with Wire(served.url) as connection:
        yield connection


def client(served: Serving, secret: str) -> OpenAI:
    return OpenAI(base_url=served.base_url, api_key=secret, max_retries=0)


def test_a_key_does_what_its_scopes_say_and_no_more(served: Serving) -> None:
    secret, _ = another_key(served, scopes=("chat:write", "models:read"))
    mine = client(served, secret)
    assert mine.models.list().data
    messages = [{"role": "user", "content": "hi"}]
    assert mine.chat.completions.create(model="scripted", messages=messages).choices[0].message.content == "hi"
    refusals = {
        "responses:write": lambda: mine.responses.create(model="scripted", input="hi"),
        "responses:read": lambda: mine.responses.retrieve("resp_x"),
        "chat:read": mine.chat.completions.list,
        "conversations:write": mine.conversations.create,
    }
    for scope, call in refusals.items():
        with pytest.raises(openai.PermissionDeniedError) as caught:
            call()
        assert caught.value.code == "insufficient_permissions"
        assert f"Missing scopes: {scope}." in caught.value.message


def test_what_a_request_touches_needs_its_own_scopes(served: Serving) -> None:
    whole = served.client()
    conversation = whole.conversations.create().id
    response = whole.responses.create(model="scripted", input="hi")
    touching: list[tuple[dict[str, Any], set[str]]] = [
        ({"conversation": conversation}, {"conversations:read", "conversations:write"}),
        ({"conversation": {"id": conversation}}, {"conversations:read", "conversations:write"}),
        ({"previous_response_id": response.id}, {"responses:read"}),
        ({"input": [{"type": "item_reference", "id": response.output[0].id}]}, {"responses:read"}),
        ({"input": [{"id": response.output[0].id}]}, {"responses:read"}),
        ({"prompt": {"id": "pmpt_1"}}, {"prompts:read"}),
    ]
    for body, scopes in touching:
        for missing in scopes:
            secret, _ = another_key(served, scopes=("responses:write", *(scopes - {missing})))
            mine = client(served, secret)
            # Counting only reads.
            paths = ["/responses"] if missing == "conversations:write" else ["/responses", "/responses/input_tokens"]
            for path in paths:
                with pytest.raises(openai.PermissionDeniedError, match=f"Missing scopes: {missing}."):
                    mine.post(path, body={"model": "scripted", "input": "hi", **body}, cast_to=object)
        if "prompt" not in body:
            secret, _ = another_key(served, scopes=("responses:write", *scopes))
            client(served, secret).responses.create(**{"model": "scripted", "input": "hi", **body})
    listed = whole.conversations.items.list(conversation).data
    assert len(listed) == 4, "what was refused was added to the conversation"


def test_an_unknown_method_and_an_unknown_path_need_no_scope(served: Serving, wire: Wire) -> None:
    secret, _ = another_key(served, scopes=("models:read",))
    refused(wire.ask("DELETE", "/v1/responses", authorization=f"Bearer {secret}"), 405, "method_not_allowed")
    refused(wire.ask("GET", "/v1/nothing", authorization=f"Bearer {secret}"), 404, "unknown_url")


def test_models_that_a_key_may_not_ask_for_are_not_there(served: Serving) -> None:
    secret, _ = another_key(served, models=("gpt-*", "nothing"))
    mine = client(served, secret)
    listed = {model.id for model in mine.models.list()}
    assert "gpt-5-mini" in listed
    assert "scripted" not in listed
    assert mine.models.retrieve("gpt-5-mini").id == "gpt-5-mini"
    assert mine.responses.create(model="gpt-5-mini", input="hi").output_text == "hi"
    messages = [{"role": "user", "content": "hi"}]
    for name in ("scripted", "never-there"):
        for call in (
            lambda name=name: mine.models.retrieve(name),
            lambda name=name: mine.responses.create(model=name, input="hi"),
            lambda name=name: mine.responses.create(model=name, input="hi", background=True),
            lambda name=name: mine.responses.input_tokens.count(model=name, input="hi"),
            lambda name=name: mine.chat.completions.create(model=name, messages=messages),
        ):
            with pytest.raises(openai.NotFoundError) as caught:
                call()
            assert caught.value.code == "model_not_found"
            assert f"The model '{name}' does not exist or you do not have access to it." in caught.value.message


def test_a_key_comes_from_its_networks_only(served: Serving, wire: Wire) -> None:
    secret, _ = another_key(served, addresses=("192.0.2.0/24", "2001:db8::/32"))
    bearer = f"Bearer {secret}"
    for there in ("192.0.2.7", "2001:db8::1", "10.0.0.1, 192.0.2.7", "[2001:db8::1]:443, 127.0.0.9"):
        assert wire.ask("GET", "/v1/models", authorization=bearer, X_Forwarded_For=there).status == 200
    for elsewhere in ("192.0.3.7", "192.0.2.7, 198.51.100.1", "garbage", "", None):
        answer = wire.ask("GET", "/v1/models", authorization=bearer, X_Forwarded_For=elsewhere)
        error = refused(answer, 401, "ip_not_authorized")
        assert "IP address is not authorized" in error["message"]
    assert wire.ask("GET", "/v1/models", authorization=bearer, Forwarded='for="[2001:db8::1]"').status == 200
    refused(wire.ask("GET", "/v1/nothing", authorization=bearer), 401, "ip_not_authorized")


def test_without_trusted_proxies_nobody_is_believed(tmp_path: Path) -> None:
    with serving(ScriptedEngine(), tmp_path) as plain, Wire(plain.url) as wire:
        there, _ = another_key(plain, addresses=("127.0.0.1", "::1"))
        elsewhere, _ = another_key(plain, addresses=("192.0.2.7",))
        assert wire.ask("GET", "/v1/models", authorization=f"Bearer {there}", X_Forwarded_For="1.2.3.4").status == 200
        answer = wire.ask("GET", "/v1/models", authorization=f"Bearer {elsewhere}", X_Forwarded_For="192.0.2.7")
        refused(answer, 401, "ip_not_authorized")


@pytest.mark.parametrize(
    ("restriction", "status"),
    [({"scopes": ("responses:read",)}, 403), ({"addresses": ("192.0.2.7",)}, 401), ({"expires_at": 5}, 401)],
)
def test_websockets_obey_the_same(served: Serving, restriction: dict[str, object], status: int) -> None:
    secret, _ = another_key(served, **restriction)
    address = served.base_url.replace("http", "ws") + "/responses"
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(address, additional_headers={"Authorization": f"Bearer {secret}"}),
    ):
        pass
    assert caught.value.response.status_code == status


def test_a_rotated_key_works_until_its_overlap_ends(served: Serving) -> None:
    secret, key = another_key(served, scopes=("models:read",), models=("gpt-*",))
    now = int(time())

    async def work(store: SqlStore) -> str:
        made, successor, until = await rotate(store, key, served.data_dir.secret(), now=now, overlap=3600, actor=CLI)
        assert until == now + 3600
        assert successor == replace(key, id=successor.id, digest=successor.digest, hint=successor.hint, created_at=now)
        return made

    new = in_store(served, work)
    for working in (secret, new):
        assert client(served, working).models.list().data
        with pytest.raises(openai.PermissionDeniedError):
            client(served, working).responses.create(model="gpt-5-mini", input="hi")


@pytest.mark.parametrize(
    "secret",
    [
        "sk-antiphon-" + "A" * 60_000,
        "sk-antiphon-' OR '1'='1",
        "'; DROP TABLE api_keys; --",
        "\xff\xfe\xfd",
        "sk-antiphon-é",
        "%00",
        "../../etc/passwd",
    ],
)
def test_malformed_keys_are_refused_as_unknown_ones(served: Serving, wire: Wire, secret: str) -> None:
    wire.send(f"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\r\n".encode("latin-1"))
    refused(wire.read(), 401, "invalid_api_key")


def test_when_a_key_was_last_used_is_written_when_the_server_stops(tmp_path: Path) -> None:
    with serving(ScriptedEngine(), tmp_path) as plain:
        secret, key = another_key(plain)
        _, unused = another_key(plain)
        before = int(time())
        for _ in range(5):
            assert client(plain, secret).models.list().data
        kept = plain
    used = {found.id: found.last_used_at for found in in_store(kept, lambda store: store.list_keys())}
    assert used[unused.id] is None
    assert before <= (used[key.id] or 0) <= time()
