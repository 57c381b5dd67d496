"""Hostile bodies where the database is PostgreSQL, which refuses text that SQLite takes, and behind it are upstreams.

What is stored of a request, and what goes on to an upstream, is the same as elsewhere in this suite; only those bodies
are sent again that come as far as that.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from support.rawhttp import Wire

from . import mutations, test_malformed, test_targets, valid
from .attacked import CHAT, LOCAL, RESPONSES
from .judge import judge, judge_refusal
from .test_mutations import check_all, mangled

#: What is stored, with every text in it that a client can choose.
STORED = {
    "response": (valid.RESPONSES_PATH, {**valid.RESPONSE, "store": True}),
    "chat": (valid.CHAT_PATH, {**valid.CHAT, "store": True}),
}
#: What either API has: a completion with these members can be asked of a server that speaks Responses only.
_BOTH = ("model", "messages", "tools", "parallel_tool_calls", "temperature", "metadata", "user")
_DISREGARDED = ("text", "response_format", "tool_choice", "function_call")
MODELS = [LOCAL, CHAT, RESPONSES]


def of_model(body: Any, model: str) -> Any:
    """The same request of another model, if it names one that is there.

    Without what an upstream may disregard, such as a format: if its answer is not as it should be, that is no fault of
    the request, and has a status of 500.
    """
    if model == LOCAL or not isinstance(body, dict) or body.get("model") != LOCAL:
        return body
    return {**{name: value for name, value in body.items() if name not in _DISREGARDED}, "model": model}


@pytest.mark.parametrize("name", STORED)
def test_each_member_of_what_is_stored(postgres_wire: Wire, name: str) -> None:
    path, body = STORED[name]
    statuses = check_all(postgres_wire, path, mutations.all_of(body, every=3))
    assert {200, 400} <= set(statuses)


@pytest.mark.parametrize("model", [CHAT, RESPONSES])
@pytest.mark.parametrize("name", STORED)
def test_each_member_of_what_goes_to_an_upstream(postgres_wire: Wire, name: str, model: str) -> None:
    path, body = STORED[name]
    if (name, model) == ("chat", RESPONSES):
        body = {member: body[member] for member in _BOTH}
    changed = mutations.all_of({**of_model(body, model), "store": False}, every=3)
    statuses = check_all(postgres_wire, path, itertools.islice(changed, 0, None, 5))
    assert {200, 400} <= set(statuses)


@pytest.mark.parametrize("model", MODELS)
def test_many_members_changed_at_once(postgres_wire: Wire, model: str) -> None:
    @settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(mangled())
    def ask(case: tuple[str, bytes]) -> None:
        path, body = case
        judge(postgres_wire.ask("POST", path, json.dumps(of_model(json.loads(body), model)).encode()))

    ask()


@pytest.mark.parametrize("text", test_malformed.STRANGE_TEXTS, ids=range(len(test_malformed.STRANGE_TEXTS)))
def test_strange_text_comes_back_unchanged(postgres_wire: Wire, text: str) -> None:
    test_malformed.test_strange_text_comes_back_unchanged(postgres_wire, text)


def texts() -> Iterator[str]:
    """Text that PostgreSQL, its driver or its protocol might take for something else."""
    yield from (value for value in mutations.RARE if isinstance(value, str))
    yield from ("\x00", "a\x00b", "\ud800", "\\x00", "\\", "'", '"', "$1", "%s", "%(a)s", ":a", "{}", "NULL", "\x7f")
    yield from ("٣", "\u202e", "\ufeff", "\U0010ffff", "é" * 600, "a" * 65, "-- ", "/*", ";", "\r\n", " ", "")


@pytest.mark.parametrize("text", [*dict.fromkeys(texts())], ids=lambda text: ascii(text)[:30])
def test_a_text_in_every_place_where_one_is_stored(postgres_wire: Wire, text: str) -> None:
    def post(path: str, body: Any) -> Any:
        answer = postgres_wire.ask("POST", path, json.dumps(body).encode())
        judge(answer)
        return answer.json() if answer.status == 200 else {}

    item = {"role": "user", "content": text}
    metadata = {"metadata": {text: text}}
    small = {"model": LOCAL, "input": "hi", "store": True}
    talk = post("/v1/conversations", {"items": [item], **metadata})
    for body in (
        {**small, **metadata},
        {**small, "user": text, "safety_identifier": text, "prompt_cache_key": text, "instructions": text},
        {**small, "input": [{"type": "message", "id": text, **item}]},
        {**small, "previous_response_id": text},
        {**small, "conversation": text},
        {**small, "prompt": {"id": text, "variables": {text: text}}},
        {**small, "conversation": talk.get("id", "conv_1"), "input": text},
        {**small, "background": True, "input": text},
    ):
        post(valid.RESPONSES_PATH, body)
    if talk:
        post(f"/v1/conversations/{talk['id']}", metadata)
        post(f"/v1/conversations/{talk['id']}/items", {"items": [{"type": "message", "id": text, **item}]})
    post("/v1/conversations/" + "conv_1", {"metadata": {"a": text}})
    chat = {"model": LOCAL, "messages": [item], "store": True}
    for body in ({**chat, **metadata}, {**chat, "user": text}, {**chat, "messages": [{**item, "name": text}]}):
        post(valid.CHAT_PATH, body)


@pytest.mark.parametrize("value", [value for value in mutations.RARE if isinstance(value, int | float)], ids=str)
def test_a_number_in_every_place_where_one_is_kept(postgres_wire: Wire, value: float) -> None:
    """Counts and lengths end up in columns of 64 bits, in the ledger and in what is reserved."""
    for model in MODELS:
        for path, body in STORED.values():
            for name in ("max_output_tokens", "max_tokens", "max_completion_tokens", "n", "seed", "top_logprobs"):
                small = {key: body[key] for key in ("input", "messages") if key in body}
                judge(postgres_wire.ask("POST", path, {**small, "model": model, name: value}))


@pytest.mark.parametrize("given_id", test_targets.IDS, ids=range(len(test_targets.IDS)))
def test_ids(postgres_wire: Wire, given_id: str) -> None:
    test_targets.test_ids(postgres_wire, given_id)


@pytest.mark.parametrize("query", test_targets.EMPTY, ids=range(len(test_targets.EMPTY)))
def test_filters_that_match_nothing(postgres_wire: Wire, query: str) -> None:
    test_targets.test_filters_that_match_nothing(postgres_wire, query)


def test_the_same_request_twice_under_strange_keys(postgres_wire: Wire) -> None:
    for key in ("'", "\\x00", "%s", "$1", "\xff", "a" * 255, "{}", " a", '"'):
        body = json.dumps({"model": LOCAL, "input": "hi", "store": False}).encode()
        answers = [postgres_wire.ask("POST", valid.RESPONSES_PATH, body, idempotency_key=key) for _ in range(2)]
        for answer in answers:
            judge(answer)
        assert answers[0].body == answers[1].body


def test_bodies_that_are_no_object(postgres_wire: Wire) -> None:
    for value in copy.deepcopy([*mutations.COMMON, *mutations.RARE]):
        assert judge_refusal(postgres_wire.ask("POST", valid.RESPONSES_PATH, mutations.text(value)))
