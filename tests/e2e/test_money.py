"""What calls cost: on their answers, in the ledger, and against budgets. With the official SDK, over a socket."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from antiphon.domain.errors import Overloaded
from antiphon.domain.routing import PriceSpec
from antiphon.engines.scripted import ScriptedEngine, saying
from antiphon.protocol.generation import Finish, Generation, TextDelta, Usage
from support.gate import ScriptGate
from support.inside import in_store
from support.money import admin_client, entries, selling
from support.serving import Serving

ASKED: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'antiphon.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def ask(served: Serving, **options: Any) -> Any:
    return served.client().chat.completions.with_raw_response.create(
        **{"model": "scripted", "messages": ASKED, "max_completion_tokens": 1, **options}
    )


def test_the_cost_stands_on_the_answer_and_in_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    price = PriceSpec(input="0.25", output="2", cached="0.025", reasoning="3")
    usage = Usage(input_tokens=1000, cached_tokens=200, output_tokens=40, reasoning_tokens=10)
    engine = ScriptedEngine(lambda _: [TextDelta("yes"), Finish("stop", usage)])
    with selling(engine, tmp_path, monkeypatch, price) as served:
        answer = ask(served)
        # 800 x 0.25 + 200 x 0.025 + 30 x 2 + 10 x 3, all in millionths of a dollar
        assert answer.headers["x-antiphon-cost"] == "0.000295"
        assert answer.headers["x-antiphon-price-version"] == "own"
        [entry] = entries(served, 1)
        assert (entry.cost, entry.price_version, entry.status, entry.error) == (295_000, "own", 200, None)
        assert (entry.input_tokens, entry.cached_tokens, entry.output_tokens) == (1000, 200, 40)
        assert (entry.reasoning_tokens, entry.estimated, entry.attempts) == (10, 0, 1)
        assert (entry.endpoint, entry.model, entry.served) == ("/v1/chat/completions", "scripted", "scripted")
        assert entry.object_id == answer.parse().id
        assert entry.request_id == answer.headers["x-request-id"]
        assert abs(entry.at / 1000 - time.time()) < 60


def test_a_stream_tells_its_cost_in_a_comment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with selling(ScriptedEngine(saying("one two", pieces=2)), tmp_path, monkeypatch) as served:
        with served.client().responses.with_streaming_response.create(
            model="scripted", input="hi", stream=True
        ) as answer:
            body = b"".join(answer.iter_bytes())
        assert body.endswith(b"\n\n: x-antiphon-cost: 2\n\n: x-antiphon-price-version: own\n\ndata: [DONE]\n\n")
        events = list(served.client().responses.create(model="scripted", input="hi", stream=True))
        assert events[-1].type == "response.completed"
        assert [entry.cost for entry in entries(served, 2)] == [2 * 10**9] * 2


def test_choices_are_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with selling(ScriptedEngine(saying("yes")), tmp_path, monkeypatch) as served:
        assert ask(served, n=3).headers["x-antiphon-cost"] == "3"
        [entry] = entries(served, 1)
        assert (entry.cost, entry.output_tokens, entry.attempts) == (3 * 10**9, 3, 3)


def test_an_unknown_price_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with selling(ScriptedEngine(saying("yes")), tmp_path, monkeypatch) as served:
        assert ask(served, model="unpriced").headers["x-antiphon-cost"] == "unknown"
        assert [entry.cost for entry in entries(served, 1)] == [None]
        costs = admin_client(served).admin.organization.usage.with_raw_response.costs(start_time=int(time.time()) - 60)
        assert costs.headers["x-antiphon-unknown-cost-requests"] == "1"


def test_who_hangs_up_is_billed_for_what_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = ScriptGate()
    script = [TextDelta("one "), TextDelta("two "), gate.step(), TextDelta("three"), Finish("stop")]
    with selling(ScriptedEngine(lambda _: script), tmp_path, monkeypatch) as served:
        stream = served.client().chat.completions.create(model="scripted", messages=ASKED, stream=True)
        seen = 0
        for chunk in stream:
            seen += bool(chunk.choices[0].delta.content)
            if seen == 2:
                break
        stream.response.close()
        [entry] = entries(served, 1)
        assert (entry.output_tokens, entry.estimated, entry.error) == (2, 1, "client_gone")
        assert entry.cost == 2 * 10**9
        assert entry.streamed


def test_refusals_and_failures_have_an_entry_without_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Generation) -> None:
        raise Overloaded("full")

    with selling(ScriptedEngine(admit=full), tmp_path, monkeypatch) as served:
        for model in ("scripted", "none-such"):
            with pytest.raises(openai.APIStatusError):
                ask(served, model=model)
        served.client().models.list()
        first, second = entries(served, 2)
        assert (first.status, first.error, first.cost, first.output_tokens) == (503, "server_is_overloaded", 0, 0)
        assert (second.status, second.model, second.attempts) == (404, "none-such", 0)


def test_a_background_response_has_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with selling(ScriptedEngine(saying("yes")), tmp_path, monkeypatch) as served:
        response = served.client().responses.create(model="scripted", input="hi", background=True)
        [entry] = entries(served, 1)
        assert (entry.object_id, entry.background, entry.cost) == (response.id, 1, 10**9)


# --- budgets ----------------------------------------------------------------------------------------------------------
def test_100_parallel_calls_against_a_budget_for_10(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    engine = ScriptedEngine(saying("yes"), pace=0.01)
    with selling(engine, tmp_path, monkeypatch, database=database) as served:
        admin = admin_client(served)
        projects = in_store(served, lambda store: store.list_projects())
        limits = admin.admin.organization.projects.spend_limit
        limits.update(projects[0].id, threshold_amount=1000, currency="USD", interval="month")

        def one(_: int) -> str:
            try:
                ask(served)
            except openai.RateLimitError as error:
                return f"{error.type} {error.code} {error.response.headers['x-should-retry']}"
            return "served"

        with ThreadPoolExecutor(100) as pool:
            outcomes = Counter(pool.map(one, range(100)))
        assert outcomes == {"served": 10, "insufficient_quota project_spend_limit_exceeded false": 90}
        assert len(engine.asked) == 10
        assert limits.retrieve(projects[0].id).enforcement.status == "enforcing"
        found = entries(served, 100)
        assert sum(entry.cost or 0 for entry in found) == 10 * 10**9
        [budget] = in_store(served, lambda store: store.list_budgets())
        assert (budget.spent, budget.reserved) == (10 * 10**9, 0)


def test_what_is_not_used_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with selling(ScriptedEngine(saying("yes")), tmp_path, monkeypatch) as served:
        limits = admin_client(served).admin.organization.spend_limit
        limits.update(threshold_amount=500, currency="USD", interval="month")
        # Each could cost four dollars and costs one.
        assert [ask(served, max_completion_tokens=4).headers["x-antiphon-cost"] for _ in range(2)] == ["1", "1"]
        with pytest.raises(openai.RateLimitError) as refused:
            ask(served, max_completion_tokens=4)
        assert refused.value.code == "organization_spend_limit_exceeded"
        assert ask(served, max_completion_tokens=3).headers["x-antiphon-cost"] == "1"
        limits.delete()
        assert ask(served, max_completion_tokens=400).headers["x-antiphon-cost"] == "1"


def test_an_unknown_price_is_refused_by_a_hard_budget_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with selling(ScriptedEngine(saying("yes")), tmp_path, monkeypatch) as served:
        limits = admin_client(served).admin.organization.spend_limit
        limits.update(threshold_amount=500, currency="USD", interval="month")
        with pytest.raises(openai.PermissionDeniedError) as refused:
            ask(served, model="unpriced")
        assert refused.value.code == "price_unknown"
        limits.delete()
        ask(served, model="unpriced")


def test_an_alert_is_told_on_answers_once_it_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with selling(ScriptedEngine(saying("yes")), tmp_path, monkeypatch) as served:
        alerts = admin_client(served).admin.organization.spend_alerts
        alerts.create(
            threshold_amount=100,
            currency="USD",
            interval="month",
            notification_channel={"type": "email", "recipients": ["me@example.com"]},
        )
        assert "x-antiphon-budget-alert" not in ask(served).headers
        entries(served, 1)
        deadline = time.monotonic() + 5
        while (told := ask(served).headers.get("x-antiphon-budget-alert")) is None:
            assert time.monotonic() < deadline
        assert told == "organization; month; amount=1"
