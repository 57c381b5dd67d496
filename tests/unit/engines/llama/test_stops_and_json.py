"""Stop sequences and JSON text in pieces."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.llama.jsontext import JsonSpan, StringMember, decode_string
from antiphon.engines.stops import StopMatcher


def run(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    matcher = StopMatcher(stops)
    shown = "".join(matcher.feed(piece) for piece in pieces)
    return shown + matcher.finish(), matcher.found


@given(
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.text("abc", max_size=3), max_size=10),
)
def test_text_ends_before_the_first_stop(stops: list[str], pieces: list[str]) -> None:
    shown, found = run(stops, pieces)
    text = "".join(pieces)
    assert found is any(stop in text for stop in stops)
    if not found:
        assert shown == text
    else:
        assert text.startswith(shown)
        assert not any(stop in shown for stop in stops)
        assert any(text[len(shown) :].startswith(stop) for stop in stops)


def test_only_what_may_become_a_stop_is_held_back() -> None:
    matcher = StopMatcher(["END"])
    assert matcher.feed("text E") == "text "
    assert matcher.feed("N") == ""
    assert matcher.feed("!") == "EN!"
    assert not matcher.found


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values, max_size=4) | st.lists(values, max_size=4), st.text())
def test_the_end_of_a_value_is_found(value: object, rest: str) -> None:
    text = json.dumps(value)
    assert JsonSpan().feed(text + rest) == len(text)
    span = JsonSpan()
    assert [span.feed(character) for character in text] == [1] * len(text)
    assert span.complete


@given(st.text(), st.booleans(), st.sets(st.integers(0, 60), max_size=8))
def test_a_string_comes_out_as_it_is_made(text: str, ascii_only: bool, cuts: set[int]) -> None:
    raw = json.dumps({"input": text}, ensure_ascii=ascii_only)
    member = StringMember("input")
    ends = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]
    assert "".join(member.feed(raw[a:b]) for a, b in itertools.pairwise(ends)) == text


@pytest.mark.parametrize(
    ("raw", "text"), [("a\\ud83d b", "a\ufffd b"), ("\\ud83d\\u0041", "\ufffdA"), ("\\ude00x", "\ufffdx")]
)
def test_half_a_character_does_no_harm(raw: str, text: str) -> None:
    member = StringMember("input")
    shown = "".join(member.feed(character) for character in f'{{"input": "{raw}"}}')
    assert shown == text == decode_string(raw)
    shown.encode()
