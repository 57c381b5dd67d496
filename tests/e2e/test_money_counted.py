"""What an upstream was paid for is counted, however its answer ended; and one bad text or number harms only itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from antiphon.domain import limits
from antiphon.domain.ledger import Entry
from support.access import another_key
from support.money import admin_client, entries
from support.paying import TOKEN, allow, shop, spent
from support.serving import Serving
from support.upstreams import Says, Stall, completed, usage_chunk

ASKED: Any = [{"role": "user", "content": "hi"}]
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def post(served: Serving, *, timeout: float = 30.0, **body: Any) -> httpx2.Response:
    asked = {"model": "r", "messages": ASKED, "max_tokens": 50, **body}
    return httpx2.post(f"{served.base_url}/chat/completions", headers=served.headers, json=asked, timeout=timeout)


def only(served: Serving) -> Entry:
    [entry] = entries(served, 1)
    return entry


def settled(served: Serving) -> int:
    deadline = time.monotonic() + 10
    while spent(served)[1] or not spent(served)[0]:
        assert time.monotonic() < deadline, spent(served)
        time.sleep(0.02)
    return spent(served)[0]


def test_answers_that_were_asked_for_again_are_all_counted(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    schema["additionalProperties"] = False  # type: ignore[assignment]
    strict = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}
    with shop(tmp_path) as (served, upstream, _):
        allow(served, 10**9)
        upstream.behave = lambda _: completed({"content": "no json"}, usage=USAGE)
        answer = post(served, response_format=strict)
        asked = len(upstream.asked)
        row = only(served)
        assert asked >= 2, answer.text
        assert (row.input_tokens, row.output_tokens) == (7 * asked, 5 * asked)
        assert settled(served) == row.cost == 5 * asked * TOKEN


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_who_hangs_up_before_anything_has_come_is_counted(tmp_path: Path, *, stream: bool) -> None:
    """A whole answer as long as it might have become: nobody can say how far it was."""
    with shop(tmp_path) as (served, upstream, _):
        allow(served, 10**9)
        upstream.behave = lambda _: Says([Stall()], kind="text/event-stream" if stream else "application/json")
        with pytest.raises(httpx2.TimeoutException):
            post(served, timeout=0.5, stream=stream)
        row = only(served)
        assert (row.output_tokens, row.estimated) == (0 if stream else 50, 1)
        assert row.input_tokens > 0
        assert row.cost == row.output_tokens * TOKEN
        if row.cost:
            assert settled(served) == row.cost


def test_choices_beside_one_that_is_refused_are_counted(tmp_path: Path) -> None:
    with shop(tmp_path) as (served, upstream, _):
        allow(served, 10**9)

        def behave(_: dict[str, Any]) -> Says:
            if len(upstream.asked) == 8:
                return Says([0.3, b'{"error": {"message": "no", "type": "invalid_request_error"}}'], status=400)
            return completed({"content": "yes"}, usage=USAGE)

        upstream.behave = behave
        assert post(served, n=8).status_code == 400
        row = only(served)
        assert (row.input_tokens, row.output_tokens, row.estimated) == (49, 35, 0)
        assert settled(served) == row.cost == 35 * TOKEN


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_choices_are_begun_at_once(tmp_path: Path, *, stream: bool) -> None:
    with shop(tmp_path) as (served, upstream, _):

        def pieces() -> Iterator[bytes | float]:
            # Nothing is said before all are asked for: one after the other would wait for ever.
            while len(upstream.asked) < 8:
                yield 0.01
            yield from _answer(stream=stream)

        def behave(_: dict[str, Any]) -> Says:
            return Says(Lazily(pieces), kind="text/event-stream" if stream else "application/json")  # type: ignore[arg-type]

        upstream.behave = behave
        answer = post(served, n=8, stream=stream)
        assert answer.status_code == 200
        assert answer.text.count("yes") == 8


class Lazily:
    """Pieces that are thought of one by one."""

    def __init__(self, pieces: Callable[[], Iterator[bytes | float]]) -> None:
        self._pieces = pieces

    def __getitem__(self, _: int) -> float:
        return 0.0

    def __iter__(self) -> Iterator[bytes | float]:
        return self._pieces()


def _answer(*, stream: bool) -> list[bytes]:
    if not stream:
        return list(completed({"content": "yes"}, usage=USAGE).pieces)  # type: ignore[arg-type]
    choice = {"index": 0, "delta": {"content": "yes"}, "finish_reason": None}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    events = [json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [each]}) for each in (choice, end)]
    return [f"data: {event}\n\n".encode() for event in (*events, usage_chunk(USAGE).decode(), "[DONE]")]


# --- bad texts and numbers --------------------------------------------------------------------------------------------
@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'antiphon.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def test_the_ledger_goes_on_after_texts_and_numbers_that_no_database_holds(tmp_path: Path, database: str) -> None:
    with shop(tmp_path, database=database) as (served, upstream, _):
        huge = {"prompt_tokens": 2**62, "completion_tokens": 2**70, "total_tokens": 2**70}
        for model in ("a\0b", "\N{GRINNING FACE}\u2028", "x" * 1_000_000):
            assert post(served, model=model).status_code == 404
        [whole] = completed({"content": "yes"}, usage=huge).pieces
        spoilt = json.loads(whole) | {"id": "c\0d", "service_tier": "\0"}  # type: ignore[arg-type]
        upstream.behave = lambda _: Says([json.dumps(spoilt).encode()])
        for _ in range(4):
            assert post(served).status_code == 200
        upstream.behave = lambda _: completed({"content": "yes"}, usage=USAGE)
        assert post(served).status_code == 200
        rows = entries(served, 5)
        assert all(len(row.model or "") <= limits.MAX_ROUTE_NAME for row in rows)
        assert all(row.output_tokens <= limits.MAX_TOKENS for row in rows)
        assert (rows[-1].output_tokens, rows[-1].cost) == (5, 5 * TOKEN)
        usage = admin_client(served).admin.organization.usage
        start = int(time.time()) - 60
        assert usage.completions(start_time=start).data
        assert usage.costs(start_time=start).data
        allow(served, 10**9)
        assert spent(served)[0] == sum(row.cost or 0 for row in rows), "what was spent before a budget counts"


def test_a_kept_answer_is_given_to_keys_that_may_ask_for_its_model(tmp_path: Path) -> None:
    with shop(tmp_path) as (served, upstream, _):
        secret, _ = another_key(served, models=("other",))
        mine = {"Idempotency-Key": "one"}
        asked = {"model": "r", "messages": ASKED, "max_tokens": 5}
        first = served.client().chat.completions.create(**asked, extra_headers=mine)
        limited = openai.OpenAI(base_url=served.base_url, api_key=secret, max_retries=0)
        with pytest.raises(openai.NotFoundError) as refused:
            limited.chat.completions.create(**asked, extra_headers=mine)
        assert refused.value.code == "model_not_found"
        assert served.client().chat.completions.create(**asked, extra_headers=mine).id == first.id
        # Nor is a refusal kept that was one key's only.
        with pytest.raises(openai.NotFoundError):
            limited.chat.completions.create(**asked, extra_headers={"Idempotency-Key": "two"})
        assert served.client().chat.completions.create(**asked, extra_headers={"Idempotency-Key": "two"}).id
        assert len(upstream.asked) == 2
