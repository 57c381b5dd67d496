"""Errors after HTTP status 200, in every shape that servers have for them; and what only looks like one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from antiphon.domain.errors import (
    AntiphonError,
    ContextLengthExceeded,
    InvalidRequest,
    Overloaded,
    RateLimited,
    UpstreamFailed,
)
from antiphon.engines.upstream.chat.answer import ChatParser
from antiphon.engines.upstream.chat.passthrough import ChatPassthroughParser
from antiphon.engines.upstream.dialect import AnswerParser
from antiphon.engines.upstream.responses.answer import ResponsesParser
from antiphon.engines.upstream.responses.passthrough import ResponsesPassthroughParser
from antiphon.engines.upstream.scrubber import Scrubber
from antiphon.engines.upstream.usage import OutputMeter
from conformance.samples import message, response
from support.upstreams import chunk

SECRET = "sk-secret-0123456789"
SCRUBBER = Scrubber(SECRET, "up.example")
TEXT_EVENT = json.dumps(
    {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": "Hel"}
).encode()
Make = Callable[[], AnswerParser]


def counted() -> OutputMeter:
    return OutputMeter(lambda: 7)


CHAT: list[Make] = [
    lambda: ChatParser(SCRUBBER, counted()),
    lambda: ChatPassthroughParser(SCRUBBER, counted(), show_usage=True),
    lambda: ChatPassthroughParser(SCRUBBER, counted(), show_usage=False, streamed=False),
]
RESPONSES: list[Make] = [
    lambda: ResponsesParser(SCRUBBER, counted()),
    lambda: ResponsesPassthroughParser(SCRUBBER, counted()),
]
ALL = [
    *((make, chunk({"role": "assistant", "content": "Hel"})) for make in CHAT),
    *((make, TEXT_EVENT) for make in RESPONSES),
]
OOM = "CUDA out of memory at http://10.1.2.3/"
SHAPES: list[tuple[Any, str, type[AntiphonError]]] = [
    ({"error": {"message": OOM, "type": "server_error"}}, "message", UpstreamFailed),
    ({"error": OOM}, "message", UpstreamFailed),
    ({"error": True}, "message", UpstreamFailed),
    ({"error": {"message": OOM}, "choices": []}, "message", UpstreamFailed),
    ({"object": "error", "message": OOM, "code": 500}, "message", UpstreamFailed),
    ({"object": "error", "message": OOM, "type": "BadRequestError", "code": 400}, "message", InvalidRequest),
    ({"type": "error", "message": OOM}, "message", UpstreamFailed),
    ({"type": "error", "error": {"type": "overloaded_error", "message": OOM}}, "message", Overloaded),
    ({"type": "internal_server_error", "message": OOM}, "message", UpstreamFailed),
    ({"code": 500, "message": OOM}, "message", UpstreamFailed),
    ({"code": "429", "message": OOM}, "message", RateLimited),
    ({"status": 503, "detail": OOM}, "message", Overloaded),
    ({"detail": OOM}, "message", UpstreamFailed),
    ({"detail": [{"loc": ["body"], "msg": OOM}]}, "message", UpstreamFailed),
    ({"message": OOM}, "message", UpstreamFailed),
    ({"errors": [OOM]}, "message", UpstreamFailed),
    ({"success": False}, "message", UpstreamFailed),
    ({"message": "prompt is too long"}, "message", ContextLengthExceeded),
    ({"message": OOM}, "error", UpstreamFailed),
    ({}, "error", UpstreamFailed),
    (OOM, "error", UpstreamFailed),
    (None, "error", UpstreamFailed),
]


@pytest.mark.parametrize(("make", "before"), ALL)
@pytest.mark.parametrize(("shape", "name", "kind"), SHAPES)
def test_an_error_in_the_stream_is_one(
    make: Make, before: bytes, shape: Any, name: str, kind: type[AntiphonError]
) -> None:
    for first in (True, False):
        answer = make()
        if not first:
            answer.feed(before)
        with pytest.raises(kind) as caught:
            answer.feed(json.dumps(shape).encode(), name)
        assert not answer.finished
        assert "10.1.2.3" not in caught.value.message
        assert caught.value.code != "upstream_invalid"


@pytest.mark.parametrize(("make", "before"), ALL)
@pytest.mark.parametrize(
    "data", [b"Internal Server Error", b"<html><body>502</body></html>", b"{", b"\xff", b'"oops"', b"[1]", b"7"]
)
def test_what_is_no_event_at_all_is_one_too(make: Make, before: bytes, data: bytes) -> None:
    answer = make()
    answer.feed(before)
    with pytest.raises(UpstreamFailed) as caught:
        answer.feed(data)
    assert caught.value.code == "upstream_invalid"
    with pytest.raises(UpstreamFailed):
        answer.feed(data, "error")


@pytest.mark.parametrize(("make", "before"), ALL)
@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'{"type": "ping"}', "message"),
        (b'{"type": "ping"}', "ping"),
        (b"{}", "message"),
        (b"null", "message"),
        (b"ping", "message"),
        (b'"ping"', "message"),
        (b": keep-alive", "message"),
        (b"1732532220", "heartbeat"),
        (b"nothing at all", "ping"),
    ],
)
def test_what_keeps_a_stream_alive_is_none(make: Make, before: bytes, data: bytes, name: str) -> None:
    answer = make()
    assert answer.feed(data, name) == []
    answer.feed(before)
    assert answer.feed(data, name) == []


@pytest.mark.parametrize("make", CHAT)
@pytest.mark.parametrize("word", ["error", "abort", "ERROR", {"type": "abort", "message": "x"}])
def test_a_choice_may_say_that_it_was_broken_off(make: Make, word: Any) -> None:
    answer = make()
    answer.feed(chunk({"content": "Hel"}))
    with pytest.raises(UpstreamFailed):
        answer.feed(json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": word}]}).encode())


@pytest.mark.parametrize(("make", "before"), ALL)
def test_an_end_without_a_reason_is_no_good_end(make: Make, before: bytes) -> None:
    answer = make()
    answer.feed(before)
    with pytest.raises(UpstreamFailed) as caught:
        answer.finish()
    assert caught.value.code == "upstream_truncated"


@pytest.mark.parametrize(("make", "before"), ALL)
@pytest.mark.parametrize(("shape", "name", "kind"), [shape for shape in SHAPES if shape[1] == "message"])
def test_so_is_an_error_instead_of_a_whole_answer(
    make: Make, before: bytes, shape: Any, name: str, kind: type[AntiphonError]
) -> None:
    with pytest.raises(kind):
        make().whole(json.dumps(shape).encode())


@pytest.mark.parametrize("make", RESPONSES)
@pytest.mark.parametrize(
    "body",
    [
        {**response(), "status": "failed", "error": {"code": "server_error", "message": OOM}},
        {**response(), "error": {"code": "server_error", "message": OOM}},
        {**response(), "status": "in_progress"},
        {**response(), "status": "cancelled"},
        {"object": "response"},
        {"output": 3},
    ],
)
def test_a_whole_response_that_has_not_ended_well(make: Make, body: Any) -> None:
    with pytest.raises(UpstreamFailed):
        make().whole(json.dumps(body).encode())


@pytest.mark.parametrize("make", RESPONSES)
def test_words_of_errors_in_events_of_an_answer_are_none(make: Make) -> None:
    answer = make()
    answer.feed(TEXT_EVENT)
    answer.feed(b'{"type": "response.mood", "message": "fine", "code": 500, "detail": "x"}')
    end = {"type": "response.completed", "response": response(output=[message()], error=None)}
    answer.feed(json.dumps(end).encode())
    assert answer.finished
