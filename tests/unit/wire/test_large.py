"""Large documents: decoded in steps, they are the same values, and the same mistakes, as in one go."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.wire import json as wire_json
from antiphon.wire import large
from antiphon.wire.json import MalformedJSON
from support.examples import examples

MIB = 1024 * 1024


def decoded(body: bytes, *, max_depth: int = 128, max_values: int = 100_000) -> object:
    return large.decode_large(body, max_depth=max_depth, max_values=max_values)


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "_STEP", 17)
    monkeypatch.setattr(large, "_LONG", 5)


#: Text with everything that may be cut in the wrong place.
TEXT = st.text(
    st.sampled_from('ab\\"\n\u00e9\u20ac\U0001f600/u0d8') | st.characters(exclude_categories=["Cs"]), max_size=60
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=25,
)


@pytest.mark.usefixtures("short_steps")
@settings(max_examples=examples(200), deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 1, 40]))
def test_any_document_is_what_it_is(value: object, ascii_only: bool, indent: int | None) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert decoded(body) == wire_json.decode(body)


@pytest.mark.usefixtures("short_steps")
@settings(max_examples=examples(300), deadline=None)
@given(VALUES, st.data())
def test_any_spoilt_document_is_malformed_too(value: object, data: st.DataObject) -> None:
    body = json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode()
    at = data.draw(st.integers(0, len(body)))
    spoilt = body[:at] + data.draw(st.binary(max_size=2)) + body[at + data.draw(st.integers(0, 2)) :]
    try:
        right: object = wire_json.decode(spoilt)
    except MalformedJSON:
        with pytest.raises(MalformedJSON):
            decoded(spoilt)
    else:
        assert decoded(spoilt) == right


LONG = b"x" * 3 * MIB


@pytest.mark.parametrize(
    ("body", "position", "part"),
    [
        (b'["' + LONG + b'\\x"]', 2 + len(LONG), "Invalid escape"),
        (b'["' + LONG + b'\xff"]', 2 + len(LONG), "Not UTF-8"),
        (b'["' + LONG + b'\n"]', 2 + len(LONG), "Invalid character"),
        (b'["' + LONG + b'\\ud800"]', 2 + len(LONG), "surrogate pair"),
        (b'["' + LONG + b'", ?]', 5 + len(LONG), "Invalid character"),
        (b'["' + LONG, 2 + len(LONG), "ends too early"),
        (b'["' + LONG + b"\\", 3 + len(LONG), "ends too early"),
        (b"[" + b" " * 3 * MIB + b'"' + LONG + b'", 01]', None, "nvalid"),
        (b"[" + b"1," * 6 * MIB + b"1]", None, "no long texts"),
        (b"[" + b'"",' * 300_000 + b'""]', None, "no long texts"),
        (b"[" + b"[]," * 100_001 + b"[]]", None, "more than 100000 values"),
        (b"9" * 9 * MIB, None, "no long texts"),
        (b"[" * 129 + b'"' + LONG + b'"' + b"]" * 129, 128, "deeper than 128"),
    ],
    ids=range(13),
)
def test_what_is_wrong_and_where(body: bytes, position: int | None, part: str) -> None:
    with pytest.raises(MalformedJSON) as caught:
        decoded(body)
    assert part.lower() in caught.value.message.lower()
    if position is not None:
        assert abs(caught.value.position - position) <= 2
        assert f"byte {caught.value.position}" in caught.value.message


@pytest.mark.parametrize(
    "unit", [b"x", b"\\u0041", b'\\"', b"\\\\", "\u00e9".encode(), "😀".encode(), b"\\ud83d\\ude00", b",[{"]
)
def test_long_texts_of_one_kind(unit: bytes) -> None:
    times = 5 * MIB // len(unit)
    value = decoded(b'{"a":"' + unit * times + b'"}')
    assert value == {"a": json.loads(b'"%b"' % unit) * times}


def test_spaces_within_texts_are_kept() -> None:
    value = {"a  b": "c  d", "long  ": "e  f" * 1000, "g": ["  "] * 10}
    body = json.dumps(value).encode().replace(b":", b":" + b" " * 5000)
    assert decoded(body) == value


def test_of_members_with_one_name_the_last_counts() -> None:
    name = b'"' + b"n" * 2000 + b'"'
    assert decoded(b"{" + name + b":1," + name + b":2}") == {"n" * 2000: 2}
