"""Server-sent events, written and read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.wire import sse
from antiphon.wire.sse import Event, EventTooLarge, SSEParser


def read(stream: bytes, cuts: list[int] | None = None, **limits: int) -> list[Event]:
    """All events of a stream that arrives cut at these places."""
    parser = SSEParser(**limits)
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts or []), len(stream)]
    return [event for a, b in pairwise(places) for event in parser.feed(stream[a:b])]


def test_what_is_written() -> None:
    assert sse.event("response.created", b'{"a":1}') == b'event: response.created\ndata: {"a":1}\n\n'
    assert sse.data(b"{}") == b"data: {}\n\n"
    assert sse.DONE == b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [("message", b"a")]),
        (b"data:a\n\n", [("message", b"a")]),
        (b"data:  a\n\n", [("message", b" a")]),
        (b"event: x\ndata: a\ndata: b\n\n", [("x", b"a\nb")]),
        (b"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", [("x", b"a"), ("message", b"b")]),
        (b"event: x\rdata: a\r\rdata: b\r\r", [("x", b"a"), ("message", b"b")]),
        (b": comment\n\ndata: a\n: comment\nid: 7\nretry: 10\nodd\n\n", [("message", b"a")]),
        (b"event: x\n\ndata: a\n\n", [("message", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", b"a")]),
        (b"data\n\n", [("message", b"")]),
        (b"data: a\n", []),
        (b"data: a\n\ndata: cut off", [("message", b"a")]),
        ("data: é\u2028\x85\x0b😀\n\n".encode(), [("message", "é\u2028\x85\x0b😀".encode())]),
    ],
)
def test_what_is_read_is_the_same_however_it_is_cut(stream: bytes, events: list[tuple[str, bytes]]) -> None:
    assert read(stream) == events
    assert read(stream, list(range(len(stream)))) == events
    for cut in range(len(stream)):
        assert read(stream, [cut]) == events


line = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n"))


@given(
    st.lists(st.tuples(line.filter(bool).filter(lambda t: t == t.strip()), line.map(str.encode)), max_size=5),
    st.lists(st.integers(0, 10_000), max_size=10),
)
def test_what_is_written_is_read_back(events: list[tuple[str, bytes]], cuts: list[int]) -> None:
    assert read(b"".join(sse.event(*event) for event in events), cuts) == events


def test_an_empty_chunk_changes_nothing() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"") == []
    assert parser.feed(b"\n\r") == [("message", b"a")]
    assert parser.feed(b"\ndata: b\r\n\r\n") == [("message", b"b")]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 200, b"data: x\n" * 100, b"x" * 200])
def test_an_event_without_end_is_refused(stream: bytes) -> None:
    with pytest.raises(EventTooLarge):
        read(stream, list(range(len(stream))), max_event=100)
    with pytest.raises(EventTooLarge):
        read(stream, max_event=100)


def test_many_events_are_no_large_event() -> None:
    assert len(SSEParser(max_event=100).feed(b"data: x\n\n" * 100)) == 100
