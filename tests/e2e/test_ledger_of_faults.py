"""Whatever an upstream does, each call has one row in the ledger, and the row says what the client was given."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from antiphon.domain import limits
from antiphon.domain.ledger import Entry
from antiphon.domain.money import DOLLAR, MILLION, to_dollars
from support.fault_proxy import FAULTS
from support.inside import in_store
from support.spoilt import DEADLINES, KINDS, SOUND, SPOILT, SURFACES, TEXT, Wired, events_of, spoilt

#: Those that say nothing for a while run into the deadlines of a route of their own.
SLOW = {"stall_before", "stall_after_head", "stall_middle", "drip", "comments_only"}
#: Errors of a server that had the request and may have worked on it.
WORKED = {"upstream_timeout", "upstream_invalid", "upstream_truncated", "upstream_error"}
Ask = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module", params=KINDS)
def wired(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    with spoilt(request.param, tmp_path_factory.mktemp("spoilt")) as wired:
        yield wired


def rows_of(wired: Wired, names: list[str]) -> list[Entry]:
    """The one row of each request."""
    deadline = time.monotonic() + 10

    async def find(store: Any) -> list[list[Entry]]:
        return [await store.find_entries(name) for name in names]

    while not all(found := in_store(wired.front, find)):
        assert time.monotonic() < deadline, dict(zip(names, found, strict=True))
        time.sleep(0.05)
    assert [len(rows) for rows in found] == [1] * len(names)
    return [row for [row] in found]


def said(answer: httpx2.Response) -> tuple[str, dict[str, Any] | None, str | None]:
    """The text that a client was given, the usage that it was told, and the code of the error."""
    if answer.status_code != 200:
        return "", None, answer.json()["error"]["code"]
    if "event-stream" not in answer.headers["content-type"]:
        return TEXT, answer.json()["usage"], None
    events = [event for event in events_of(answer) if event != "[DONE]"]
    text, usage, code = "", None, None
    for event in events:
        if "error" in event and "choices" not in event:
            code = event["error"]["code"]
        elif event.get("type") == "response.output_text.delta":
            text += event["delta"]
        elif event.get("type") == "response.failed":
            code = event["response"]["error"]["code"]
        elif event.get("type") == "response.completed":
            usage = event["response"]["usage"]
        else:
            text += "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))
            usage = event.get("usage") or usage
    return text, usage, code


def output_of(usage: dict[str, Any]) -> int:
    return int(usage.get("output_tokens", usage.get("completion_tokens")))


def cost_told(answer: httpx2.Response) -> str | None:
    """The cost, from the header or, in a stream, from the comment at its end."""
    if "event-stream" not in answer.headers["content-type"]:
        return answer.headers.get("x-antiphon-cost")
    comments = [line for line in answer.text.split("\n") if line.startswith(": x-antiphon-cost: ")]
    return comments[-1].rpartition(" ")[2] if comments else None


def judge(answer: httpx2.Response, row: Entry, rate: int, lost: int = 0) -> None:
    """`rate`: the price of a million tokens of output (US dollars). `lost`: tokens that count for what never came."""
    text, usage, code = said(answer)
    assert row.status == answer.status_code
    assert row.cost == row.output_tokens * rate * DOLLAR // MILLION
    if usage is not None:
        assert (row.output_tokens, row.estimated, row.error) == (output_of(usage), 0, None)
        assert cost_told(answer) == to_dollars(row.cost)
    elif text:
        # What was given and not counted by anybody is estimated: no more than its characters, no less than a fourth.
        assert len(text) // 4 <= row.output_tokens <= len(text)
        assert row.estimated == 1
        assert row.error is not None
    else:
        # A server that had the request and gave no answer may have made one: a whole one counts as long as allowed.
        made = limits.BUDGET_OUTPUT_TOKENS if code in WORKED and not row.streamed else 0
        assert row.output_tokens in ({lost} if lost else {0, made})
        assert row.estimated == (row.input_tokens > 0)
        assert row.error is not None
    if code is not None and answer.status_code != 200:
        assert row.error == code


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("surface", SURFACES)
def test_after_any_fault_the_ledger_says_what_was_given(wired: Wired, surface: str, streamed: bool) -> None:
    path, body = SURFACES[surface]
    options = {"stream_options": {"include_usage": True}} if streamed and surface == "chat" else {}

    def ask(fault: str) -> httpx2.Response:
        route = "once" if fault in SLOW else "calm"
        model = f"{route}/{fault}.{surface}.{streamed}"
        began = time.monotonic()
        answer = wired.post(path, {**body, **options, "model": model, "stream": streamed})
        assert fault not in SLOW or time.monotonic() - began < DEADLINES["whole"] + 1.0
        return answer

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, FAULTS))
    rows = rows_of(wired, [answer.headers["x-request-id"] for answer in answers])
    for fault, answer, row in zip(FAULTS, answers, rows, strict=True):
        # Who was asked for the whole of an answer, and did not say that he made none, may want to be paid for it.
        told = fault.startswith(("status_", "error_"))
        judge(answer, row, SPOILT, lost=0 if streamed or told else limits.BUDGET_OUTPUT_TOKENS)
        assert (row.attempts, row.fallback, row.streamed) == (1, 0, int(streamed)), fault
        assert row.targets == f"spoilt/{fault}.{surface}.{streamed}"
    whole = [answer for answer in answers if said(answer)[0] == TEXT and said(answer)[2] is None]
    assert len(whole) >= 4, "some faults do no harm"
    if streamed:
        assert any(row.estimated and row.cost for row in rows), "some break off what has begun"


@pytest.mark.parametrize("surface", SURFACES)
def test_retries_and_fallbacks_are_one_row_at_the_price_of_who_served(wired: Wired, surface: str) -> None:
    path, body = SURFACES[surface]
    models = [f"again/twice_status_503.row.{surface}", f"sure/status_503.row.{surface}"]
    answers = [wired.post(path, {**body, "model": model}) for model in models]
    assert [answer.status_code for answer in answers] == [200, 200]
    retried, fallen = rows_of(wired, [answer.headers["x-request-id"] for answer in answers])
    judge(answers[0], retried, SPOILT)
    judge(answers[1], fallen, SOUND)
    assert (retried.attempts, retried.fallback, retried.served) == (3, 0, f"twice_status_503.row.{surface}")
    assert (fallen.attempts, fallen.fallback, fallen.served) == (2, 1, "scripted")
    assert fallen.targets == f"spoilt/status_503.row.{surface},sound/scripted"
    assert {retried.price_version, fallen.price_version} == {"own"}


@pytest.mark.parametrize("surface", SURFACES)
def test_who_hangs_up_pays_for_what_has_come(wired: Wired, surface: str) -> None:
    path, body = SURFACES[surface]
    body = {**body, "model": f"calm/stall_middle.gone.{surface}", "stream": True}
    url, text = f"{wired.front.base_url}{path}", ""
    with httpx2.stream("POST", url, headers=wired.front.headers, json=body, timeout=20) as answer:
        for line in answer.iter_lines():
            if "delta" in line and "Gr" in line:
                text = line
                break
    assert text
    [row] = rows_of(wired, [answer.headers["x-request-id"]])
    assert (row.estimated, row.error) == (1, "client_gone")
    assert 0 < row.output_tokens <= len(TEXT)
    assert row.cost == row.output_tokens * SPOILT * DOLLAR // MILLION
