"""Sessions by cookie: opened with a key, as good as it, and closed to other sites."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from antiphon.domain import limits
from antiphon.engines.scripted import ScriptedEngine
from antiphon.policy.keys.first_run import make_key
from antiphon.protocol.generation import Finish, TextDelta
from antiphon.stores.store import SqlStore
from support.inside import in_store
from support.loglines import logged
from support.manners import BODY
from support.serving import Serving, serving

PATH = "/antiphon/session"
PROXY = {"x-forwarded-proto": "https"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    engine = ScriptedEngine(lambda _: [TextDelta("hello"), Finish("stop")])
    with serving(engine, tmp_path_factory.mktemp("data"), trusted_proxies=("127.0.0.0/8",)) as served:
        yield served


@pytest.fixture
def browser(served: Serving) -> Iterator[httpx.Client]:
    """What a page of this server is: it sends its origin, and keeps cookies."""
    with httpx.Client(base_url=served.url, headers={"origin": served.url, "sec-fetch-site": "same-origin"}) as client:
        yield client


def log_in(browser: httpx.Client, key: str) -> dict[str, Any]:
    answer = browser.post(PATH, json={"key": key})
    assert answer.status_code == 200, answer.text
    session: dict[str, Any] = answer.json()
    browser.headers["x-csrf-token"] = session["csrf_token"]
    return session


def error_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return str(error["code"])


def new_key(served: Serving, **options: Any) -> tuple[str, str]:
    """A further key of the default project, and its id."""

    async def make(store: SqlStore) -> tuple[str, str]:
        project = (await store.list_projects())[0]
        secret, key = make_key(project.id, "test", served.data_dir.secret())
        await store.create_key(replace(key, **options))
        return secret, key.id

    return in_store(served, make)


def test_a_session_is_as_good_as_its_key(served: Serving, browser: httpx.Client) -> None:
    session = log_in(browser, served.key)
    assert session["object"] == "antiphon.session"
    assert session["expires_at"] - session["created_at"] == limits.SESSION_TTL
    made = browser.post("/v1/responses", json={**BODY, "store": True})
    assert made.status_code == 200
    with_key = httpx.get(f"{served.base_url}/responses/{made.json()['id']}", headers=served.headers)
    assert with_key.json() == browser.get(f"/v1/responses/{made.json()['id']}").json()
    assert browser.get("/v1/models").json() == httpx.get(f"{served.base_url}/models", headers=served.headers).json()
    with browser.stream("POST", "/v1/responses", json={**BODY, "stream": True}) as answer:
        assert "response.completed" in "".join(answer.iter_text())


def test_how_the_cookie_is_set(served: Serving, browser: httpx.Client) -> None:
    answer = browser.post(PATH, json={"key": served.key})
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(r"antiphon_session=[\w-]{43}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict", cookie), cookie
    assert answer.headers["cache-control"] == "no-store"
    assert "csrf_token" in answer.json()
    secure = browser.post(PATH, json={"key": served.key}, headers=PROXY).headers["set-cookie"]
    assert secure.startswith("__Host-antiphon_session=")
    assert secure.endswith("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure")


def test_over_tls_only_the_protected_cookie_counts(served: Serving) -> None:
    secure = httpx.post(f"{served.url}{PATH}", json={"key": served.key}, headers=PROXY)
    token = secure.headers["set-cookie"].split(";")[0].split("=")[1]
    for name, proxy, status in (
        ("__Host-antiphon_session", PROXY, 200),
        ("antiphon_session", PROXY, 401),
        ("antiphon_session", {}, 200),
        ("__Host-antiphon_session", {}, 401),
    ):
        headers = {"cookie": f"{name}={token}", **proxy}
        assert httpx.get(f"{served.base_url}/models", headers=headers).status_code == status, (name, proxy)


def test_the_token_is_shown_once_and_stored_as_a_hash(served: Serving, browser: httpx.Client) -> None:
    log_in(browser, served.key)
    token = browser.cookies["antiphon_session"]
    assert token not in browser.get(PATH).text
    data = b"".join(path.read_bytes() for path in Path(served.settings.data_dir).glob("antiphon.db*"))
    assert token.encode() not in data
    # A token is no key, and a key no token.
    assert httpx.get(f"{served.base_url}/models", headers={"authorization": f"Bearer {token}"}).status_code == 401
    cookie = {"cookie": f"antiphon_session={served.key}"}
    assert error_of(httpx.get(f"{served.base_url}/models", headers=cookie), 401) == "invalid_session"


def test_seeing_and_ending_it(served: Serving, browser: httpx.Client) -> None:
    session = log_in(browser, served.key)
    assert browser.get(PATH).json() == session
    before = dict(browser.cookies)
    ended = browser.delete(PATH)
    assert ended.json() == {"object": "antiphon.session.deleted", "id": session["id"], "deleted": True}
    assert "Max-Age=0" in ended.headers["set-cookie"]
    assert dict(browser.cookies) == {}
    assert error_of(browser.get(PATH), 401) == "no_session"
    browser.cookies.update(before)
    assert error_of(browser.get(PATH), 401) == "invalid_session"
    assert error_of(browser.get("/v1/models"), 401) == "invalid_session"
    assert error_of(browser.delete(PATH), 401) == "invalid_session"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"key": "sk-antiphon-wrong"}, 401, "invalid_api_key"),
        ({"key": ""}, 401, None),
        ({"key": "sk-antiphon-admin-x"}, 401, "invalid_api_key"),
        ({}, 400, "missing_required_parameter"),
        ({"key": 5}, 400, "invalid_type"),
        ({"key": None}, 400, "invalid_type"),
        ({"key": "x" * 10_000}, 400, "invalid_type"),
        ({"key": "ä\x00"}, 401, "invalid_api_key"),
        ({"key": "a", "more": 1}, 400, "unknown_parameter"),
        ([], 400, "invalid_type"),
    ],
)
def test_what_opens_none(browser: httpx.Client, body: Any, status: int, code: str | None) -> None:
    answer = browser.post(PATH, content=json.dumps(body), headers={"content-type": "application/json"})
    found = error_of(answer, status)
    assert code is None or found == code
    assert "set-cookie" not in answer.headers


FOREIGN: list[dict[str, str | None]] = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "https://evil.example", "sec-fetch-site": None},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"origin": None, "sec-fetch-site": "cross-site"},
]


def sent_with(browser: httpx.Client, changes: dict[str, str | None]) -> dict[str, str]:
    headers = {**browser.headers, **changes}
    for name in [name for name, value in headers.items() if value is None]:
        del headers[name], browser.headers[name]
    return {name: value for name, value in headers.items() if value is not None}


@pytest.mark.parametrize("changes", FOREIGN)
def test_other_sites_change_nothing(served: Serving, browser: httpx.Client, changes: dict[str, str | None]) -> None:
    log_in(browser, served.key)
    headers = sent_with(browser, changes)
    assert error_of(browser.post("/v1/responses", json=BODY, headers=headers), 403) == "csrf_check_failed"
    assert error_of(browser.delete(PATH, headers=headers), 403) == "csrf_check_failed"
    assert error_of(browser.post(PATH, json={"key": served.key}, headers=headers), 403) == "csrf_check_failed"
    # What changes nothing is answered; the answer is for the browser's own page, which CORS sees to.
    assert browser.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize("token", [None, "", "x" * 64, "0" * 64, "ä"])
def test_the_token_of_the_page_is_needed(served: Serving, browser: httpx.Client, token: str | None) -> None:
    log_in(browser, served.key)
    headers = sent_with(browser, {"x-csrf-token": token.encode().decode("latin-1") if token else token})
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = browser.post("/v1/responses", json=BODY, headers=raw)
    assert error_of(answer, 403) == "csrf_check_failed"


def test_the_token_of_another_session_is_none(served: Serving, browser: httpx.Client) -> None:
    first = log_in(browser, served.key)
    second = log_in(browser, served.key)
    assert first["csrf_token"] != second["csrf_token"]
    browser.headers["x-csrf-token"] = first["csrf_token"]
    assert error_of(browser.post("/v1/responses", json=BODY), 403) == "csrf_check_failed"


def test_a_key_goes_before_a_cookie(served: Serving, browser: httpx.Client) -> None:
    log_in(browser, served.key)
    wrong = {"authorization": "Bearer wrong"}
    assert error_of(browser.get("/v1/models", headers=wrong), 401) == "invalid_api_key"
    assert browser.post("/v1/responses", json=BODY, headers={**served.headers, "x-csrf-token": ""}).status_code == 200


def test_two_cookies_of_the_same_name(served: Serving) -> None:
    headers = {"cookie": "antiphon_session=a; other=1; antiphon_session=b"}
    assert error_of(httpx.get(f"{served.base_url}/models", headers=headers), 401) == "invalid_session"
    for cookie in ("other=1", "antiphon_session", ";;;", "=", "antiphon_sessionx=1"):
        code = error_of(httpx.get(f"{served.base_url}/models", headers={"cookie": cookie}), 401)
        assert code in ("missing_api_key", "invalid_session")


def test_it_ends_with_its_key(served: Serving, browser: httpx.Client) -> None:
    secret, key_id = new_key(served)
    log_in(browser, secret)
    assert browser.get("/v1/models").status_code == 200
    in_store(served, lambda store: store.revoke_key(key_id, 1))
    assert error_of(browser.get("/v1/models"), 401) == "invalid_session"
    assert error_of(browser.get(PATH), 401) == "invalid_session"
    assert error_of(browser.post("/v1/responses", json=BODY), 401) == "invalid_session"


def test_it_may_do_no_more_than_its_key(served: Serving, browser: httpx.Client) -> None:
    secret, _ = new_key(served, scopes=("models:read",))
    log_in(browser, secret)
    assert browser.get("/v1/models").status_code == 200
    assert error_of(browser.post("/v1/responses", json=BODY), 403) == "insufficient_permissions"


def test_it_opens_no_administration(served: Serving, browser: httpx.Client) -> None:
    log_in(browser, served.key)
    assert browser.get("/v1/organization/projects").status_code == 401


def test_the_log_shows_which_session_and_no_secret(served: Serving, browser: httpx.Client) -> None:
    with logged("debug") as lines:
        session = log_in(browser, served.key)
        token = browser.cookies["antiphon_session"]
        browser.post("/v1/responses", json=BODY)
        browser.delete(PATH)
    assert session["id"] in lines.text
    for secret in (served.key, token, session["csrf_token"]):
        assert secret not in lines.text


def test_the_oldest_of_too_many_ends(served: Serving, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SESSIONS_PER_KEY", 2)
    secret, _ = new_key(served)
    tokens = []
    for _ in range(3):
        log_in(browser, secret)
        tokens.append(browser.cookies["antiphon_session"])
        browser.cookies.clear()

    def works(token: str) -> bool:
        cookie = {"cookie": f"antiphon_session={token}"}
        return httpx.get(f"{served.base_url}/models", headers=cookie).status_code == 200

    assert [works(token) for token in tokens] == [False, True, True]


def test_it_ends_with_its_time(served: Serving, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SESSION_TTL", 0)
    cookie = {"cookie": browser.post(PATH, json={"key": served.key}).headers["set-cookie"].split(";")[0]}
    assert error_of(httpx.get(f"{served.base_url}/models", headers=cookie), 401) == "invalid_session"


@pytest.mark.parametrize(
    ("origin", "status"), [("own", None), ("https://evil.example", 403), ("null", 403), (None, 403)]
)
def test_a_websocket_needs_the_origin(
    served: Serving, browser: httpx.Client, origin: str | None, status: int | None
) -> None:
    log_in(browser, served.key)
    cookie = {"cookie": f"antiphon_session={browser.cookies['antiphon_session']}"}
    url = f"{served.base_url.replace('http', 'ws')}/responses"
    named: Any = served.url if origin == "own" else origin
    if status is None:
        with connect(url, additional_headers=cookie, origin=named) as socket:
            socket.send(json.dumps({"type": "response.create", **BODY}))
            assert "response.created" in str(socket.recv(5))
    else:
        with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=cookie, origin=named):
            pass
        assert refused.value.response.status_code == status
        assert b"csrf_check_failed" in refused.value.response.body
