"""Where parts of the gateway meet: prices and service tiers, names and permits, the cache and limits and budgets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from antiphon.domain.ledger import Entry
from antiphon.engines.scripted import ScriptedEngine, saying
from conformance.samples import response
from support.access import another_key, limited
from support.hosted import searching
from support.money import admin_client, entries
from support.responses_engines import playing, telling
from support.serving import Serving, serving
from support.upstream_of import tables
from support.upstreams import Behaviour, ChatUpstream, Says, chat_upstream, chunk, completed, streamed, usage_chunk

ASKED: list[Any] = [{"role": "user", "content": "hi"}]
#: Each kind of token at a price of its own, in US dollars per million.
PRICE = {
    "input": 1,
    "cached": 0.5,
    "cache_write": 3,
    "output": 10,
    "reasoning": 20,
    "input_audio": 100,
    "output_audio": 200,
    "tiers": {"flex": 0.5, "priority": 2},
}
USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "total_tokens": 1100,
    "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 50, "cache_write_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 10},
}
#: (450 x 1 + 400 x 0.5 + 100 x 3 + 50 x 100 + 60 x 10 + 30 x 20 + 10 x 200) / 1,000,000
COST = "0.00915"


def telling_all(tier: str | None = None) -> Behaviour:
    """Says "yes", and what it used to the last kind of token."""
    more = {} if tier is None else {"service_tier": tier}

    def behave(body: dict[str, Any]) -> Says:
        if body.get("stream"):
            last = json.loads(usage_chunk(USAGE)) | more
            return streamed(chunk({"content": "yes"}, **more), chunk(finish="stop", **more), json.dumps(last).encode())
        whole = json.loads(completed({"content": "yes"}, usage=USAGE).pieces[0])  # type: ignore[arg-type]
        return Says([json.dumps(whole | more).encode()])

    return behave


@contextmanager
def gateway(
    path: Path, behave: Behaviour, kind: str = "chat", route: dict[str, Any] | None = None, **more: Any
) -> Iterator[tuple[Serving, ChatUpstream]]:
    """A server with the route "r" to an upstream that does as told."""
    with chat_upstream(behave) as upstream:
        target = {"upstream": "up", "model": "m", "price": PRICE}
        routes = {"r": {"targets": [target], "retries": 0, **(route or {})}, **more.pop("routes", {})}
        upstreams = {"up": {"kind": kind, "url": upstream.url, "profile": more.pop("profile", "openai")}}
        with serving(None, path, **tables(upstreams, routes), **more) as front:
            yield front, upstream


def only(served: Serving) -> Entry:
    [entry] = entries(served, 1)
    return entry


# --- what a call costs ------------------------------------------------------------------------------------------------
def chat(served: Serving, **options: Any) -> Any:
    return served.client().chat.completions.with_raw_response.create(
        **{"model": "r", "messages": ASKED, **options},
    )


def respond(served: Serving, **options: Any) -> Any:
    return served.client().responses.with_raw_response.create(**{"model": "r", "input": "hi", **options})


@pytest.mark.parametrize("ask", [chat, respond])
@pytest.mark.parametrize("options", [{}, {"store": True}], ids=["plain", "stored"])
def test_every_kind_of_token_has_its_price(tmp_path: Path, ask: Callable[..., Any], options: dict[str, Any]) -> None:
    with gateway(tmp_path, telling_all()) as (served, _):
        assert ask(served, **options).headers["x-antiphon-cost"] == COST
        row = only(served)
        assert (row.input_tokens, row.cached_tokens, row.cache_write_tokens, row.input_audio_tokens) == (
            *(1000, 400, 100, 50),
        )
        assert (row.output_tokens, row.reasoning_tokens, row.output_audio_tokens) == (100, 30, 10)
        assert (row.cost, row.service_tier, row.price_version) == (9_150_000, "default", "own")


@pytest.mark.parametrize("path", ["/chat/completions", "/responses"])
def test_a_stream_costs_the_same(tmp_path: Path, path: str) -> None:
    with gateway(tmp_path, telling_all()) as (served, _):
        body = {"model": "r", "stream": True, **({"input": "hi"} if "resp" in path else {"messages": ASKED})}
        answer = httpx2.post(f"{served.base_url}{path}", headers=served.headers, json=body)
        assert f": x-antiphon-cost: {COST}\n\n: x-antiphon-price-version: own\n\n" in answer.text
        assert only(served).cost == 9_150_000


def test_the_background_and_sockets_cost_the_same(tmp_path: Path) -> None:
    with gateway(tmp_path, telling_all()) as (served, _):
        client = served.client()
        made = client.responses.create(model="r", input="hi", background=True)
        while client.responses.retrieve(made.id).status in {"queued", "in_progress"}:
            time.sleep(0.02)
        with client.responses.connect() as connection:
            connection.response.create(model="r", input="hi")
            ended = next(event for event in connection if event.type == "response.completed")
        first, second = entries(served, 2)
        assert (first.cost, second.cost) == (9_150_000, 9_150_000)
        assert (first.background, first.object_id, second.object_id) == (1, made.id, ended.response.id)


def test_choices_and_a_compaction_are_paid_for(tmp_path: Path) -> None:
    with gateway(tmp_path, telling_all()) as (served, _):
        answer = chat(served, n=3)
        assert answer.headers["x-antiphon-cost"] == "0.02745"
        served.client().responses.compact(model="r", input="a long story")
        several, compaction = entries(served, 2)
        assert (several.cost, several.attempts) == (27_450_000, 3)
        assert (compaction.cost, compaction.endpoint) == (9_150_000, "/v1/responses/compact")


@pytest.mark.parametrize("kind", ["chat", "responses"])
@pytest.mark.parametrize("ask", [chat, respond])
@pytest.mark.parametrize(
    ("wanted", "told", "factor"), [("flex", "flex", 0.5), ("flex", "default", 1), (None, "priority", 2)]
)
def test_the_tier_that_served_is_the_one_that_is_paid(
    tmp_path: Path, kind: str, ask: Callable[..., Any], wanted: str | None, told: str, factor: float
) -> None:
    behave = telling_all(told) if kind == "chat" else playing(searching(service_tier=told))
    with gateway(tmp_path, behave, kind) as (served, upstream):
        answer = ask(served, **({} if wanted is None else {"service_tier": wanted}))
        assert upstream.last.get("service_tier") == wanted
        assert answer.parse().service_tier == told
        row = only(served)
        assert row.service_tier == told
        assert row.cost == ordinary(row) * factor


def ordinary(row: Entry) -> int:
    """What these tokens cost in the ordinary tier (nano-dollars)."""
    parts = row.cached_tokens, row.cache_write_tokens, row.input_audio_tokens
    plain_in = row.input_tokens - sum(parts)
    plain_out = row.output_tokens - row.reasoning_tokens - row.output_audio_tokens
    dear_in = 500 * parts[0] + 3000 * parts[1] + 100_000 * parts[2]
    dear_out = 20_000 * row.reasoning_tokens + 200_000 * row.output_audio_tokens
    return 1000 * plain_in + 10_000 * plain_out + dear_in + dear_out


def test_a_tier_is_reserved_for_at_its_price(tmp_path: Path) -> None:
    price = {"input": 0, "output": 1_000_000, "tiers": {"priority": 2}}
    route = {"targets": [{"upstream": "up", "model": "m", "price": price}]}
    with gateway(tmp_path, telling_all(), route=route) as (served, _):
        admin_client(served).admin.organization.spend_limit.update(
            threshold_amount=15_000, currency="USD", interval="month"
        )
        for tier in ("priority", "fast"):
            with pytest.raises(openai.RateLimitError) as refused:
                chat(served, max_completion_tokens=100, service_tier=tier)
            assert refused.value.code == "organization_spend_limit_exceeded"
        assert chat(served, max_completion_tokens=100).headers["x-antiphon-cost"] == "100"


def test_a_fallback_to_another_route_has_that_routes_price(tmp_path: Path) -> None:
    dear = {"targets": [{"upstream": "up", "model": "m", "price": {"input": 0, "output": 10_000}}]}
    dead = {"targets": [{"upstream": "gone", "model": "m", "price": PRICE}], "fallbacks": [{"route": "dear"}]}
    with chat_upstream(telling_all()) as upstream:
        upstreams = {
            "up": {"kind": "chat", "url": upstream.url},
            "gone": {"kind": "chat", "url": "http://127.0.0.1:9/v1"},
        }
        with serving(None, tmp_path, **tables(upstreams, {"r": {**dead, "retries": 0}, "dear": dear})) as served:
            limits = admin_client(served).admin.organization.spend_limit
            limits.update(threshold_amount=50, currency="USD", interval="month")
            with pytest.raises(openai.RateLimitError):
                chat(served, max_completion_tokens=100)  # the fallback may cost a whole dollar
            limits.update(threshold_amount=200, currency="USD", interval="month")
            answer = chat(served, max_completion_tokens=100)
            assert answer.headers["x-antiphon-target"] == "up/m"
            assert answer.headers["x-antiphon-cost"] == "1"


def test_a_name_under_a_star_has_the_listed_price_of_its_model(tmp_path: Path) -> None:
    routes = {"o/*": {"targets": [{"upstream": "up"}]}}
    with gateway(tmp_path, telling_all(), routes=routes) as (served, upstream):
        admin_client(served).admin.organization.spend_limit.update(
            threshold_amount=500, currency="USD", interval="month"
        )
        assert float(chat(served, model="o/gpt-5-mini").headers["x-antiphon-cost"]) > 0
        assert upstream.last["model"] == "gpt-5-mini"
        with pytest.raises(openai.PermissionDeniedError) as refused:
            chat(served, model="o/nobody-knows-this")
        assert refused.value.code == "price_unknown"


# --- the cache --------------------------------------------------------------------------------------------------------
def test_a_kept_answer_costs_nothing_and_takes_no_tokens(tmp_path: Path) -> None:
    with gateway(tmp_path, telling_all(), route={"cache": {"ttl": 60}}) as (served, upstream):
        secret, key = another_key(served)
        limited(served, key, tpm=10_000)
        client = openai.OpenAI(base_url=served.base_url, api_key=secret, max_retries=0)
        ask: Any = client.chat.completions.with_raw_response.create
        first, again = (ask(model="r", messages=ASKED, max_completion_tokens=100) for _ in range(2))
        assert (first.headers["x-antiphon-cache"], again.headers["x-antiphon-cache"]) == ("miss", "hit")
        assert (first.headers["x-antiphon-cost"], again.headers["x-antiphon-cost"]) == (COST, "0")
        assert "x-antiphon-target" not in again.headers
        assert len(upstream.asked) == 1
        made, kept = entries(served, 2)
        assert (made.cost, made.saved, made.kept) == (9_150_000, 0, 0)
        assert (kept.cost, kept.saved, kept.kept, kept.output_tokens) == (0, 9_150_000, 1, 0)
        later = ask(model="r", messages=ASKED, max_completion_tokens=100)
        # 1,100 tokens were used, once; what is held for this one is not more than it may use.
        assert int(later.headers["x-ratelimit-remaining-tokens"]) > 10_000 - 1_100 - 200


# --- failures before the first token ----------------------------------------------------------------------------------
def test_a_response_that_fails_before_it_says_anything_is_asked_for_again(tmp_path: Path) -> None:
    failed = response(id="resp_up", status="failed", error={"code": "server_error", "message": "broken"}, output=[])
    begun = response(id="resp_up", status="in_progress", output=[], usage=None, completed_at=None)
    failing = [
        {"type": "response.created", "response": begun, "sequence_number": 0},
        {"type": "response.failed", "response": failed, "sequence_number": 1},
    ]
    asked = 0

    def behave(body: dict[str, Any]) -> Says:
        nonlocal asked
        asked += 1
        if asked > 1:
            return playing(searching())(body)
        return telling(failing) if body.get("stream") else Says([json.dumps(failed).encode()])

    for stream in (True, False):
        asked = 0
        with gateway(tmp_path / str(stream), behave, "responses", route={"retries": 1}) as (served, _):
            body = {"model": "r", "input": "hi", "stream": stream}
            answer = httpx2.post(f"{served.base_url}/responses", headers=served.headers, json=body)
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-antiphon-attempts"] == "2"
            assert answer.text.count('"response.failed"') == 0
            row = only(served)
            assert (row.attempts, row.error) == (2, None)
            assert row.cost


# --- names ------------------------------------------------------------------------------------------------------------
def test_what_a_key_may_ask_for_holds_for_every_kind_of_name(tmp_path: Path) -> None:
    routes = {
        "secret": {"targets": [{"upstream": "up", "model": "m"}], "tags": ["best"]},
        "o/*": {"targets": [{"upstream": "up"}]},
    }
    with gateway(
        tmp_path, telling_all(), routes=routes, route={"tags": ["fast"]}, aliases={"x": "r", "y": "secret"}
    ) as (
        served,
        _,
    ):
        allowed = {
            "r": {"r", "fast"},
            "fast": {"fast"},
            "x": {"x"},
            "o/*": {"o/a", "o/b"},
            "o/a": {"o/a"},
        }
        names = ("r", "fast", "x", "y", "secret", "best", "o/a", "o/b")
        for model, may in allowed.items():
            secret, _ = another_key(served, models=(model,))
            client = openai.OpenAI(base_url=served.base_url, api_key=secret, max_retries=0)
            for name in names:
                if name in may:
                    client.chat.completions.create(model=name, messages=ASKED)
                    client.responses.input_tokens.count(model=name, input="hi")
                    continue
                for ask in (
                    lambda name=name, client=client: client.chat.completions.create(model=name, messages=ASKED),
                    lambda name=name, client=client: client.responses.create(model=name, input="hi"),
                    lambda name=name, client=client: client.responses.create(model=name, input="hi", background=True),
                    lambda name=name, client=client: client.responses.input_tokens.count(model=name, input="hi"),
                    lambda name=name, client=client: client.responses.compact(model=name, input="hi"),
                ):
                    with pytest.raises(openai.NotFoundError) as refused:
                        ask()
                    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("asked", ["r", "fast", "x"])
def test_a_limit_for_a_route_holds_under_all_its_names(tmp_path: Path, asked: str) -> None:
    more = {"route": {"tags": ["fast"]}, "aliases": {"x": "r"}, "routes": {"s": {"targets": [{"upstream": "up"}]}}}
    with gateway(tmp_path, telling_all(), **more) as (served, _):
        secret, key = another_key(served)
        limited(served, key, model="r", rpm=1)
        ask = openai.OpenAI(base_url=served.base_url, api_key=secret, max_retries=0).chat.completions.create
        ask(model="r", messages=ASKED)
        with pytest.raises(openai.RateLimitError):
            ask(model=asked, messages=ASKED)
        ask(model="s", messages=ASKED)


# --- the built-in model -----------------------------------------------------------------------------------------------
def test_the_built_in_model_under_a_route_is_free(tmp_path: Path) -> None:
    routes = {"home": {"targets": [{"upstream": "local"}]}}
    with serving(ScriptedEngine(saying("yes")), tmp_path, **tables({}, routes, model="default")) as served:
        admin_client(served).admin.organization.spend_limit.update(threshold_amount=1, currency="USD", interval="month")
        assert chat(served, model="home", service_tier="flex").headers["x-antiphon-cost"] == "0"
        assert only(served).cost == 0
