"""What requests may ask of the cache."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain import limits
from antiphon.domain.caching import CacheControl, cache_control_of
from antiphon.domain.errors import InvalidRequest


@pytest.mark.parametrize(
    ("ours", "common", "expected"),
    [
        (None, None, None),
        ("on", None, CacheControl(wanted=True)),
        (" ON ", None, CacheControl(wanted=True)),
        ("off", None, CacheControl(read=False, keep=False)),
        ("60", None, CacheControl(wanted=True, max_age=60)),
        (None, "no-cache", CacheControl(read=False)),
        (None, "No-Store", CacheControl(read=False, keep=False)),
        (None, "max-age=5", CacheControl(max_age=5)),
        (None, "max-age=0, no-transform", CacheControl(max_age=0)),
        (None, "max-age=99999999999, public", None),
        (None, "max-age=9999999999", CacheControl(max_age=limits.MAX_CACHE_TTL)),
        (None, "private, only-if-cached", None),
        (None, "", None),
        ("60", "max-age=5", CacheControl(wanted=True, max_age=5)),
        ("60", "max-age=500", CacheControl(wanted=True, max_age=60)),
        ("on", "no-store", CacheControl(read=False, keep=False, wanted=True)),
        ("off", "max-age=5", CacheControl(read=False, keep=False, max_age=5)),
    ],
)
def test_headers(ours: str | None, common: str | None, expected: CacheControl | None) -> None:
    assert cache_control_of(ours, common) == expected


@given(st.text(max_size=20))
def test_any_other_value_is_refused_by_name(value: str) -> None:
    plain = value.strip().lower()
    if plain in {"on", "off"} or (plain.isascii() and plain.isdigit()):
        return
    with pytest.raises(InvalidRequest) as caught:
        cache_control_of(value, None)
    assert caught.value.param == "X-Antiphon-Cache"


@pytest.mark.parametrize("value", ["0", "00", str(limits.MAX_CACHE_TTL + 1), "9" * 5_000, "٣", "1_0", "+5"])
def test_numbers_have_bounds(value: str) -> None:
    with pytest.raises(InvalidRequest):
        cache_control_of(value, None)


@given(st.text(max_size=50))
def test_no_cache_control_is_refused(value: str) -> None:
    cache_control_of(None, value)
