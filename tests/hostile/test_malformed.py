"""Bodies that are no JSON, or strange JSON."""

from __future__ import annotations

import pytest

from support.rawhttp import Wire

from . import valid
from .cases import c, r
from .judge import judge_refusal

MALFORMED: list[tuple[bytes, str]] = [
    (b"{", "line 1, column 2"),
    (b'{"model": "m",\n "input": }', "line 2, column 11"),
    (b'{"model": "m",\n\n  "input": "x",}', "line 3, column"),
    (b'{"a":1} x', "line 1, column 9"),
    (b'{"a":1}{"a":1}', "line 1, column 8"),
    (b'\xef\xbb\xbf{"a":1}', "line 1, column 1"),
    (b'{"\xc3\xbc":\xff}', "line 1, column 6"),
    (b'{"model":"\xed\xa0\x80"}', "line 1, column 11"),
    (b'{"model":"\xc0\xaf"}', "line 1, column 11"),
    (b'{"model":"a\x00"}', "line 1, column 12"),
    (b'{"model":"a\nb"}', "line 1, column 12"),
    (b'{"model":"\\ud800"}', "line 1, column 11"),
    (b'{"model":NaN}', "line 1, column 10"),
    (b'{"model":-Infinity}', "line 1, column"),
    (b"{'model':1}", "line 1, column 2"),
    (b'{"a":1e999}', "out of range"),
    (b"[" * 129 + b"]" * 129, "line 1, column 129"),
    (b"[" * 1_000_000, "line 1, column"),
    (b'{"a":' * 100_000, "line 1, column"),
    (b"model=gpt-5-mini&input=hi", "line 1, column 1"),
    (b"<xml/>", "line 1, column 1"),
    (b"   ", ""),
    (b"\x00", "line 1, column 1"),
]


@pytest.mark.parametrize(("body", "where"), MALFORMED, ids=range(len(MALFORMED)))
@pytest.mark.parametrize("path", [valid.RESPONSES_PATH, valid.CHAT_PATH])
def test_malformed_json_is_refused_with_its_place(wire: Wire, path: str, body: bytes, where: str) -> None:
    answer = wire.ask("POST", path, body)
    error = judge_refusal(answer)
    assert (answer.status, error["code"], error["param"]) == (400, "invalid_json", None)
    assert where in error["message"]


@pytest.mark.parametrize("path", [valid.RESPONSES_PATH, valid.CHAT_PATH])
def test_no_body(wire: Wire, path: str) -> None:
    assert judge_refusal(wire.ask("POST", path, b""))["code"] == "missing_body"
    assert judge_refusal(wire.ask("POST", path, content_type="application/json"))["code"] == "missing_body"


def test_millions_of_values_in_few_bytes(wire: Wire) -> None:
    body = b'{"model":"gpt-5-mini","input":[' + b"[]," * 2_000_000 + b"[]]}"
    assert judge_refusal(wire.ask("POST", valid.RESPONSES_PATH, body))["code"] == "invalid_json"


def test_of_members_with_one_name_the_last_counts(wire: Wire) -> None:
    body = b'{"model":"nobody","model":"gpt-5-mini","input":7,"input":"said","store":false}'
    answer = wire.ask("POST", valid.RESPONSES_PATH, body)
    assert answer.json()["output"][0]["content"][0]["text"] == "said"


STRANGE_TEXTS = [
    "\x00",
    "\x1b[2J\x7f",
    "\u202eabc\ufeff",
    "\uffff\ufffe",
    "😀" * 100,
    "\r\n\r\ndata: [DONE]\n\n",
    "e\u0301" * 50,
]


@pytest.mark.parametrize("text", STRANGE_TEXTS, ids=range(len(STRANGE_TEXTS)))
def test_strange_text_comes_back_unchanged(wire: Wire, text: str) -> None:
    made = wire.ask("POST", valid.RESPONSES_PATH, r(input=text, metadata={"k": text}, user=text, store=True)).json()
    assert made["output"][0]["content"][0]["text"] == text
    kept = wire.ask("GET", f"{valid.RESPONSES_PATH}/{made['id']}").json()
    assert kept == made
    assert (kept["metadata"], kept["user"]) == ({"k": text}, text)
    given = wire.ask("GET", f"{valid.RESPONSES_PATH}/{made['id']}/input_items").json()["data"]
    assert given[0]["content"] == [{"type": "input_text", "text": text}]
    body = c(messages=[{"role": "user", "content": text}], store=True, metadata={"k": text})
    chat = wire.ask("POST", valid.CHAT_PATH, body).json()
    assert chat["choices"][0]["message"]["content"] == text
    kept = wire.ask("GET", f"{valid.CHAT_PATH}/{chat['id']}/messages").json()["data"]
    assert kept[0]["content"] == text


def test_whole_numbers_may_be_written_with_a_point(wire: Wire) -> None:
    made = wire.ask("POST", valid.RESPONSES_PATH, r(max_output_tokens=16.0, top_logprobs=2.0, max_tool_calls=1.0))
    assert b'"max_output_tokens":16,' in made.body
    assert b'"top_logprobs":2,' in made.body
    assert len(wire.ask("POST", valid.CHAT_PATH, c(n=2.0, seed=7.0, max_tokens=5.0)).json()["choices"]) == 2
