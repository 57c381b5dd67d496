"""Forms that are made up: whatever way they are cut, they are read as they were written, or refused as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain.errors import AntiphonError
from antiphon.http.multipart import Form, FormLimits

BOUNDARY = b"b-1"
#: What boundaries and their ends are made of, so that contents come close to them.
_CLOSE = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"--", b"\r\n", b"\r\n--", b"b-", b"\r\n--b-", b"b-1", b"x", b"\x00"]),
    max_size=12,
).map(b"".join)
_CONTENT = _CLOSE.filter(lambda content: b"\r\n--" + BOUNDARY not in b"\r\n" + content)
_NAME = st.text(st.characters(exclude_characters='"%\\', exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
_PARTS = st.lists(st.tuples(_NAME, _CONTENT), max_size=5)
_CUTS = st.lists(st.integers(1, 40), max_size=60)


def written(parts: Sequence[tuple[str, bytes]]) -> bytes:
    head = b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n'
    body = b"".join(head % (BOUNDARY, name.encode()) + content + b"\r\n" for name, content in parts)
    return body + b"--" + BOUNDARY + b"--\r\n"


def read(body: bytes, cuts: Sequence[int]) -> list[tuple[str, bytes]]:
    async def pieces() -> AsyncGenerator[bytes, None]:
        at = 0
        for size in cuts:
            if body[at : at + size]:
                yield body[at : at + size]
            at += size
        if body[at:]:
            yield body[at:]

    async def main() -> list[tuple[str, bytes]]:
        form = Form(pieces(), BOUNDARY, FormLimits())
        return [(part.name, b"".join([piece async for piece in part])) async for part in form]

    return asyncio.run(main())


@given(_PARTS, _CUTS)
def test_what_is_written_is_read(parts: list[tuple[str, bytes]], cuts: list[int]) -> None:
    assert read(written(parts), cuts) == parts


@given(st.lists(st.tuples(_NAME, _CLOSE), min_size=1, max_size=3), _CUTS, st.data())
def test_what_was_changed_is_refused_or_read_the_same_however_it_is_cut(
    parts: list[tuple[str, bytes]], cuts: list[int], data: st.DataObject
) -> None:
    body = written(parts)
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(start + 10, len(body))))
    body = body[:start] + data.draw(_CLOSE) + body[end:]

    def outcome(sizes: Sequence[int]) -> object:
        try:
            return read(body, sizes)
        except AntiphonError as error:
            return error.status // 100

    assert outcome(cuts) == outcome([])
