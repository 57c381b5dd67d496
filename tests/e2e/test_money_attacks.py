"""Attacks on a budget: whatever a request holds, no more is spent than it leaves, and one reservation."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.paying import TOKEN, allow, shop, spent
from support.serving import Serving

ASKED = [{"role": "user", "content": "hi"}]
#: Five answers of a thousand tokens: five cents.
BUDGET = 5_000 * TOKEN
#: Each asks for four thousand tokens, or thousands of answers, behind a limit of one.
ATTACKS: dict[str, dict[str, Any]] = {
    "max_tokens": {"max_completion_tokens": 1, "max_tokens": 4_000},
    "num_predict": {"max_tokens": 1, "num_predict": 4_000},
    "options.num_predict": {"max_tokens": 1, "options": {"num_predict": 4_000}},
    "as a text": {"max_tokens": 1, "max_new_tokens": "4000"},
    "max_length": {"max_completion_tokens": 1, "max_length": 4_000},
    "min_tokens": {"max_completion_tokens": 1, "min_tokens": 4_000},
    "best_of": {"max_completion_tokens": 100, "best_of": 40},
    "num_return_sequences": {"max_completion_tokens": 100, "num_return_sequences": 40},
    "n": {"max_completion_tokens": 100, "n": 8},
    "endless": {"max_tokens": 1, "num_predict": -1},
    "no limit": {},
    "plain": {"max_completion_tokens": 1_000},
}
#: The most that one call of these has reserved.
ONE = 4_096 * TOKEN


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'antiphon.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def at_once(served: Serving, bodies: list[dict[str, Any]], path: str = "/chat/completions") -> list[httpx2.Response]:
    async def all_of_them() -> list[httpx2.Response]:
        limits = httpx2.Limits(max_connections=len(bodies))
        async with httpx2.AsyncClient(headers=served.headers, limits=limits, timeout=60) as client:
            return await asyncio.gather(
                *(client.post(f"{served.base_url}{path}", json={"model": "r", **body}) for body in bodies)
            )

    return asyncio.run(all_of_them())


def settled(served: Serving) -> int:
    """What is spent, once nothing is reserved any more."""
    deadline = time.monotonic() + 10
    while spent(served)[1]:
        assert time.monotonic() < deadline, spent(served)
        time.sleep(0.02)
    return spent(served)[0]


@pytest.mark.parametrize("attack", ATTACKS)
def test_100_at_once_spend_no_more_than_the_budget_and_one_reservation(
    tmp_path: Path, database: str, attack: str
) -> None:
    with shop(tmp_path, database=database) as (served, _, till):
        allow(served, BUDGET)
        answers = at_once(served, [{"messages": ASKED, **ATTACKS[attack]}] * 100)
        assert {answer.status_code for answer in answers} <= {200, 400, 429}
        assert till.sold * TOKEN <= BUDGET + ONE
        # A choice that was cancelled because another was refused may have been made: it counts as if it was.
        assert till.sold * TOKEN <= settled(served) <= (BUDGET + ONE if attack == "n" else till.sold * TOKEN)
        if attack in {"plain", "no limit"}:
            assert till.sold * TOKEN >= BUDGET - ONE, "what fits is served"


def test_one_output_limit_goes_to_the_model(tmp_path: Path) -> None:
    with shop(tmp_path) as (served, upstream, _):
        allow(served, 3 * BUDGET)
        [refused] = at_once(served, [{"messages": ASKED, "max_tokens": 9, "max_completion_tokens": 8}])
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "max_tokens")
        for body, sent in (
            ({}, 4_096),
            ({"max_tokens": 7}, 7),
            ({"max_completion_tokens": 7}, 7),
            ({"max_tokens": 7, "max_completion_tokens": 7}, 7),
        ):
            at_once(served, [{"messages": ASKED, **body}])
            assert upstream.last["max_tokens"] == sent
            assert "max_completion_tokens" not in upstream.last
        at_once(served, [{"input": "hi"}], "/responses")
        assert upstream.last["max_tokens"] == 4_096


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"options": {"num_predict": -1}}, "options.num_predict"),
        ({"best_of": 0}, "best_of"),
        ({"max_new_tokens": 10**12}, "max_new_tokens"),
        ({"models": ["dearer"]}, "models"),
    ],
)
def test_what_cannot_be_counted_is_refused_where_money_is_limited_and_only_there(
    tmp_path: Path, extra: dict[str, Any], param: str
) -> None:
    body = {"messages": ASKED, "max_tokens": 1, **extra}
    with shop(tmp_path) as (served, _, _):
        assert at_once(served, [body])[0].status_code == 200
        allow(served, BUDGET)
        [refused] = at_once(served, [body])
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("path", ["/chat/completions", "/responses"])
@pytest.mark.parametrize("most", [10**15, 10**30, 1e300], ids=str)
def test_no_number_is_too_large_to_be_refused(tmp_path: Path, path: str, most: float) -> None:
    name, asked = ("max_tokens", {"messages": ASKED}) if "chat" in path else ("max_output_tokens", {"input": "hi"})
    with shop(tmp_path) as (served, _, till):
        allow(served, BUDGET)
        answers = at_once(served, [{**asked, name: most}, {**asked, name: most, "stream": True}], path)
        assert [answer.status_code for answer in answers] == [429, 429]
        assert till.sold == 0
        assert settled(served) == 0


#: 40,000 characters that a model reads, in every place that there is for them.
LONG = "word " * 8_000
PLACES: dict[str, dict[str, Any]] = {
    "content": {"messages": [{"role": "user", "content": LONG}]},
    "name": {"messages": [{"role": "user", "content": "x", "name": LONG}]},
    "a tool": {"tools": [{"type": "function", "function": {"name": "f", "description": LONG}}]},
    "a tool's schema": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"title": LONG}}}]},
    "the answer's schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"title": LONG}}}
    },
    "a prediction": {"prediction": {"type": "content", "content": LONG}},
    "an unknown field": {"knowledge": LONG},
    "emoji": {"messages": [{"role": "user", "content": "\N{GRINNING FACE}" * 10_000}]},
}


@pytest.mark.parametrize("profile", ["generic", "openai"])
def test_the_same_text_reserves_the_same_wherever_it_stands(tmp_path: Path, profile: str) -> None:
    price = {"input": "10", "output": "0"}
    with shop(tmp_path, price=price, profile=profile) as (served, upstream, _):
        # 8,000 tokens do not fit; what is a thousandth of that would.
        allow(served, 7_000 * TOKEN)
        for place, body in PLACES.items():
            [answer] = at_once(served, [{"messages": ASKED, "max_tokens": 1, **body}])
            assert answer.status_code == 429, (place, answer.text)
        assert upstream.asked == []
        assert at_once(served, [{"messages": ASKED, "max_tokens": 1}])[0].status_code == 200
