"""Hostile paths, ids, methods, queries and headers, over every endpoint."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.examples import examples
from support.rawhttp import Wire

from . import valid
from .judge import judge, judge_refusal

#: Every resource and its methods; `{}` stands for an id.
RESOURCES: dict[str, set[str]] = {
    "/v1/responses": {"POST"},
    "/v1/responses/{}": {"GET", "DELETE"},
    "/v1/responses/{}/input_items": {"GET"},
    "/v1/chat/completions": {"GET", "POST"},
    "/v1/chat/completions/{}": {"GET", "POST", "DELETE"},
    "/v1/chat/completions/{}/messages": {"GET"},
    "/v1/prompts": {"GET", "POST"},
    "/v1/prompts/{}": {"GET", "POST", "DELETE"},
    "/v1/prompts/{}/versions": {"GET", "POST"},
    "/v1/prompts/{}/versions/1": {"GET"},
    "/v1/prompts/{}/versions/1/publish": {"POST"},
    "/v1/models": {"GET"},
    "/v1/models/{}": {"GET"},
    "/healthz": {"GET", "HEAD"},
    "/readyz": {"GET", "HEAD"},
}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "SUBSCRIBE"]
_BODIES: dict[str, dict[str, Any]] = {"/v1/prompts/{}": {"name": "x"}, "/v1/prompts/{}/versions": {"instructions": "x"}}
WITH_ID = [(path, method) for path, methods in RESOURCES.items() if "{}" in path for method in sorted(methods)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", RESOURCES)
def test_methods(wire: Wire, path: str, method: str) -> None:
    answer = wire.ask(method, path.format("some_id"), {} if method in ("POST", "PUT", "PATCH") else None)
    judge(answer, method)
    if method in RESOURCES[path]:
        assert answer.status in (200, 400, 404)
        return
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == {name.lower() for name in RESOURCES[path]}
    if method != "HEAD":
        assert answer.error["param"] is None
        assert answer.error["code"] in ("method_not_allowed", "not_served")


IDS = [
    "resp_unknown", "resp_" + "0" * 48, "0", "-1", "null", "undefined", "*", "%00", "a%00b", "%0a", "%0d%0aX-A:%20b",
    "%7f", "%ff", "%c0%af", "%ed%a0%80", "%f0%9f%98%80", "%2e", "%2e%2e", "..%2f..%2fetc%2fpasswd", "..%5c..%5c", "%2f",
    "%252f", "a%2fb", "%25", "%", "%zz", "%u0041", "a;b", "a,b", "'%20OR%201=1%20--", "%22", "%3cscript%3e",
    "${jndi:ldap://x}",
    "{response_id}", "__proto__", "x" * 512, "x" * 513, "x" * 10_000, "x" * 60_000, "%e4" * 600, "~", "resp_unknown%20",
]  # fmt: skip


@pytest.mark.parametrize("given_id", IDS, ids=range(len(IDS)))
def test_ids(wire: Wire, given_id: str) -> None:
    for path, method in WITH_ID:
        body = _BODIES.get(path, {"metadata": {}}) if method == "POST" else None
        answer = wire.ask(method, path.format(given_id), body)
        error = judge_refusal(answer)
        if answer.status == 400:
            assert error["code"] == "invalid_value", (method, path)
            assert "Expected an ID that begins with" in error["message"]
            continue
        assert answer.status == 404, (method, path)
        assert error["code"] in (None, "model_not_found", "prompt_not_found", "unknown_url", "not_served")


PATHS = [
    "/", "/v1", "/v1/", "/v1//responses", "//v1/responses", "/v1/responses/", "/v1/responses//", "/v1/responses/a/b",
    "/v1/responses/a/input_items/", "/V1/responses", "/v1/Responses", "/v1/responses.json", "/v1/../v1/models",
    "/v1/./models", "/%76%31/responsesx", "/v1/models/../keys", "/v2/responses", "/v1/assistants", "/v1/embeddings",
    "/v1/chat", "/v1/chat/", "/v1/chat/completions/", "/v1/chat/completions/a/messages/b", "/v1/completions",
    "/v1/responses/a/cancel", "/v1/responses/input_tokens/", "/v1/responses/compact/x", "/healthz/", "/readyz/x",
    "/metrics/", "/docs", "/openapi.json", "/favicon.ico", "/.env", "/.git/config", "/data.db", "/etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd", "/v1%00/models",
    "/v1/models%00/x", "/v1\\models", "/v1/%", "*", "/v1/" + "a/" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_paths(wire: Wire, path: str, method: str) -> None:
    answer = wire.ask(method, path, {} if method == "POST" else None)
    error = judge_refusal(answer)
    if path.startswith("/v1/models") or (method == "POST" and path.endswith("input_tokens")) or error["param"]:
        # Everything behind /v1/models/ and /v1/responses/ is an id.
        assert answer.status in (400, 404, 405)
    elif answer.status != 405:
        assert (answer.status, error["param"]) == (404, None)
        assert error["code"] in ("unknown_url", "not_served")


QUERIES: list[tuple[str, str, int, str | None, str | None]] = [
    # (path, query, status, code, param)
    ("/v1/models", "a=1", 400, "unknown_parameter", "a"),
    ("/v1/models", "limit=5", 400, "unknown_parameter", "limit"),
    ("/v1/models", "%ff=1", 400, "invalid_query", None),
    ("/v1/models", "a=%ff", 400, "invalid_query", None),
    ("/v1/models", "&".join(f"a{n}=1" for n in range(101)), 400, "invalid_query", None),
    ("/v1/models", "&&&;;==", 400, "unknown_parameter", None),
    ("/v1/models", "%00=%00", 400, "unknown_parameter", "\x00"),
    ("/v1/models", "x" * 10_000 + "=1", 400, "unknown_parameter", "x" * 100),
    ("/v1/models/gpt-5-mini", "a=1", 400, "unknown_parameter", "a"),
    ("/v1/responses/resp_x", "a=1", 400, "unknown_parameter", "a"),
    ("/v1/responses/resp_x", "include=everything", 400, "invalid_value", "include"),
    ("/v1/responses/resp_x", "include[]=a&include[]=b", 400, "invalid_value", "include"),
    ("/v1/responses/resp_x", "include[0]=a", 400, "unknown_parameter", "include[0]"),
    ("/v1/responses/resp_x", "include[=a", 400, "unknown_parameter", "include["),
    ("/v1/responses/resp_x", "stream=yes", 400, "invalid_value", "stream"),
    ("/v1/responses/resp_x", "stream=true", 404, None, "response_id"),
    ("/v1/responses/resp_x", "stream=" + "t" * 9999, 400, "invalid_value", "stream"),
    ("/v1/responses/resp_x", "starting_after=-1", 400, "invalid_type", "starting_after"),
    ("/v1/responses/resp_x", "starting_after=%C2%B2", 400, "invalid_type", "starting_after"),
    ("/v1/responses/resp_x", "include_obfuscation=1", 400, "invalid_value", "include_obfuscation"),
    ("/v1/responses/resp_x/input_items", "limit=0", 400, "integer_below_min_value", "limit"),
    ("/v1/responses/resp_x/input_items", "limit=-5", 400, "integer_below_min_value", "limit"),
    ("/v1/responses/resp_x/input_items", "limit=101", 400, "integer_above_max_value", "limit"),
    ("/v1/responses/resp_x/input_items", "limit=" + "9" * 5000, 400, "invalid_type", "limit"),
    ("/v1/responses/resp_x/input_items", "limit=1e1", 400, "invalid_type", "limit"),
    ("/v1/responses/resp_x/input_items", "limit=", 400, "invalid_type", "limit"),
    ("/v1/responses/resp_x/input_items", "limit=%D9%A3", 400, "invalid_type", "limit"),
    ("/v1/responses/resp_x/input_items", "limit=5.0", 400, "invalid_type", "limit"),
    ("/v1/responses/resp_x/input_items", "limit=--5", 400, "invalid_type", "limit"),
    ("/v1/responses/resp_x/input_items", "limit[a]=5", 400, "unknown_parameter", "limit[a]"),
    ("/v1/responses/resp_x/input_items", "order=up", 400, "invalid_value", "order"),
    ("/v1/responses/resp_x/input_items", "order=ASC", 400, "invalid_value", "order"),
    ("/v1/responses/resp_x/input_items", "before=a", 400, "unknown_parameter", "before"),
    ("/v1/responses/resp_x/input_items", "after=a", 404, None, None),
    ("/v1/chat/completions", "limit=abc", 400, "invalid_type", "limit"),
    ("/v1/chat/completions", "order=random", 400, "invalid_value", "order"),
    ("/v1/chat/completions", "after=chatcmpl-unknown", 404, None, "after"),
    ("/v1/chat/completions", "after=%00", 404, None, "after"),
    ("/v1/chat/completions", "after=" + "x" * 9999, 404, None, "after"),
    ("/v1/chat/completions", "metadata=a", 400, "invalid_type", "metadata"),
    ("/v1/chat/completions", "metadata[]=", 400, "unknown_parameter", "metadata[]"),
    ("/v1/chat/completions", "metadata[a", 400, "unknown_parameter", "metadata[a"),
    ("/v1/chat/completions", "foo[bar]=1", 400, "unknown_parameter", "foo[bar]"),
    ("/v1/chat/completions/chatcmpl-c/messages", "limit=0", 400, "integer_below_min_value", "limit"),
    ("/v1/chat/completions/chatcmpl-c/messages", "x=1", 400, "unknown_parameter", "x"),
    ("/v1/chat/completions/chatcmpl-c", "x=1", 400, "unknown_parameter", "x"),
]  # fmt: skip


@pytest.mark.parametrize("case", QUERIES, ids=range(len(QUERIES)))
def test_queries(wire: Wire, case: tuple[str, str, int, str | None, str | None]) -> None:
    path, query, status, code, param = case
    answer = wire.ask("GET", f"{path}?{query}")
    error = judge_refusal(answer)
    assert (answer.status, code or error["code"], param or error["param"]) == (status, error["code"], error["param"])


EMPTY = [
    "metadata[no]=b", "metadata[no]=%00", "metadata[%00]=b", "metadata[__proto__]=a", "metadata[no[b]]=c",
    "metadata[" + "k" * 5000 + "]=" + "v" * 5000, "model=nobody", "model=%00", "model=" + "m" * 5000,
    "model='%20OR%201=1",
    "&".join(f"metadata[k{n}]=v" for n in range(99)),
]  # fmt: skip


@pytest.mark.parametrize("query", EMPTY, ids=range(len(EMPTY)))
def test_filters_that_match_nothing(wire: Wire, query: str) -> None:
    answer = wire.ask("GET", f"/v1/chat/completions?{query}")
    judge(answer)
    assert answer.json() == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


SMALL = {"model": "gpt-5-mini", "input": "hi", "store": False}
HEADERS: list[tuple[dict[str, Any], int, str | None]] = [
    ({"content_type": None}, 415, "unsupported_media_type"),
    ({"content_type": ""}, 415, "unsupported_media_type"),
    ({"content_type": "text/plain"}, 415, "unsupported_media_type"),
    ({"content_type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    ({"content_type": "multipart/form-data; boundary=a"}, 415, "unsupported_media_type"),
    ({"content_type": "application/json5"}, 415, "unsupported_media_type"),
    ({"content_type": "application"}, 415, "unsupported_media_type"),
    ({"content_type": "\xff\xfe"}, 415, "unsupported_media_type"),
    ({"content_type": "a" * 20_000}, 415, "unsupported_media_type"),
    ({"content_type": "APPLICATION/JSON; charset=utf-8"}, 200, None),
    ({"content_encoding": "gzip"}, 415, "unsupported_media_type"),
    ({"content_encoding": "identity"}, 200, None),
    ({"content_encoding": "x" * 9999}, 415, "unsupported_media_type"),
    ({"accept": "image/png"}, 200, None),
    ({"accept_encoding": "br;q=nan, *;q=2"}, 200, None),
    ({"range": "bytes=0-1"}, 200, None),
    ({"if_none_match": "*"}, 200, None),
    ({"host": None}, 400, "malformed_request"),
    ({"host": "a b"}, 400, "malformed_request"),
    ({"host": ""}, 200, None),
    ({"host": "evil.example"}, 200, None),
    ({"host": "a" * 5000}, 200, None),
    ({"x_forwarded_for": "127.0.0.1", "forwarded": "for=[::1]"}, 200, None),
    ({"x_http_method_override": "DELETE"}, 200, None),
    ({"x_original_url": "/healthz"}, 200, None),
    ({"cookie": "a=b; " * 500}, 200, None),
    ({"openai_organization": "\xff", "openai_project": "proj_other"}, 200, None),
    ({"openai_beta": "responses=v99"}, 200, None),
    ({"idempotency_key": "k" * 5000}, 400, "invalid_header"),
    ({"idempotency_key": "once"}, 200, None),
    ({"expect": "nothing"}, 200, None),
    ({"te": "trailers", "trailer": "Authorization"}, 200, None),
    ({"x_client_request_id": "a" * 512}, 200, None),
    ({"x_client_request_id": "a" * 513}, 400, "invalid_header"),
    ({"x_client_request_id": "caf\xe9"}, 400, "invalid_header"),
    ({"x_client_request_id": "tab\there"}, 400, "invalid_header"),
    ({"authorization": None}, 401, "missing_api_key"),
    ({"authorization": ""}, 401, "missing_api_key"),
    ({"authorization": "Bearer"}, 401, "invalid_authorization"),
    ({"authorization": "Bearer "}, 401, "invalid_authorization"),
    ({"authorization": "Basic dTpw"}, 401, "invalid_authorization"),
    ({"authorization": "sk-something"}, 401, "invalid_authorization"),
    ({"authorization": "Bearer sk-antiphon-wrong"}, 401, "invalid_api_key"),
    ({"authorization": "Bearer \xff\xfe"}, 401, "invalid_api_key"),
    ({"authorization": "Bearer a b c"}, 401, "invalid_api_key"),
    ({"authorization": "Bearer " + "k" * 50_000}, 401, "invalid_api_key"),
    ({"authorization": "Bearer ' OR '1'='1"}, 401, "invalid_api_key"),
]


@pytest.mark.parametrize("case", HEADERS, ids=range(len(HEADERS)))
def test_headers(wire: Wire, case: tuple[dict[str, Any], int, str | None]) -> None:
    headers, status, code = case
    answer = wire.ask("POST", valid.RESPONSES_PATH, SMALL, **headers)
    judge(answer)
    assert answer.status == status
    assert status == 200 or answer.error["code"] == code


@pytest.mark.parametrize("path", [*RESOURCES, "/v1/unknown"])
def test_nothing_of_the_api_opens_without_a_key(wire: Wire, path: str) -> None:
    for method in METHODS:
        answer = wire.ask(method, path.format("x"), authorization="Bearer sk-antiphon-wrong")
        judge(answer, method)
        assert answer.status == 401 or (path in ("/healthz", "/readyz") and answer.status in (200, 405))


def test_generated_targets(wire: Wire) -> None:
    """Random printable targets behind every resource: never more than a refusal."""
    text = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="?#"), max_size=40)

    @settings(
        max_examples=examples(400),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(sorted(RESOURCES)), st.sampled_from(METHODS), text, text)
    def ask(path: str, method: str, tail: str, query: str) -> None:
        target = path.format("x") + ("/" + tail if tail else "") + ("?" + query if query else "")
        judge(wire.ask(method, target, {} if method == "POST" else None), method)

    ask()
