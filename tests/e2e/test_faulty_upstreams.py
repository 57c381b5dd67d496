"""Every fault of an upstream, on every surface, streamed or not: it ends in time, once, cleanly, and tells nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2
import pytest

from support.fault_proxy import FAULTS, WORDS
from support.spoilt import DEADLINES, KINDS, SURFACES, TEXT, Wired, events_of, spoilt, text_of

SLOW = {"stall_before", "stall_after_head", "stall_middle", "drip", "comments_only"}
HARMLESS = {"none", "bytewise", "split_characters", "merged", "pings", "plain_type", "odd_type"}
#: What does no harm to an answer that is not streamed.
HARMLESS_WHOLE = {*HARMLESS, "no_reason"}
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


@pytest.fixture(scope="module", params=KINDS)
def wired(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    with spoilt(request.param, tmp_path_factory.mktemp("spoilt")) as wired:
        yield wired


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
    harmless = fault in (HARMLESS if streamed else HARMLESS_WHOLE)
    if answer.status_code != 200:
        assert not harmless
        judge_error(answer, fault)
    elif streamed:
        assert answer.headers["x-antiphon-attempts"] == "1"
        judge = judge_chat_stream if surface == "chat" else judge_responses_stream
        judge(answer, whole=harmless)
    else:
        assert harmless
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
