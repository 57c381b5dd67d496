"""An upstream that lies, about what it used, its end, and all else: clients and the ledger are told the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI, OpenAIError

from antiphon.domain import limits
from antiphon.domain.ledger import Entry
from antiphon.settings import gateway
from conformance.samples import message, response
from conformance.sequence import check_sequence
from support.inside import in_store
from support.serving import Serving, serving
from support.spoilt import SURFACES, events_of
from support.upstreams import (
    ENVELOPE,
    USAGE,
    ChatUpstream,
    Json,
    Says,
    chat_upstream,
    chunk,
    completed,
    sse,
    usage_chunk,
)

TEXT = "Hello, world!"
#: US dollars for a million tokens of output.
PRICE = 10
FIRST, SAID, END = chunk({"role": "assistant", "content": ""}), chunk({"content": TEXT}), chunk(finish="stop")
ADDED = {"type": "response.output_item.added", "output_index": 0, "item": message(content=[], status="in_progress")}
DELTA = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "msg_1", "delta": TEXT}
ITEM = message(content=[{"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}])


@dataclass
class Lie:
    """How a server answers: as a chat stream, as a whole completion, as events of a response, as a whole response.

    `fails`: no client may take it for an answer.
    """

    chunks: Sequence[bytes]
    whole: Says
    events: Sequence[Json | bytes]
    response: Json
    done: bool = True
    fails: bool = False


def _lie(
    *,
    usage: Any = USAGE,
    chunks: Sequence[bytes] | None = None,
    events: Sequence[Json | bytes] | None = None,
    whole: Json | None = None,
    **more: Any,
) -> Lie:
    """Honest, but for what is given."""
    ended = {"type": "response.completed", "response": response(output=[ITEM], usage=_in_their_words(usage))}
    completion = json.loads(completed({"content": TEXT}).pieces[0])  # type: ignore[arg-type]
    return Lie(
        [FIRST, SAID, END, usage_chunk(usage)] if chunks is None else chunks,
        Says([json.dumps(whole or {**completion, "usage": usage}).encode()]),
        [ADDED, DELTA, ended] if events is None else events,
        whole or ended["response"],
        **more,
    )


def _in_their_words(usage: Any) -> Any:
    if not isinstance(usage, dict):
        return usage
    names = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
    return {names.get(name, name): count for name, count in usage.items()}


def _choice(data: bytes) -> Json:
    choice: Json = json.loads(data)["choices"][0]
    return choice


def _used(given: Any, made: Any, total: Any) -> Json:
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": total}


_DEEP = json.loads("[" * 60 + "]" * 60)
_DETAIL = {"detail": "the worker died"}
_ENDED = {"type": "response.completed", "response": response(output=[ITEM])}
LIES: dict[str, Lie] = {
    "honest": _lie(),
    "beyond_64_bits": _lie(usage=_used(2**70, 2**70, 2**71)),
    "just_within_64_bits": _lie(usage=_used(2**62, 2**62, 2**63 - 1)),
    "negative": _lie(usage=_used(-5, -3, -8)),
    "nothing_used": _lie(usage=_used(0, 0, 0)),
    "nothing_made": _lie(usage=_used(5, 0, 5)),
    "fractions": _lie(usage=_used(5.0, 3.0, 8.0)),
    "texts": _lie(usage=_used("5", "3", "8")),
    "total_only": _lie(usage={"total_tokens": 8}),
    "no_sum": _lie(usage=_used(5, 3, 999)),
    "no_usage": _lie(usage=None),
    "usage_is_a_list": _lie(usage=[5, 3]),
    "parts_beyond_the_whole": _lie(usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 2**65}}),
    "two_ends": _lie(chunks=[FIRST, SAID, END, END, usage_chunk()], events=[ADDED, DELTA, _ENDED, _ENDED]),
    "more_after_the_mark": _lie(chunks=[FIRST, SAID, END, b"[DONE]", SAID, END], events=[ADDED, DELTA, _ENDED, DELTA]),
    "no_mark": _lie(done=False),
    "mark_without_an_end": _lie(chunks=[FIRST, SAID], events=[ADDED, DELTA], whole=_DETAIL, fails=True),
    "an_error_that_is_none_of_ours": _lie(
        chunks=[FIRST, SAID, json.dumps(_DETAIL).encode()],
        events=[ADDED, DELTA, json.dumps(_DETAIL).encode()],
        whole=_DETAIL,
        fails=True,
    ),
    "a_thousand_choices": _lie(
        chunks=[
            json.dumps(
                {**ENVELOPE, "choices": [json.loads(each)["choices"][0] | {"index": n} for n in range(1_000)]}
            ).encode()
            for each in (FIRST, SAID, END)
        ]
    ),
    "deep_and_large": _lie(
        chunks=[FIRST, chunk({"content": TEXT}, x=_DEEP, y="x" * 2_000_000), END],
        events=[{**ADDED, "x": _DEEP}, {**DELTA, "y": "x" * 2_000_000}, _ENDED],
    ),
    "more_items_than_there_were": _lie(
        events=[ADDED, DELTA, {"type": "response.completed", "response": response(output=[ITEM] * 3)}]
    ),
    "a_thousand_calls": _lie(
        chunks=[
            FIRST,
            *(
                chunk({"tool_calls": [{"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}}]})
                for n in range(1_000)
            ),
            chunk(finish="tool_calls"),
        ],
    ),
}


def _says(body: Json) -> Says:
    lie = LIES[body["model"].partition(".")[0]]
    if "messages" in body:
        if not body.get("stream"):
            return lie.whole
        return Says(sse(*lie.chunks, done=lie.done), kind="text/event-stream")
    if not body.get("stream"):
        return Says([json.dumps(lie.response).encode()])
    events = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in lie.events]
    return Says(sse(*events, done=lie.done), kind="text/event-stream")


@dataclass
class Wired:
    """The server under test, and the liar behind it."""

    front: Serving
    upstream: ChatUpstream

    def row(self, answer: httpx2.Response) -> Entry:
        """The one row of a call."""
        name = answer.headers["x-request-id"]
        deadline = time.monotonic() + 10
        while not (rows := in_store(self.front, lambda store: store.find_entries(name))):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        [row] = rows
        return row


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    path = tmp_path_factory.mktemp("lies")
    with chat_upstream(_says) as upstream:
        kinds = {"o": ("chat", "openai"), "g": ("chat", "generic"), "r": ("responses", "openai")}
        upstreams = {
            name: {"kind": kind, "url": upstream.url, "profile": profile} for name, (kind, profile) in kinds.items()
        }
        price = {"input": 1, "output": PRICE}
        routes = {f"{name}/*": {"targets": [{"upstream": name, "price": price}], "retries": 0} for name in kinds}
        tables = {"upstreams": gateway.upstreams(upstreams), "routes": gateway.routes(routes)}
        with serving(None, path, model="none", **tables) as front:
            yield Wired(front, upstream)


def told(answer: httpx2.Response) -> tuple[str, Json | None, bool]:
    """The text that a client was given, the usage it was told, and whether it was told of an error."""
    if answer.status_code != 200:
        assert answer.json()["error"]["message"]
        return "", None, True
    if "event-stream" not in answer.headers["content-type"]:
        body = answer.json()
        text = (
            body["choices"][0]["message"]["content"] or ""
            if "choices" in body
            else body["output"][0]["content"][0]["text"]
        )
        return text, body["usage"], False
    events = [event for event in events_of(answer) if event != "[DONE]"]
    if "type" in events[0]:
        check_sequence(events)
        last = events[-1]["response"]
        text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        return text, last["usage"], last["error"] is not None
    failed = [event for event in events if "error" in event]
    said = [choice["delta"].get("content") or "" for event in events for choice in event.get("choices", ())]
    usages = [event["usage"] for event in events if event.get("usage")]
    assert len(usages) == (0 if failed else 1)
    return "".join(said), (usages or [None])[0], bool(failed)


def _counts(usage: Json) -> tuple[int, int]:
    given, made = (usage.get(f"{one}_tokens", usage.get(f"{other}_tokens")) for one, other in (
        ("prompt", "input"), ("completion", "output")))  # fmt: skip
    assert type(given) is int
    assert type(made) is int
    assert usage["total_tokens"] == given + made
    return given, made


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("route", "ogr")
@pytest.mark.parametrize("name", LIES)
def test_clients_and_the_ledger_are_told_the_same(
    wired: Wired, name: str, route: str, surface: str, streamed: bool
) -> None:
    path, body = SURFACES[surface]
    body = {**body, "model": f"{route}/{name}.{surface}{streamed}", "stream": streamed}
    if surface == "chat" and streamed:
        body["stream_options"] = {"include_usage": True}
    answer = httpx2.post(f"{wired.front.base_url}{path}", headers=wired.front.headers, json=body, timeout=20)
    text, usage, failed = told(answer)
    row = wired.row(answer)
    assert (row.error is not None) == failed
    assert failed or not LIES[name].fails
    assert 0 <= row.input_tokens <= limits.MAX_TOKENS_TOLD
    assert 0 <= row.output_tokens <= limits.MAX_TOKENS_TOLD
    if text:
        assert row.output_tokens > 0
        assert row.cost > 0
    if not failed:
        assert text in {TEXT, 3 * TEXT} or name == "a_thousand_calls"
        assert usage is not None
        assert _counts(usage) == (row.input_tokens, row.output_tokens)
    if name in {"beyond_64_bits", "negative", "nothing_used", "nothing_made", "no_usage"} and not failed:
        assert row.estimated == 1
        assert 0 < row.output_tokens <= len(TEXT)


@pytest.mark.parametrize("route", "og")
@pytest.mark.parametrize("name", [name for name, lie in LIES.items() if name != "a_thousand_calls"])
def test_the_official_sdks_stream_helper_takes_every_stream(wired: Wired, name: str, route: str) -> None:
    client: OpenAI = wired.front.client()
    messages: Any = [{"role": "user", "content": "hello"}]
    with client.chat.completions.stream(model=f"{route}/{name}.sdk", messages=messages) as stream:
        if LIES[name].fails:
            with pytest.raises(OpenAIError):
                stream.until_done()
            return
        stream.until_done()
        completion = stream.get_final_completion()
    assert completion.choices[0].message.content == TEXT
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("name", [name for name, lie in LIES.items() if lie.fails])
@pytest.mark.parametrize("route", "ogr")
@pytest.mark.parametrize("surface", SURFACES)
def test_what_failed_is_not_cached(wired: Wired, name: str, route: str, surface: str) -> None:
    path, body = SURFACES[surface]
    body = {**body, "model": f"{route}/{name}.cached", "stream": True}
    headers = {**wired.front.headers, "Cache-Control": "max-age=60"}
    before = len(wired.upstream.asked)
    for _ in range(2):
        httpx2.post(f"{wired.front.base_url}{path}", headers=headers, json=body, timeout=20)
    assert len(wired.upstream.asked) == before + 2


def test_answers_that_make_no_sense_open_no_breaker(wired: Wired) -> None:
    path, body = SURFACES["chat"]
    for route in "ogr":
        for _ in range(2 * limits.BREAKER_FAILURES):
            model = f"{route}/mark_without_an_end.breaker"
            answer = httpx2.post(f"{wired.front.base_url}{path}", headers=wired.front.headers,
                                 json={**body, "model": model, "stream": True}, timeout=20)  # fmt: skip
            assert answer.status_code == 200
            assert told(answer)[2]


# --- without an end ---------------------------------------------------------------------------------------------------
class Endless(Sequence[bytes]):
    """One piece, again and again."""

    def __init__(self, first: bytes, piece: bytes) -> None:
        self._first, self._piece = first, piece

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: Any) -> Any:
        return self._piece if index else self._first


def _resident() -> int:
    """MiB of this process, in which the server runs, and the upstream."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4 // 1024


def _endless(first: Json | bytes, piece: Json | bytes) -> Callable[[Json], Says]:
    data = [
        each if isinstance(each, bytes) else b"data: " + json.dumps(each).encode() + b"\n\n" for each in (first, piece)
    ]
    return lambda _: Says(Endless(*data), kind="text/event-stream")


LONG = TEXT * 1_000
CHUNKS = [json.loads(FIRST), json.loads(chunk({"content": LONG}))]
NOTHINGS: dict[str, Json | bytes] = {
    "unknown": {"type": "response.mood", "x": "y" * 20_000},
    "comments": b": " + b"y" * 20_000 + b"\n\n",
    "lines": b"data:\n" * 4_000,
}


@pytest.mark.parametrize("route", "ogr")
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("limited", [True, False], ids=["limited", "unlimited"])
def test_a_stream_without_an_end_is_ended(wired: Wired, route: str, surface: str, limited: bool) -> None:
    path, body = SURFACES[surface]
    first, piece = (ADDED, {**DELTA, "delta": LONG}) if route == "r" else CHUNKS
    wired.upstream.behave = _endless(first, piece)
    body = {**body, "model": f"{route}/endless.{surface}", "stream": True}
    if limited:
        body["max_completion_tokens" if surface == "chat" else "max_output_tokens"] = 20
    before = _resident()
    try:
        answer = httpx2.post(f"{wired.front.base_url}{path}", headers=wired.front.headers, json=body, timeout=60)
    finally:
        wired.upstream.behave = _says
    assert answer.status_code == 200
    text, _, failed = told_of_endless(answer)
    assert not failed
    most = limits.UPSTREAM_CONTEXT_EXCESS * limits.UPSTREAM_CONTEXT
    if limited:
        most = limits.UPSTREAM_EXCESS * 20 + limits.UPSTREAM_EXCESS_TOKENS
    assert 4 * most <= text <= 4 * most + len(LONG) + limits.UPSTREAM_READ_AHEAD
    assert wired.row(answer).estimated == 1
    # The text has been here more than once: in the answer that this test reads, too.
    assert _resident() - before <= 50 + 8 * text // 2**20


def told_of_endless(answer: httpx2.Response) -> tuple[int, Any, bool]:
    """How much was said, why it ended, and whether it failed."""
    events = [event for event in events_of(answer) if event != "[DONE]"]
    if "type" in events[0]:
        last = events[-1]["response"]
        said = sum(len(event["delta"]) for event in events if event["type"] == "response.output_text.delta")
        assert last["status"] == "incomplete"
        return said, last["incomplete_details"]["reason"], last["error"] is not None
    said = sum(len(choice["delta"].get("content") or "") for event in events for choice in event.get("choices", ()))
    reasons = [
        choice["finish_reason"] for event in events for choice in event.get("choices", ()) if choice["finish_reason"]
    ]
    assert reasons == ["length"]
    return said, "length", any("error" in event for event in events)


@pytest.mark.parametrize("route", "ogr")
@pytest.mark.parametrize("kind", NOTHINGS)
def test_a_stream_that_never_says_anything_is_ended(
    wired: Wired, monkeypatch: pytest.MonkeyPatch, route: str, kind: str
) -> None:
    monkeypatch.setattr(limits, "MAX_UPSTREAM_STREAM", 2 * limits.MIB)
    monkeypatch.setattr(limits, "MAX_UPSTREAM_EVENT", 2 * limits.MIB)
    path, body = SURFACES["chat"]
    wired.upstream.behave = _endless(NOTHINGS[kind], NOTHINGS[kind])
    body = {**body, "model": f"{route}/endless.{kind}", "stream": True}
    try:
        answer = httpx2.post(f"{wired.front.base_url}{path}", headers=wired.front.headers, json=body, timeout=60)
    finally:
        wired.upstream.behave = _says
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_invalid")


def test_large_bodies_are_refused_and_all_together_bounded(wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UPSTREAM_BODY", limits.MIB)
    path, body = SURFACES["chat"]
    wired.upstream.behave = lambda _: completed({"content": "x" * 2 * limits.MIB})
    try:
        answers = [
            httpx2.post(f"{wired.front.base_url}{path}", headers=wired.front.headers,
                        json={**body, "model": f"{route}/large"}, timeout=60)
            for route in "og"
        ]  # fmt: skip
    finally:
        wired.upstream.behave = _says
    assert [answer.status_code for answer in answers] == [502, 502]
