"""Every fault of an upstream, on every surface, streamed or not: it ends in time, once, cleanly, and tells nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from antiphon.engines.scripted import ScriptedEngine, saying
from antiphon.settings import gateway
from support.fault_proxy import FAULTS, WORDS, FaultProxy, fault_proxy
from support.serving import Serving, serving

TEXT = "Grüße aus Köln: 日本語, naïve café, and so on. " * 3
#: Seconds. `first` and `between` are what most faults run into; `whole` ends what only drips.
DEADLINES = {"connect": 0.3, "first": 0.3, "between": 0.3, "whole": 0.6}
KINDS = ["chat", "responses"]
SURFACES = {
    "chat": ("/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
    "responses": ("/responses", {"input": "hello"}),
}
SLOW = {"stall_before", "stall_after_head", "stall_middle", "drip", "comments_only"}
HARMLESS = {"none", "bytewise", "split_characters", "merged"}
#: What is published for these endpoints, or for every one.
DOCUMENTED = {400, 401, 403, 404, 408, 409, 413, 415, 429, 500, 502, 503, 504}
STATUS = {
    "status_400": 400,
    "status_401": 502,
    "status_403": 502,
    "status_404": 404,
    "status_429": 429,
    "status_429_later": 429,
    "status_503": 503,
    "status_503_later": 503,
    "status_504": 504,
    "stall_before": 504,
    "stall_after_head": 504,
    "stall_middle": 504,
    "drip": 504,
    "comments_only": 504,
}
TERMINAL = {"response.completed", "response.failed", "response.incomplete", "error"}


@dataclass
class Wired:
    """A server of routes, the proxy behind it, and the server behind that."""

    front: Serving
    proxy: FaultProxy
    secret: str

    def post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        return httpx2.post(f"{self.front.base_url}{path}", headers=self.front.headers, json=body, timeout=20)


@pytest.fixture(scope="module", params=KINDS)
def wired(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    with serving(ScriptedEngine(saying(TEXT, pieces=12)), tmp_path_factory.mktemp("behind")) as behind:
        address = urlsplit(behind.url)
        assert address.hostname
        assert address.port
        secret = tmp_path_factory.mktemp("secret") / "key"
        secret.write_text(behind.key)
        with fault_proxy(address.hostname, address.port, "scripted") as proxy:
            upstreams = {
                "spoilt": {
                    "kind": request.param,
                    "url": f"http://127.0.0.1:{proxy.port}/v1",
                    "secret": {"file": str(secret)},
                },
                "sound": {"kind": request.param, "url": behind.base_url, "secret": {"file": str(secret)}},
                "nobody": {"kind": request.param, "url": "http://127.0.0.1:9/v1"},
            }
            plain = {"deadlines": DEADLINES, "retries": 0}
            routes = {
                "once/*": {"targets": [{"upstream": "spoilt"}], **plain},
                "calm/*": {"targets": [{"upstream": "spoilt"}], "retries": 0},
                "again/*": {"targets": [{"upstream": "spoilt"}]},
                "safe/*": {"targets": [{"upstream": "spoilt"}], "fallbacks": [{"route": "sound"}], **plain},
                "sure/*": {"targets": [{"upstream": "spoilt"}], "fallbacks": [{"route": "sound"}], "retries": 0},
                "sound": {"targets": [{"upstream": "sound", "model": "scripted"}]},
                "nobody": {"targets": [{"upstream": "nobody", "model": "x"}], "retries": 0},
            }
            settings = {"upstreams": gateway.upstreams(upstreams), "routes": gateway.routes(routes), "model": "none"}
            with serving(None, tmp_path_factory.mktemp("front"), **settings) as front:
                yield Wired(front, proxy, behind.key)


def text_of(body: dict[str, Any]) -> str:
    if "choices" in body:
        return str(body["choices"][0]["message"]["content"])
    return "".join(part["text"] for item in body["output"] for part in item["content"])


def events_of(answer: httpx2.Response) -> list[Any]:
    """The data of every event; `[DONE]` as it is."""
    blocks = [block for block in answer.text.split("\n\n") if block]
    data = [line.removeprefix("data: ") for block in blocks for line in block.split("\n") if line.startswith("data: ")]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


def judge_nothing_leaks(answer: httpx2.Response, wired: Wired) -> None:
    told = answer.text + str(answer.headers.multi_items())
    for word in (wired.secret, "sk-planted", str(wired.proxy.port), "127.0.0.1", "10.1.2.3", "Traceback"):
        assert word not in told, word
    if answer.status_code != 400 and answer.status_code != 404:
        assert WORDS not in told


def judge_error(answer: httpx2.Response, fault: str) -> None:
    """A clean refusal with a documented status."""
    assert answer.status_code in DOCUMENTED
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert answer.status_code == STATUS.get(fault, 502), error
    if answer.status_code in {429, 503}:
        assert answer.headers["retry-after"] == ("30" if fault.endswith("later") else "1")


def judge_chat_stream(answer: httpx2.Response, *, whole: bool) -> None:
    events = events_of(answer)
    errors = [event for event in events if event != "[DONE]" and "error" in event]
    finishes = [
        choice for event in events if "choices" in event for choice in event["choices"] if choice["finish_reason"]
    ]
    if whole:
        assert events[-1] == "[DONE]"
        assert not errors
        said = [choice["delta"].get("content") or "" for event in events[:-1] for choice in event["choices"]]
        assert "".join(said) == TEXT
    else:
        assert len(errors) == 1
        assert not finishes
    assert len(errors) + len(finishes) == 1, "exactly one end"
    assert events.count("[DONE]") == 1
    assert events[-1] == "[DONE]"
    assert all("error" in event for event in events[:-1][-len(errors) :]) or not errors


def judge_responses_stream(answer: httpx2.Response, *, whole: bool) -> None:
    events = [event for event in events_of(answer) if event != "[DONE]"]
    ends = [event for event in events if event["type"] in TERMINAL]
    assert len(ends) == 1, "exactly one end"
    assert ends[0] is events[-1]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    if whole:
        assert ends[0]["type"] == "response.completed"
        assert text_of(ends[0]["response"]) == TEXT
    else:
        assert ends[0]["type"] == "response.failed"
        assert ends[0]["response"]["error"]["code"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault(wired: Wired, fault: str, surface: str, streamed: bool) -> None:
    path, body = SURFACES[surface]
    # What does not run into a deadline must not depend on how busy this machine is.
    route = "once" if fault in SLOW else "calm"
    began = time.monotonic()
    answer = wired.post(path, {**body, "model": f"{route}/{fault}.{surface}.{streamed}", "stream": streamed})
    took = time.monotonic() - began
    assert fault not in SLOW or took < DEADLINES["whole"] + 1.0
    assert wired.proxy.asked[f"{fault}.{surface}.{streamed}"] == 1
    judge_nothing_leaks(answer, wired)
    if answer.status_code != 200:
        assert fault not in HARMLESS
        judge_error(answer, fault)
    elif streamed:
        assert answer.headers["x-antiphon-attempts"] == "1"
        judge = judge_chat_stream if surface == "chat" else judge_responses_stream
        judge(answer, whole=fault in HARMLESS)
    else:
        assert fault in HARMLESS
        assert text_of(answer.json()) == TEXT


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    "fault", ["status_500", "status_503", "reset_before", "hangup_before", "wrong_type", "garbage"]
)
def test_two_failures_before_the_first_token_are_not_seen(
    wired: Wired, fault: str, surface: str, streamed: bool
) -> None:
    path, body = SURFACES[surface]
    model = f"twice_{fault}.{surface}.{streamed}"
    answer = wired.post(path, {**body, "model": f"again/{model}", "stream": streamed})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-antiphon-attempts"] == "3"
    assert answer.headers["x-antiphon-target"] == f"spoilt/{model}"
    assert "x-antiphon-fallback" not in answer.headers
    assert wired.proxy.asked[model] == 3


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    "fault", ["status_401", "status_429_later", "status_503", "not_http", "truncated", "reset_middle"]
)
def test_a_fallback_answers_where_the_target_does_not(wired: Wired, fault: str, surface: str) -> None:
    path, body = SURFACES[surface]
    answer = wired.post(path, {**body, "model": f"sure/{fault}.{surface}"})
    assert answer.status_code == 200, answer.text
    assert text_of(answer.json()) == TEXT
    assert answer.headers["x-antiphon-target"] == "sound/scripted"
    assert answer.headers["x-antiphon-attempts"] == "2"
    assert answer.headers["x-antiphon-fallback"] == "true"


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("fault", ["stall_before", "stall_after_head", "comments_only"])
def test_a_fallback_answers_where_the_first_token_does_not_come(wired: Wired, fault: str, surface: str) -> None:
    path, body = SURFACES[surface]
    answer = wired.post(path, {**body, "model": f"safe/{fault}.{surface}", "stream": True})
    assert answer.status_code == 200, answer.text
    (judge_chat_stream if surface == "chat" else judge_responses_stream)(answer, whole=True)
    assert answer.headers["x-antiphon-target"] == "sound/scripted"
    assert answer.headers["x-antiphon-fallback"] == "true"


@pytest.mark.parametrize("surface", SURFACES)
def test_a_server_that_is_not_there(wired: Wired, surface: str) -> None:
    path, body = SURFACES[surface]
    answer = wired.post(path, {**body, "model": "nobody"})
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_unreachable"
    assert answer.headers["x-antiphon-attempts"] == "1"
    judge_nothing_leaks(answer, wired)


def test_a_target_in_a_row_of_failures_is_left_alone(wired: Wired) -> None:
    path, body = SURFACES["chat"]
    answers = [wired.post(path, {**body, "model": "calm/status_500.breaker"}) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [502] * 5 + [503] * 3
    assert wired.proxy.asked["status_500.breaker"] == 5
    assert answers[-1].json()["error"]["code"] == "engine_unavailable"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 5


def test_a_storm_costs_the_upstream_no_more_than_the_retry_budget(wired: Wired) -> None:
    path, body = SURFACES["chat"]
    for number in range(30):
        wired.post(path, {**body, "model": f"again/status_503.storm{number % 6}"})
    asked = sum(count for model, count in wired.proxy.asked.items() if model.startswith("status_503.storm"))
    # Names under a star are routes of their own, each with savings of its own; their breakers open in between.
    assert asked <= 6 * (5 + 2)


def test_what_was_not_answered_is_kept_as_failed(wired: Wired) -> None:
    path, body = SURFACES["responses"]
    answer = wired.post(path, {**body, "model": "calm/reset_middle.kept", "stream": True})
    first = events_of(answer)[0]["response"]["id"]
    kept = httpx2.get(f"{wired.front.base_url}/responses/{first}", headers=wired.front.headers).json()
    assert kept["status"] == "failed"
    assert kept["error"]["message"]
