"""JSON in and out."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.wire.json import MalformedJSON, decode, encode


@pytest.mark.parametrize(
    ("body", "position", "part"),
    [
        (b"", 0, "The body is empty."),
        (b" \n ", 0, "The body is empty."),
        (b'{"a": 1', 7, "ends too early at line 1, column 8"),
        (b'{"a": 1} x', 9, "Trailing characters"),
        (b'{\n  "a": ?}', 9, "at line 2, column 8 (byte 9)"),
        ('{"é": ?}'.encode(), 7, "column 7 (byte 7)"),
        (b"NaN", 0, "Invalid character"),
        (b"[Infinity]", 1, "Invalid character"),
        (b"[-Infinity]", 2, "Invalid"),
        (b"[1e999]", 0, "out of range"),
        (b"[" + b"9" * 5000 + b"]", 0, "out of range"),
        (b'{"a": "\xff"}', 7, "Not UTF-8"),
        (b'"\xed\xa0\x80"', 1, "Not UTF-8"),
        (b'["\\ud800"]', 2, "surrogate pair"),
        (b'["\\udc00 "]', 8, "surrogate pair"),
        (b'["\\ud800 and more"]', 8, "surrogate pair"),
        (b'["a\nb"]', 3, "Invalid character"),
        (b"[1,]", 3, "Trailing comma"),
        (b"\xef\xbb\xbf{}", 0, "Invalid character"),
    ],
)
def test_what_is_wrong_and_where(body: bytes, position: int, part: str) -> None:
    with pytest.raises(MalformedJSON) as caught:
        decode(body)
    assert part in caught.value.message
    assert caught.value.position == position


@pytest.mark.parametrize("depth", [3, 128])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"[{":', b"}")])
def test_nesting_up_to_the_limit(depth: int, opening: bytes, closing: bytes) -> None:
    decode(opening * depth + b"1" + closing * depth, max_depth=depth)
    with pytest.raises(MalformedJSON, match=f"deeper than {depth} levels at line 1") as caught:
        decode(opening * (depth + 1) + b"1" + closing * (depth + 1), max_depth=depth)
    assert caught.value.position == len(opening) * depth


def test_brackets_in_strings_are_not_nesting() -> None:
    assert decode(encode(["[{" * 1000]), max_depth=1) == ["[{" * 1000]


def test_a_body_of_opening_brackets_is_refused_at_once() -> None:
    body = b"[" * 50_000_000
    began = time.perf_counter()
    with pytest.raises(MalformedJSON, match=r"deeper|More than"):
        decode(body)
    assert time.perf_counter() - began < 5


def test_nesting_is_refused_also_near_the_end_of_the_stack() -> None:
    def at(frames: int) -> object:
        return at(frames - 1) if frames else decode(b"[" * 500 + b"]" * 500)

    with pytest.raises(MalformedJSON, match="deeper"):
        at(sys.getrecursionlimit() // 2)


def test_a_body_of_very_many_values_is_refused() -> None:
    decode(b"[" + b"0," * 99 + b"0]", max_values=100)
    with pytest.raises(MalformedJSON, match="More than 100 values"):
        decode(b"[" + b"0," * 100 + b"0]", max_values=100)
    text = encode(['a, b, \\" [c], ' * 100])
    assert decode(text, max_values=100) == ['a, b, \\" [c], ' * 100]


@pytest.mark.parametrize("tail", [b'"', b"", b"\\", b'"' + b"[" * 200])
def test_a_body_of_quotes_costs_no_more_than_another(tail: bytes) -> None:
    body = b'{"a": "' + b'\\", [ ' * 1_000_000 + tail
    began = time.perf_counter()
    with pytest.raises(MalformedJSON):
        decode(body, max_values=1000)
    assert time.perf_counter() - began < 5


def test_what_is_let_through_can_be_written_again() -> None:
    for body in (b'"\\ud83d\\ude00"', b"1" * 400, b'"\\u0000"', b"-0.0", b"1e308", b'{"a":1,"a":2}'):
        value = decode(body)
        assert decode(encode(value)) == value


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(values)
def test_round_trip(value: object) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\u0dD8c1e.-nt ', max_size=60).map(str.encode))
def test_any_bytes_are_either_malformed_or_can_be_written_again(body: bytes) -> None:
    error = None
    try:
        value = decode(body)
    except MalformedJSON as caught:
        error = caught
    if error is None:
        assert decode(encode(value)) == value
    else:
        assert 0 <= error.position <= len(body)
        encode(error.message)
