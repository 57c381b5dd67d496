"""Amounts of money, in and out of text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain import money
from antiphon.domain.budgets import window


@given(st.integers(min_value=0, max_value=money.MAX_DOLLARS * money.DOLLAR))
def test_an_amount_survives_its_text(nano: int) -> None:
    text = money.to_dollars(nano)
    assert money.from_dollars(text) == nano
    assert "e" not in text.lower()


@pytest.mark.parametrize(
    ("nano", "text"), [(0, "0"), (1, "0.000000001"), (10**9, "1"), (1_500_000_000, "1.5"), (-5 * 10**8, "-0.5")]
)
def test_text_is_as_short_as_it_can_be(nano: int, text: str) -> None:
    assert money.to_dollars(nano) == text


@pytest.mark.parametrize("text", ["", "x", "-1", "NaN", "Infinity", "1e30", "0.0000000001", "1000000001"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"US dollars|nano-dollar"):
        money.from_dollars(text)


def test_windows_begin_at_midnight_and_on_the_first() -> None:
    now = 1_709_210_096  # 2024-02-29 12:34:56 UTC
    assert window("day", now) == 1_709_164_800
    assert window("month", now) == 1_706_745_600
    assert window("day", 1_709_164_800) == 1_709_164_800
    assert window("day", 1_709_164_799.9) == 1_709_164_800 - 86_400
