"""Durations in whole milliseconds: the same on a machine that has just started and on one that has run for years."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain.durations import milliseconds

_THIRTY_YEARS = 1e9  # seconds


@given(st.floats(0, _THIRTY_YEARS), st.integers(0, 86_400_000))
def test_a_difference_of_clock_readings_does_not_depend_on_up_time(up: float, took: int) -> None:
    assert milliseconds((up + took / 1000) - up) == took


def test_a_moment() -> None:
    assert milliseconds(1_795_000_000.2) == 1_795_000_000_200
